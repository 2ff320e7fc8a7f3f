//! Looks and waits, for the actor.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use crate::{
    model::{CommandId, CommandOutcome, Destination, GenerationId, ListenAddr, ProbeId, Timestamp},
    readiness::{self, Reason, Target, Verdict},
    service::{ProbeKind, ProbeVerdict},
    sys::net::Socket,
};

/// What a task of the actor's brings back.
pub(super) enum Answer {
    /// A command's.
    Command(CommandId, CommandOutcome),
    /// A probe's, with the connection that it made, if it had to make one.
    Probe {
        id: ProbeId,
        verdict: ProbeVerdict,
        spare: Option<(Destination, Socket)>,
    },
    /// When the last byte moved.
    Activity(GenerationId, Option<Timestamp>),
}

/// Asks. Without a limit of its own for waits: they end with the wake.
pub(super) async fn ask(
    id: ProbeId,
    kind: ProbeKind,
    destinations: Vec<Destination>,
    own: Vec<ListenAddr>,
    url: Option<String>,
    connect: Duration,
) -> Answer {
    let own: Vec<SocketAddr> = own.iter().flat_map(addresses).collect();
    let target = Target {
        destinations: &destinations,
        own_listeners: &own,
        connect_timeout: connect,
    };
    let (verdict, spare) = match kind {
        ProbeKind::Look => translate(readiness::look(target).await),
        ProbeKind::Wait => translate(readiness::wait(target, &Reason::default()).await),
        ProbeKind::LookLocal => (look_local(&destinations), None),
        ProbeKind::Url => (fetch(url, connect).await, None),
    };
    Answer::Probe { id, verdict, spare }
}

fn translate(verdict: Verdict) -> (ProbeVerdict, Option<(Destination, Socket)>) {
    match verdict {
        Verdict::Up {
            destination,
            connection,
        } => {
            // What cannot be used as a socket is closed, and the client connects by itself.
            let spare = connection.and_then(|fd| Socket::from_fd(fd).ok());
            (ProbeVerdict::Up, spare.map(|socket| (destination, socket)))
        }
        Verdict::Down(down) => (ProbeVerdict::Down(down.text), None),
        Verdict::Failed(why) => (ProbeVerdict::Failed(why), None),
    }
}

/// Whether anybody listens at any of those that are on this machine.
fn look_local(destinations: &[Destination]) -> ProbeVerdict {
    let known: Vec<bool> = destinations.iter().filter_map(readiness::is_gone).collect();
    match known.iter().all(|gone| *gone) {
        _ if known.len() < destinations.len() && !known.contains(&false) => ProbeVerdict::Unknown,
        true => ProbeVerdict::Down("nobody listens there".to_owned()),
        false => ProbeVerdict::Up,
    }
}

async fn fetch(url: Option<String>, limit: Duration) -> ProbeVerdict {
    match url {
        None => ProbeVerdict::Up,
        Some(url) => match readiness::http_ok(&url, limit).await {
            Ok(()) => ProbeVerdict::Up,
            Err(why) => ProbeVerdict::Down(why),
        },
    }
}

fn addresses(listen: &ListenAddr) -> Vec<SocketAddr> {
    match listen {
        ListenAddr::Any(port) => vec![
            SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), *port),
            SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), *port),
        ],
        ListenAddr::Tcp(addr) => vec![*addr],
        ListenAddr::Unix(_) => vec![],
    }
}
