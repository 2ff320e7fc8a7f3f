//! Connecting, where nothing else tells whether somebody is there.

use std::{
    fmt, io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use nix::{
    libc,
    sys::socket::{setsockopt, sockopt},
};
use tokio::{
    net::{TcpSocket, TcpStream, UnixStream, lookup_host},
    time::timeout,
};

use super::{Down, Place, Probe, Reason, pace::BackOff};
use crate::{model::addr::canonical, sys::net::never_own_port};

/// The pause after the first failure, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A backend that accepts nobody on this machine is not hurried.
const FIRST_LOCAL_PAUSE: Duration = Duration::from_millis(100);

/// A name with more addresses than this has too many to try.
const ADDRESS_LIMIT: usize = 16;

/// The attempts of [`until_up`], as somebody sees them who learns otherwise that the place is up.
#[derive(Debug, Default)]
pub struct Attempts {
    under_way: AtomicBool,
    last: AtomicBool,
}

/// Connects again and again until it succeeds, or fails in a way that waiting does not cure. After
/// [`Attempts::finish`] the attempt that is under way is the last: if it fails, somebody else has
/// found the place to be up.
pub async fn until_up(
    place: &Place,
    limit: Duration,
    reason: &Reason,
    attempts: &Attempts,
) -> Probe {
    let first = match place {
        Place::Here(_) | Place::Unix(_) => FIRST_LOCAL_PAUSE,
        Place::Elsewhere(_) | Place::Host(..) => FIRST_PAUSE,
    };
    let mut pauses = BackOff::new(first, LONGEST_PAUSE);
    loop {
        attempts.under_way.store(true, Ordering::Relaxed);
        match once(place, limit).await {
            Probe::Down(_) if attempts.last.load(Ordering::Relaxed) => return Probe::Up(None),
            Probe::Down(down) => reason.set(down),
            certain => return certain,
        }
        attempts.under_way.store(false, Ordering::Relaxed);
        tokio::time::sleep(pauses.step()).await;
    }
}

// === impl Attempts ===

impl Attempts {
    /// Makes no more than the one that is under way; says whether there is one. Then its outcome
    /// is to be waited for: it may have connected, and whoever listens must not find it closed.
    pub fn finish(&self) -> bool {
        self.last.store(true, Ordering::Relaxed);
        self.under_way.load(Ordering::Relaxed)
    }
}

/// Connects once; each address of a name in turn.
pub async fn once(place: &Place, limit: Duration) -> Probe {
    match place {
        Place::Here(address) | Place::Elsewhere(address) => tcp(*address, limit).await,
        Place::Unix(path) => unix(path, limit).await,
        Place::Host(name, port) => host(name, *port, limit).await,
    }
}

async fn tcp(address: SocketAddr, limit: Duration) -> Probe {
    let stream = match timeout(limit, connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return judge(&address, &error),
        Err(_) => return silent(&address, limit),
    };
    // It has found itself, and holds the port that the backend wants.
    let own = stream
        .local_addr()
        .is_ok_and(|local| canonical(local) == canonical(address));
    if own {
        // A reset on close, so that no TIME_WAIT keeps the port from the backend for a minute.
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // If it cannot be set, the port is merely busy for that minute.
        let _ = setsockopt(&stream, sockopt::Linger, &linger);
        let text = format!("{address}: connected to ourselves; nobody listens");
        return Probe::Down(Down {
            kind: io::ErrorKind::NotConnected,
            text,
        });
    }
    hand_over(&address, stream.into_std())
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // Where that cannot be had, finding itself is noticed afterwards.
    let _ = never_own_port(socket.as_fd(), address);
    socket.connect(address).await
}

async fn unix(path: &Path, limit: Duration) -> Probe {
    let shown = path.display();
    match timeout(limit, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => hand_over(&shown, stream.into_std()),
        Ok(Err(error)) => judge(&shown, &error),
        Err(_) => silent(&shown, limit),
    }
}

async fn host(name: &str, port: u16, limit: Duration) -> Probe {
    let resolved = match timeout(limit, lookup_host((name, port))).await {
        Ok(Ok(addresses)) => addresses.take(ADDRESS_LIMIT).collect::<Vec<_>>(),
        // A name may appear later: a container, a machine that has yet to get its address.
        Ok(Err(error)) => return down(&name, io::ErrorKind::NotFound, &error),
        Err(_) => return silent(&name, limit),
    };
    let mut last = None;
    for address in resolved {
        match tcp(address, limit).await {
            Probe::Up(connection) => return Probe::Up(connection),
            // Not yet is better news than never.
            Probe::Failed(why) if last.is_none() => last = Some(Probe::Failed(why)),
            Probe::Failed(_) => {}
            Probe::Down(Down { kind, text }) => {
                last = Some(Probe::Down(Down {
                    kind,
                    text: format!("{name}: {text}"),
                }));
            }
        }
    }
    last.unwrap_or_else(|| down(&name, io::ErrorKind::NotFound, &"the name has no address"))
}

/// What a failure to connect means. A machine that boots refuses, is unreachable, and is silent in
/// turn; shortages of our own pass as well.
fn judge(address: &dyn fmt::Display, error: &io::Error) -> Probe {
    const NOT_YET: &[libc::c_int] = &[
        libc::ECONNREFUSED,
        libc::ECONNRESET,
        libc::ECONNABORTED,
        libc::ENETUNREACH,
        libc::ENETDOWN,
        libc::EHOSTUNREACH,
        libc::EHOSTDOWN,
        libc::ETIMEDOUT,
        // A unix socket that is not there, or whose backlog is full.
        libc::ENOENT,
        libc::EAGAIN,
        // Ours: descriptors, memory, local ports.
        libc::EMFILE,
        libc::ENFILE,
        libc::ENOBUFS,
        libc::ENOMEM,
        libc::EADDRNOTAVAIL,
    ];
    match error.raw_os_error() {
        Some(errno) if NOT_YET.contains(&errno) => down(address, error.kind(), error),
        _ => Probe::Failed(error.to_string()),
    }
}

fn down(address: &dyn fmt::Display, kind: io::ErrorKind, why: &dyn fmt::Display) -> Probe {
    Probe::Down(Down {
        kind,
        text: format!("{address}: {why}"),
    })
}

fn silent(address: &dyn fmt::Display, limit: Duration) -> Probe {
    let limit = crate::model::duration::show(limit);
    down(
        address,
        io::ErrorKind::TimedOut,
        &format!("no answer within {limit}"),
    )
}

fn hand_over<S: Into<OwnedFd>>(address: &dyn fmt::Display, stream: io::Result<S>) -> Probe {
    match stream {
        Ok(stream) => Probe::Up(Some(stream.into())),
        Err(error) => Probe::Failed(format!("{address}: cannot leave the event loop: {error}")),
    }
}
