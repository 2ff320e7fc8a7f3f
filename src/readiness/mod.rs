//! Is anybody listening there yet?
//!
//! A backend on this machine is looked for by asking the kernel ([`crate::sys::diag`]): that
//! touches nobody, so a server that serves one client only still has it to give. A backend
//! elsewhere is found by connecting, and that connection is handed on, to be the first client's.
//!
//! | module | what it does |
//! | --- | --- |
//! | `local` | asks the kernel, often at first and seldom later |
//! | `connect` | connects, with back-off; says which failures mean "not yet" |
//! | [`http`] | READY_URL |
//! | `pace` | when to ask again |

use std::{
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::task::JoinSet;

use crate::{
    model::{Destination, addr::canonical},
    sys::diag::Diag,
};

mod connect;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod http;
mod local;
mod pace;

pub use http::http_ok;

/// How long [`look`] gives one destination before it asks the next one too. Both at once would
/// leave the one that answers second with a connection that nobody wants.
const STAGGER: Duration = Duration::from_millis(250);

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Where a backend may be, the preferred first.
    pub destinations: &'a [Destination],
    /// Where the service itself listens: never a destination.
    pub own_listeners: &'a [SocketAddr],
    /// How long one connect, or one name look-up, may take.
    pub connect_timeout: Duration,
}

/// What was found.
#[derive(Debug)]
pub enum Verdict {
    /// Somebody listens.
    Up {
        /// Where, as it stands in [`Target::destinations`].
        destination: Destination,
        /// The connection that proved it, for the first client; none where the kernel was asked.
        /// Nonblocking, CLOEXEC, and nothing was sent over it.
        connection: Option<OwnedFd>,
    },
    /// Nobody does, yet.
    Down(Down),
    /// Waiting will not help.
    Failed(String),
}

/// Why a destination is not up yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Down {
    /// What kind of failure it was; `NotConnected` where the kernel says that nobody listens.
    pub kind: io::ErrorKind,
    /// Who, and why, in words.
    pub text: String,
}

/// The last reason why a wait goes on, for whoever gives it up. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Reason(Arc<Mutex<Option<Down>>>);

/// What came of one destination.
#[derive(Debug)]
enum Probe {
    Up(Option<OwnedFd>),
    Down(Down),
    Failed(String),
}

/// How a destination is found to be up.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// The kernel knows.
    Here(SocketAddr),
    /// The kernel knows.
    Unix(PathBuf),
    /// Only a connection tells.
    Elsewhere(SocketAddr),
    /// To be looked up first, each time.
    Host(String, u16),
}

/// Is it up now? One round over all destinations: first the kernel is asked about those on this
/// machine, then each is connected to, the next one when the last has failed or has not answered
/// for a quarter of a second.
///
/// Takes at most [`Target::connect_timeout`] for each destination, and for a name once more for
/// each of its addresses. May be dropped at any time.
pub async fn look(target: Target<'_>) -> Verdict {
    let probes = match usable(target) {
        Ok(probes) => probes,
        Err(verdict) => return verdict,
    };
    if let Ok(mut diag) = Diag::open() {
        for (destination, place) in &probes {
            if local::listens(&mut diag, place) == Some(true) {
                return up(destination, None);
            }
        }
    }
    let mut tasks = JoinSet::new();
    let mut failure = None;
    for (destination, place) in probes {
        let limit = target.connect_timeout;
        tasks.spawn(async move { (destination, connect::once(&place, limit).await) });
        // Runs out while the last one is still silent; ends early when one has answered.
        let answer = tokio::time::timeout(STAGGER, next(&mut tasks, &mut failure)).await;
        if let Ok(Some(verdict)) = answer {
            return verdict;
        }
    }
    match next(&mut tasks, &mut failure).await {
        Some(verdict) => verdict,
        None => failure.unwrap_or_else(nowhere),
    }
}

/// Waits until one of the destinations is up; whichever is first. Never says [`Verdict::Down`]:
/// without end where nobody comes up, so the caller drops it at the deadline, and finds in
/// `reason` what was missing last.
pub async fn wait(target: Target<'_>, reason: &Reason) -> Verdict {
    let probes = match usable(target) {
        Ok(probes) => probes,
        Err(verdict) => return verdict,
    };
    let mut tasks = JoinSet::new();
    for (destination, place) in probes {
        let (limit, reason) = (target.connect_timeout, reason.clone());
        tasks.spawn(async move { (destination, until_up(place, limit, reason).await) });
    }
    let mut failure = None;
    match next(&mut tasks, &mut failure).await {
        Some(verdict) => verdict,
        None => failure.unwrap_or_else(nowhere),
    }
}

/// Does nobody listen there any more? `None` where the kernel cannot know: another machine, a
/// name. Whoever is reached through a forwarder was never listening as the kernel sees it, and is
/// gone at once.
#[must_use]
pub fn is_gone(destination: &Destination) -> Option<bool> {
    let mut diag = Diag::open().ok()?;
    local::listens(&mut diag, &Place::of(destination)).map(|listens| !listens)
}

/// The destinations, without those that are the service itself.
fn usable(target: Target<'_>) -> Result<Vec<(Destination, Place)>, Verdict> {
    let mut own = None;
    let mut usable = Vec::new();
    for destination in target.destinations {
        let place = Place::of(destination);
        if target
            .own_listeners
            .iter()
            .any(|listener| place.is_served_by(*listener))
        {
            own = Some(destination);
        } else {
            usable.push((destination.clone(), place));
        }
    }
    match own {
        Some(own) if usable.is_empty() => Err(Verdict::Failed(format!(
            "{own} is where the service itself listens; its backend must listen elsewhere"
        ))),
        _ => Ok(usable),
    }
}

/// Goes on until one is up (`Some`), or none is left (`None`, and the last reason in `failure`).
async fn next(
    tasks: &mut JoinSet<(Destination, Probe)>,
    failure: &mut Option<Verdict>,
) -> Option<Verdict> {
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok((destination, Probe::Up(connection))) => return Some(up(&destination, connection)),
            // Not yet is better news than never.
            Ok((_, Probe::Down(down))) => *failure = Some(Verdict::Down(down)),
            Ok((destination, Probe::Failed(why))) => {
                failure.get_or_insert(Verdict::Failed(format!("{destination}: {why}")));
            }
            // Nobody aborts these tasks but the drop of the set: it panicked.
            Err(error) => {
                failure.get_or_insert(Verdict::Failed(format!("the probe failed: {error}")));
            }
        }
    }
    None
}

fn up(destination: &Destination, connection: Option<OwnedFd>) -> Verdict {
    Verdict::Up {
        destination: destination.clone(),
        connection,
    }
}

fn nowhere() -> Verdict {
    Verdict::Failed("there is no destination".to_owned())
}

async fn until_up(place: Place, limit: Duration, reason: Reason) -> Probe {
    match place {
        Place::Here(_) | Place::Unix(_) => local::until_up(&place, limit, &reason).await,
        Place::Elsewhere(_) | Place::Host(..) => {
            connect::until_up(&place, limit, &reason, &connect::Attempts::default()).await
        }
    }
}

// === impl Reason ===

impl Reason {
    /// What was missing last.
    #[must_use]
    pub fn last(&self) -> Option<Down> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, down: Down) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(down);
    }
}

// === impl Place ===

impl Place {
    fn of(destination: &Destination) -> Self {
        match destination {
            Destination::Unix(path) => Self::Unix(path.clone()),
            Destination::Host { name, port } => Self::Host(name.clone(), *port),
            Destination::Tcp(address) => {
                let address = reachable(canonical(*address));
                if local::is_ours(address) {
                    Self::Here(address)
                } else {
                    Self::Elsewhere(address)
                }
            }
        }
    }

    /// Whether a connection to this place would come to that listener.
    fn is_served_by(&self, listener: SocketAddr) -> bool {
        let listener = canonical(listener);
        match self {
            Self::Here(address) | Self::Elsewhere(address) => {
                let everywhere = listener.ip().is_unspecified() && matches!(self, Self::Here(_));
                // [::] may serve IPv4 as well; whether it does, its port is not the backend's.
                address.port() == listener.port() && (everywhere || address.ip() == listener.ip())
            }
            Self::Unix(_) | Self::Host(..) => false,
        }
    }
}

/// A connection to the wildcard address goes to the loopback interface (ip(7)).
fn reachable(address: SocketAddr) -> SocketAddr {
    if !address.ip().is_unspecified() {
        return address;
    }
    let loopback: std::net::IpAddr = match address {
        SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(loopback, address.port())
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Here(address) | Self::Elsewhere(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
            Self::Host(name, port) => write!(f, "{name}:{port}"),
        }
    }
}
