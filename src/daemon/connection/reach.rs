//! Finds the first destination that answers.

use std::{io, net::SocketAddr, path::Path, time::Duration};

use crate::{
    daemon::headers,
    model::{Destination, Policy},
    relay::{self, Settled},
    service::ConnectFailure,
    sys::{
        net::{First, Socket},
        stream::Stream,
    },
};

/// The first destination that answers, and has the PROXY header, if it gets one.
pub(super) async fn reach(
    candidates: &[Destination],
    settle: Duration,
    spare: Option<(Destination, Socket)>,
    header: Option<Vec<u8>>,
    policy: &Policy,
) -> Result<(Stream, Destination), ConnectFailure> {
    let mut failure = ConnectFailure::Failed("no destination is known".to_owned());
    let mut spare = spare;
    let first = match header {
        Some(_) => First::Us,
        None => who_is_first(settle),
    };
    for destination in candidates {
        let found = spare.take_if(|(to, _)| to == destination);
        let connected = match found.and_then(|(_, socket)| still_open(socket)) {
            Some(socket) => Stream::new(socket),
            None => connect(destination, policy.timeouts.connect, first).await,
        };
        match connected {
            Ok(backend) => {
                // Before it is watched: it may close on whoever sends none, or wait for it.
                if let Some(header) = &header {
                    if let Err(e) = headers::send(&backend, header, policy.timeouts.connect).await {
                        failure = unannounced(destination, settle, &e);
                        continue;
                    }
                }
                if settle.is_zero() || relay::settle(&backend, settle).await != Settled::Closed {
                    return Ok((backend, destination.clone()));
                }
                failure = ConnectFailure::ClosedEarly;
            }
            Err(error) => failure = classify(destination, &error),
        }
    }
    Err(failure)
}

/// The connection that was a probe, unless it has ended since: READY_CMD takes its time, and a
/// backend has enough of whoever is silent for long. One on which it has spoken is the client's,
/// even if that was all.
///
/// Nothing was sent over it, a PROXY header neither, so nobody misses it.
fn still_open(probe: Socket) -> Option<Socket> {
    // poll(2) of one good descriptor; if even that fails, another connection is none the worse.
    let glance = probe.glance().ok()?;
    let is_over = glance.dead || (glance.ended && !glance.data);
    (!is_over).then_some(probe)
}

/// It accepted, and took no PROXY header: that is a close, which only SETTLE_TIME makes a reason to
/// try again.
fn unannounced(destination: &Destination, settle: Duration, error: &io::Error) -> ConnectFailure {
    if settle.is_zero() {
        let why = format!("{destination}: it accepted, but took no PROXY header: {error}");
        ConnectFailure::Failed(why)
    } else {
        ConnectFailure::ClosedEarly
    }
}

/// The client's bytes, if there are any by then, follow the connect at once, and where there are
/// none the relay says so. Not while the backend is given SETTLE_TIME to close: until they follow
/// it would not even know of the connection.
fn who_is_first(settle: Duration) -> First {
    if settle.is_zero() {
        First::Us
    } else {
        First::Anybody
    }
}

async fn connect(destination: &Destination, limit: Duration, first: First) -> io::Result<Stream> {
    match destination {
        Destination::Tcp(addr) => Stream::connect_tcp(*addr, limit, first).await,
        // Boxed: rarer, and larger, and each connect would be as large as the largest.
        Destination::Unix(path) => Box::pin(Stream::connect_unix(Path::new(path), limit)).await,
        Destination::Host { name, port } => {
            Box::pin(connect_by_name(name, *port, limit, first)).await
        }
    }
}

/// Every address of the name is tried, the time for all of them being one CONNECT_TIMEOUT.
async fn connect_by_name(
    name: &str,
    port: u16,
    limit: Duration,
    first: First,
) -> io::Result<Stream> {
    let attempts = async {
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name, port)).await?.collect();
        for addr in addresses {
            match Stream::connect_tcp(addr, limit, first).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    };
    tokio::time::timeout(limit, attempts).await?
}

/// Whether waiting may cure it. A machine that boots refuses, is unreachable and is silent, in
/// turn; a unix socket is not there yet; a name is not known yet.
fn classify(destination: &Destination, error: &io::Error) -> ConnectFailure {
    use io::ErrorKind as E;
    let why = format!("{destination}: {error}");
    match error.kind() {
        E::ConnectionRefused
        | E::ConnectionReset
        | E::ConnectionAborted
        | E::HostUnreachable
        | E::NetworkUnreachable
        | E::NetworkDown
        | E::TimedOut
        | E::NotFound => ConnectFailure::NotUp(why),
        // Of ours: no descriptor, no memory, no port of our own. That is not the backend's fault,
        // and passes when other clients end.
        E::AddrNotAvailable | E::OutOfMemory => ConnectFailure::NoRoom(why),
        _ if matches!(
            error.raw_os_error(),
            Some(nix::libc::EMFILE | nix::libc::ENFILE | nix::libc::ENOBUFS)
        ) =>
        {
            ConnectFailure::NoRoom(why)
        }
        // Of host and network: EHOSTDOWN has no kind of its own. getaddrinfo's failures have none
        // at all, and a name that does not resolve may do so once the machine is up.
        _ if error.raw_os_error() == Some(nix::libc::EHOSTDOWN) => ConnectFailure::NotUp(why),
        _ if matches!(destination, Destination::Host { .. }) && error.raw_os_error().is_none() => {
            ConnectFailure::NotUp(why)
        }
        _ => ConnectFailure::Failed(why),
    }
}
