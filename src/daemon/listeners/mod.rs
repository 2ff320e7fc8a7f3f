//! Whose inherited sockets are, and what is bound beside them.
//!
//! The supervisor owns every listening socket of the process for as long as it runs; services get
//! duplicates. So a socket that loses its section keeps its place (and resets whoever connects),
//! and gets it back when the section comes back.
//!
//! An address may overlap another (a port of all addresses, and of one): what is to be closed is
//! closed by everybody who has it before anything is bound. So there are two steps:
//!
//! ```text
//! claim: who has what, and what is closed -> everybody lets go of that -> allot: bind, hand out
//! ```

mod bound;
mod owned;

use std::{collections::BTreeSet, os::fd::AsFd};

use nix::sys::stat::fstat;
use tracing::{info, warn};

pub(super) use self::owned::{Gone, SocketId};
use self::owned::{Origin, Owned};
use crate::{
    model::{Definition, ListenAddr, Slug},
    sys::{self, net::ListenSocket},
    systemd::{generator::unit_name, notify::Notifier, sockets::Named},
};

/// Every listening socket there is.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    all: Vec<Owned>,
    next: u64,
}

/// What one service listens on.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) ids: Vec<SocketId>,
    /// Duplicates; the supervisor keeps the originals.
    pub(super) sockets: Vec<ListenSocket>,
}

/// Who gets what.
#[derive(Debug, Default)]
pub(super) struct Allotment {
    /// For each definition, in their order.
    pub(super) shares: Vec<Share>,
    /// What could not be bound, in words.
    pub(super) errors: Vec<String>,
    /// Sockets that nobody claims, newly so: whoever connects is to be reset.
    pub(super) unclaimed: Vec<ListenSocket>,
    /// The generated socket units whose addresses we have bound ourselves.
    pub(super) held: BTreeSet<String>,
}

impl Sockets {
    /// Takes in what systemd handed over. What is no listening socket is said and closed.
    pub(super) fn inherit(named: Vec<Named>) -> Self {
        let mut sockets = Self::default();
        for Named { name, fd } in named {
            match ListenSocket::from_fd(fd) {
                Ok(socket) => {
                    let origin = match socket.listen_addr() {
                        Ok(addr) if name.starts_with(bound::PREFIX) => Origin::Bound(addr),
                        _ => Origin::Inherited(name),
                    };
                    sockets.add(socket, origin, None);
                }
                Err(e) => warn!("the inherited socket '{name}' is closed: {e}"),
            }
        }
        sockets
    }

    fn add(&mut self, socket: ListenSocket, origin: Origin, claimed: Option<Slug>) {
        self.next += 1;
        self.all.push(Owned {
            id: SocketId(self.next),
            socket,
            origin,
            claimed,
            refused: false,
        });
    }

    /// The names of those that socket units made, but for these units.
    pub(super) fn names(&self, stopped: &[String]) -> Vec<String> {
        let names = self.all.iter().filter_map(|owned| match &owned.origin {
            Origin::Inherited(name) => {
                let unit = owned.generated_unit();
                let stays = unit.is_none_or(|unit| !stopped.contains(&unit));
                stays.then(|| name.clone())
            }
            Origin::Bound(_) => None,
        });
        names.collect()
    }

    /// What nobody claims, by name, in sentences.
    pub(super) fn unclaimed(&self) -> Vec<String> {
        self.all
            .iter()
            .filter(|owned| owned.claimed.is_none())
            .map(|owned| format!("no section claims the socket {}", owned.describe()))
            .collect()
    }

    /// Says whose each socket is: by the names of SOCKET, else by the slug or name, else by the
    /// address. Drops what we had bound and nobody wants, and what the generated units in `stopped`
    /// had given: systemd has closed its end. If a section claims that, it is ours from now on.
    ///
    /// What was dropped: others may have it yet.
    #[must_use]
    pub(super) fn claim(
        &mut self,
        definitions: &[&Definition],
        stopped: &[String],
        notifier: &Notifier,
    ) -> Vec<Gone> {
        for owned in &mut self.all {
            owned.claimed = None;
        }
        for definition in definitions {
            self.claim_by_name(definition);
        }
        for definition in definitions {
            self.claim_by_address(definition);
        }
        self.take_over(definitions, stopped, notifier);
        self.drop_unwanted(stopped, notifier)
    }

    /// Binds what a definition has said and nobody claimed for it, and gives every definition what
    /// is its own. After [`Self::claim`], when nobody has any more what that dropped.
    pub(super) fn allot(&mut self, definitions: &[&Definition], notifier: &Notifier) -> Allotment {
        let mut allotment = Allotment::default();
        for definition in definitions {
            let share = self.for_definition(definition, notifier, &mut allotment.errors);
            allotment.shares.push(share);
        }
        allotment.unclaimed = self.newly_unclaimed();
        allotment.held = self.held(definitions);
        allotment
    }

    /// Those of these sockets that are there still.
    pub(super) fn still_there(&self, ids: &[SocketId]) -> Share {
        let theirs = self.all.iter().filter(|owned| ids.contains(&owned.id));
        Share::of(theirs)
    }

    fn held(&self, definitions: &[&Definition]) -> BTreeSet<String> {
        let mut units = BTreeSet::new();
        for definition in definitions {
            // By its own words: a socket that came back from the store says its address in others.
            for addr in &definition.listen {
                let ours = |owned: &&Owned| {
                    matches!(owned.origin, Origin::Bound(_))
                        && owned.claimed.as_ref() == Some(&definition.slug)
                        && owned.serves(addr)
                };
                if self.all.iter().any(|owned| ours(&owned)) {
                    units.insert(unit_name(&definition.slug, addr));
                }
            }
        }
        units
    }

    /// Those of these generated units that are stopped indeed: systemd has closed its end. Who is
    /// wrong about a unit would have its socket dropped, and made anew without its owner and mode.
    /// Where that cannot be seen, they are believed.
    pub(super) fn indeed_stopped(&self, units: &[String]) -> Vec<String> {
        let theirs = sys::fd::sockets_of_parent().unwrap_or_default();
        let is_open = |unit: &String| {
            self.all.iter().any(|owned| {
                let inode = fstat(owned.socket.as_fd()).map(|stat| stat.st_ino);
                owned.generated_unit().as_ref() == Some(unit)
                    && inode.is_ok_and(|inode| theirs.contains(&inode))
            })
        };
        let (open, stopped): (Vec<_>, Vec<_>) = units.iter().cloned().partition(is_open);
        for unit in open {
            warn!("{unit} is said to be stopped, and systemd has it open; it stays as it is");
        }
        stopped
    }

    /// Whether the process that started us has all of them open as well, as a manager has that
    /// keeps them.
    ///
    /// # Errors
    /// In words, which it has not, or why that cannot be known.
    pub(super) fn are_kept_by_manager(&self) -> Result<(), String> {
        let theirs = sys::fd::sockets_of_parent()
            .map_err(|e| format!("systemd's sockets cannot be seen: {e}"))?;
        for owned in &self.all {
            let inode = fstat(owned.socket.as_fd())
                .map_err(|e| e.to_string())?
                .st_ino;
            if !theirs.contains(&inode) {
                return Err(format!("systemd does not keep {}", owned.describe()));
            }
        }
        Ok(())
    }

    /// Whether systemd keeps all of them when the process ends: whoever connects starts it again.
    pub(super) fn are_all_inherited(&self) -> bool {
        let inherited = |owned: &Owned| matches!(owned.origin, Origin::Inherited(_));
        !self.all.is_empty() && self.all.iter().all(inherited)
    }

    fn claim_by_name(&mut self, definition: &Definition) {
        for owned in self.all.iter_mut().filter(|owned| owned.claimed.is_none()) {
            let Origin::Inherited(name) = &owned.origin else {
                continue;
            };
            let named = if definition.sockets.is_empty() {
                name == definition.slug.as_str() || name == definition.name.as_str()
            } else {
                definition.sockets.contains(name)
            };
            if !named {
                continue;
            }
            // A unit that was made for an address the section no longer has.
            let stale = definition.sockets.is_empty()
                && !definition.listen.is_empty()
                && !definition.listen.iter().any(|addr| owned.serves(addr));
            if stale {
                warn!(
                    sleepingd_service = %definition.name,
                    "the socket {} bears its name, but its PORT says otherwise; left out",
                     owned.describe(),
                );
                continue;
            }
            owned.claimed = Some(definition.slug.clone());
        }
    }

    fn claim_by_address(&mut self, definition: &Definition) {
        for owned in self.all.iter_mut().filter(|owned| owned.claimed.is_none()) {
            if definition.listen.iter().any(|addr| owned.serves(addr)) {
                owned.claimed = Some(definition.slug.clone());
            }
        }
    }

    /// A section that was renamed: systemd has stopped the unit with the old name, and can start
    /// none with the new one while we run. A unix socket is made anew, for its path is gone.
    fn take_over(&mut self, definitions: &[&Definition], stopped: &[String], notifier: &Notifier) {
        for owned in &mut self.all {
            let is_stopped = owned
                .generated_unit()
                .is_some_and(|unit| stopped.contains(&unit));
            let mut mine = definitions
                .iter()
                .filter(|definition| owned.claimed.as_ref() == Some(&definition.slug));
            let addr = mine.find_map(|definition| {
                let tcp = |addr: &&ListenAddr| !matches!(addr, ListenAddr::Unix(_));
                let mut its = definition.listen.iter().filter(tcp);
                its.find(|addr| owned.serves(addr))
            });
            if let (true, Some(addr)) = (is_stopped, addr) {
                bound::keep(addr, &owned.socket, notifier);
                owned.origin = Origin::Bound(addr.clone());
            }
        }
    }

    fn drop_unwanted(&mut self, stopped: &[String], notifier: &Notifier) -> Vec<Gone> {
        let unwanted = |owned: &Owned| match &owned.origin {
            Origin::Bound(_) => owned.claimed.is_none(),
            Origin::Inherited(_) => {
                let unit = owned.generated_unit();
                unit.is_some_and(|unit| stopped.contains(&unit))
            }
        };
        let mut gone = Vec::new();
        self.all.retain(|owned| {
            if !unwanted(owned) {
                return true;
            }
            match &owned.origin {
                Origin::Bound(addr) => {
                    info!("{addr} is closed, no section listens there any more");
                    bound::forget(addr, notifier);
                }
                Origin::Inherited(_) => info!("{} is closed, its unit is gone", owned.describe()),
            }
            gone.extend(owned.gone());
            false
        });
        gone
    }

    fn for_definition(
        &mut self,
        definition: &Definition,
        notifier: &Notifier,
        errors: &mut Vec<String>,
    ) -> Share {
        for addr in &definition.listen {
            let covered = self.all.iter().any(|owned| {
                owned.claimed.as_ref() == Some(&definition.slug) && owned.serves(addr)
            });
            // With SOCKET the sockets are those that it names, whatever their address.
            let by_name = !definition.sockets.is_empty()
                && self
                    .all
                    .iter()
                    .any(|o| o.claimed.as_ref() == Some(&definition.slug));
            if !covered && !by_name {
                match bound::bind(addr, notifier) {
                    Ok(socket) => {
                        let origin = Origin::Bound(addr.clone());
                        self.add(socket, origin, Some(definition.slug.clone()));
                    }
                    Err(e) => errors.push(format!(
                        "{}{}: cannot listen on {addr}: {e}",
                        definition.origin, definition.name,
                    )),
                }
            }
        }
        let mine = |owned: &&Owned| owned.claimed.as_ref() == Some(&definition.slug);
        Share::of(self.all.iter().filter(mine))
    }

    fn newly_unclaimed(&mut self) -> Vec<ListenSocket> {
        for owned in &mut self.all {
            if owned.claimed.is_some() {
                owned.refused = false;
            } else if !owned.refused {
                owned.refused = true;
                warn!(
                    "no section claims the socket {}; whoever connects is reset",
                    owned.describe()
                );
            }
        }
        let unclaimed = self.all.iter().filter(|owned| owned.claimed.is_none());
        unclaimed.filter_map(Owned::duplicate).collect()
    }

    /// Removes the unix sockets that we bound; the process ends, and nobody listens there.
    pub(super) fn remove_paths(&self) {
        for owned in &self.all {
            if let Origin::Bound(addr) = &owned.origin {
                bound::remove_path(addr);
            }
        }
    }
}

impl Share {
    fn of<'a>(all: impl Iterator<Item = &'a Owned>) -> Self {
        let duplicates = all.filter_map(|owned| Some((owned.id, owned.duplicate()?)));
        let (ids, sockets) = duplicates.unzip();
        Self { ids, sockets }
    }
}
