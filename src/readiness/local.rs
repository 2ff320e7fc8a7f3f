//! Backends on this machine: the kernel is asked.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use super::{
    Down, Place, Probe, Reason,
    connect::{self, Attempts},
    pace::Asking,
};
use crate::sys::{diag::Diag, timer::Timer};

/// How long the kernel alone is asked. A forwarder, or a container's network namespace, never
/// shows; what is behind it is then found by connecting.
const KERNEL_ONLY: Duration = Duration::from_secs(1);

/// Every listening unix socket is listed for one question, so not quite as often.
const UNIX_INTERVAL: Duration = Duration::from_millis(1);

/// Waits until the kernel knows a listener, or, after a second, a connection succeeds.
pub async fn until_up(place: &Place, limit: Duration, reason: &Reason) -> Probe {
    let (diag, timer) = match open() {
        Ok(both) => both,
        // Nobody can be asked here (no netlink, no descriptors): connecting always works.
        Err(_) => return connect::until_up(place, limit, reason, &Attempts::default()).await,
    };
    let attempts = Attempts::default();
    let connecting = async {
        tokio::time::sleep(KERNEL_ONLY).await;
        connect::until_up(place, limit, reason, &attempts).await
    };
    tokio::pin!(connecting);
    tokio::select! {
        // If both are true at once, the connection is there and must not be dropped unused.
        biased;
        probe = &mut connecting => probe,
        listening = watch(diag, timer, place, reason) => match listening {
            // Nor if it is on its way: the one who listens may have it already.
            Ok(()) if attempts.finish() => connecting.await,
            Ok(()) => Probe::Up(None),
            // The kernel has stopped answering.
            Err(_) => connecting.await,
        },
    }
}

/// Whether the kernel knows a listener there; `None` where it cannot.
pub fn listens(diag: &mut Diag, place: &Place) -> Option<bool> {
    match place {
        Place::Here(address) => diag.tcp(*address).ok().map(|listener| listener.is_some()),
        Place::Unix(path) => diag.unix(path).ok().map(|listener| listener.is_some()),
        Place::Elsewhere(_) | Place::Host(..) => None,
    }
}

/// Whether this is an address of this machine, as the routing table has it: a packet to an
/// address of ours would bear it as its source too. Nothing is sent.
pub fn is_ours(address: SocketAddr) -> bool {
    if address.ip().is_loopback() {
        return true;
    }
    let any: IpAddr = match address {
        SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = || -> io::Result<SocketAddr> {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(address)?;
        socket.local_addr()
    };
    // No route to it: certainly not here.
    source().is_ok_and(|source| source.ip() == address.ip())
}

fn open() -> io::Result<(Diag, Timer)> {
    Ok((Diag::open()?, Timer::new()?))
}

async fn watch(mut diag: Diag, timer: Timer, place: &Place, reason: &Reason) -> io::Result<()> {
    let asking = Asking::begin();
    let least = if matches!(place, Place::Unix(_)) {
        UNIX_INTERVAL
    } else {
        Duration::ZERO
    };
    let mut said = false;
    loop {
        match listens(&mut diag, place) {
            Some(true) => return Ok(()),
            Some(false) => {}
            None => return Err(io::ErrorKind::Unsupported.into()),
        }
        // Once: what a connect says later is more to the point.
        if !said {
            said = true;
            reason.set(Down {
                kind: io::ErrorKind::NotConnected,
                text: format!("nobody listens at {place}"),
            });
        }
        timer.sleep(asking.pause().max(least)).await?;
    }
}
