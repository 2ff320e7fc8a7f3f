//! Whose inherited sockets are, and what is bound beside them.
//!
//! The supervisor owns every listening socket of the process for as long as it runs; services get
//! duplicates. So a socket that loses its section keeps its place (and resets whoever connects),
//! and gets it back when the section comes back.

use std::{collections::BTreeSet, os::fd::AsFd};

use nix::sys::stat::fstat;
use tracing::{error, info, warn};

use crate::{
    model::{Definition, ListenAddr, ServiceName, Slug},
    sys::{self, net::ListenSocket},
    systemd::{generator::unit_name, notify::Notifier, sockets::Named},
};

/// Names of ports that we bound, in systemd's descriptor store, begin so.
const BOUND: &str = "bound.";

/// Every listening socket there is.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    all: Vec<Owned>,
    next: u64,
}

#[derive(Debug)]
struct Owned {
    id: SocketId,
    socket: ListenSocket,
    origin: Origin,
    /// Whose it is.
    claimed: Option<Slug>,
    /// Its refuser knows of it: it was said that nobody claims it.
    refused: bool,
}

/// Tells one listening socket from all others there have been, whatever their address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SocketId(u64);

/// What one service listens on.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub(super) ids: Vec<SocketId>,
    /// Duplicates; the supervisor keeps the originals.
    pub(super) sockets: Vec<ListenSocket>,
}

/// Where a socket comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// From systemd's socket unit, by this name.
    Inherited(String),
    /// We bound it, for this address; it may be in systemd's store by that name.
    Bound(ListenAddr),
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
                        Ok(addr) if name.starts_with(BOUND) => Origin::Bound(addr),
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

    /// The names of those that socket units made.
    pub(super) fn names(&self) -> Vec<String> {
        let names = self.all.iter().filter_map(|owned| match &owned.origin {
            Origin::Inherited(name) => Some(name.clone()),
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

    /// Gives every definition its sockets: by the names of SOCKET, else by its slug or name, else
    /// by address; and binds what is then missing. What we had bound and nobody wants is closed.
    pub(super) fn allot(&mut self, definitions: &[&Definition], notifier: &Notifier) -> Allotment {
        for owned in &mut self.all {
            owned.claimed = None;
        }
        for definition in definitions {
            self.claim_by_name(definition);
        }
        for definition in definitions {
            self.claim_by_address(definition);
        }
        self.drop_unwanted(notifier);
        let mut allotment = Allotment::default();
        for definition in definitions {
            let share = self.for_definition(definition, notifier, &mut allotment.errors);
            allotment.shares.push(share);
        }
        allotment.unclaimed = self.newly_unclaimed();
        allotment.held = self.held(definitions);
        allotment
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

    fn drop_unwanted(&mut self, notifier: &Notifier) {
        self.all.retain(|owned| match &owned.origin {
            Origin::Bound(addr) if owned.claimed.is_none() => {
                info!("{addr} is closed, no section listens there any more");
                forget(addr, notifier);
                false
            }
            _ => true,
        });
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
                match bind(addr, notifier) {
                    Ok(socket) => {
                        let origin = Origin::Bound(addr.clone());
                        self.add(socket, origin, Some(definition.slug.clone()));
                    }
                    Err(e) => errors.push(format!(
                        "{}:{}: {}: cannot listen on {addr}: {e}",
                        definition.origin.file.display(),
                        definition.origin.line,
                        definition.name,
                    )),
                }
            }
        }
        let mine = self
            .all
            .iter()
            .filter(|o| o.claimed.as_ref() == Some(&definition.slug));
        let mine = mine.filter_map(|owned| Some((owned.id, owned.duplicate()?)));
        let (ids, sockets) = mine.unzip();
        Share { ids, sockets }
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
        self.all_unclaimed()
    }

    /// Duplicates of those that nobody claims.
    pub(super) fn all_unclaimed(&self) -> Vec<ListenSocket> {
        let unclaimed = self.all.iter().filter(|owned| owned.claimed.is_none());
        unclaimed.filter_map(Owned::duplicate).collect()
    }

    /// Closes what these generated units gave and nobody claims: systemd has stopped them, and the
    /// ports are to be closed. Says which they were.
    pub(super) fn release(&mut self, units: &[String]) -> Vec<String> {
        let mut released = Vec::new();
        self.all.retain(|owned| {
            let unit = owned.generated_unit().filter(|_| owned.claimed.is_none());
            match unit.filter(|unit| units.contains(unit)) {
                Some(unit) => {
                    info!("{} is closed, its unit is gone", owned.describe());
                    released.push(unit);
                    false
                }
                None => true,
            }
        });
        released
    }

    /// Removes the unix sockets that we bound; the process ends, and nobody listens there.
    pub(super) fn remove_paths(&self) {
        let bound = self.all.iter().filter_map(|owned| match &owned.origin {
            Origin::Bound(ListenAddr::Unix(path)) => Some(path),
            _ => None,
        });
        for path in bound {
            // Gone already, or the directory is: either way it is not in anybody's way.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Owned {
    /// The name of the generated unit that gave it, if one did: its name is the slug then.
    fn generated_unit(&self) -> Option<String> {
        let Origin::Inherited(name) = &self.origin else {
            return None;
        };
        let slug = ServiceName::new(name.as_str()).slug()?;
        let addr = self.socket.listen_addr().ok()?;
        (slug.as_str() == name).then(|| unit_name(&slug, &addr))
    }

    fn serves(&self, addr: &ListenAddr) -> bool {
        self.socket.serves(addr).unwrap_or(false)
    }

    fn describe(&self) -> String {
        let at = self
            .socket
            .listen_addr()
            .map_or_else(|e| e.to_string(), |addr| addr.to_string());
        match &self.origin {
            Origin::Inherited(name) => format!("'{name}' ({at})"),
            Origin::Bound(_) => at,
        }
    }

    fn duplicate(&self) -> Option<ListenSocket> {
        let duplicate = self.socket.as_fd().try_clone_to_owned();
        duplicate
            .map_err(|e| e.to_string())
            .and_then(|fd| ListenSocket::from_fd(fd).map_err(|e| e.to_string()))
            .inspect_err(|e| error!("the socket {} cannot be used: {e}", self.describe()))
            .ok()
    }
}

fn bind(addr: &ListenAddr, notifier: &Notifier) -> std::io::Result<ListenSocket> {
    let socket = ListenSocket::bind(addr)?;
    // So that a restart does not close the port, and nobody is refused meanwhile.
    if let Err(e) = notifier.store(&stored_name(addr), socket.as_fd()) {
        warn!("{addr} will be closed for a moment at the next restart: {e}");
    }
    Ok(socket)
}

fn forget(addr: &ListenAddr, notifier: &Notifier) {
    if let Err(e) = notifier.remove(&stored_name(addr)) {
        warn!("{addr} stays in the descriptor store: {e}");
    }
}

/// FDNAME= has no colon, and at most 255 characters (sd_pid_notify_with_fds(3)).
fn stored_name(addr: &ListenAddr) -> String {
    let readable: String = addr
        .to_string()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '_'
            }
        })
        .take(200)
        .collect();
    // Two unix paths may read alike now; a hash that is the same in every build tells them apart.
    let hash = addr
        .to_string()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{BOUND}{readable}.{hash:016x}")
}
