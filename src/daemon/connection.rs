//! One client: held, connected, relayed.
//!
//! ```text
//!   held ──Connect──▶ connecting ──▶ relayed ──▶ ended
//!    ▲ │ Refuse, gone      │ no destination answers
//!    │ └──▶ reset          │
//!    └─────────────────────┘
//! ```

use std::{
    future::Future,
    io,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::sync::{mpsc::UnboundedSender, oneshot};

use super::{
    actor::Message,
    headers,
    outcome::{ClientOutcome, Fate},
    threads::Counted,
};
use crate::{
    model::{ClientAddr, ConnId, Destination, End, LocalAddr, Policy, ServiceName, Timestamp},
    relay::{self, Activity, Relay, Settled},
    service::{ConnectFailure, Input},
    sys::{
        clock,
        net::{First, Socket},
        stream::{Sign, Stream},
    },
};

/// What the service has decided for a held client.
pub(super) enum Verdict {
    /// Connect it to the first of these that answers, and relay.
    Connect(Order),
    /// Reset it.
    Refuse,
}

/// To whom to connect a client.
pub(super) struct Order {
    pub(super) candidates: Vec<Destination>,
    /// SETTLE_TIME, while it applies.
    pub(super) settle: Duration,
    /// The connection by which a remote backend was found to be up.
    pub(super) spare: Option<(Destination, Socket)>,
    /// Ends the connect or the relay: both sides are reset.
    pub(super) cut: oneshot::Receiver<End>,
    /// Told while it is relayed.
    pub(super) activity: Activity,
}

/// What every connection of a service shares, at the time of its accept.
pub(super) struct Shared {
    pub(super) service: ServiceName,
    pub(super) policy: Arc<Policy>,
    pub(super) to_actor: UnboundedSender<Message>,
}

/// A client, and who it is.
pub(super) struct Client {
    pub(super) conn: ConnId,
    pub(super) addr: ClientAddr,
    pub(super) local: LocalAddr,
    /// Not yet with a runtime: it is to be with that of the thread that relays it.
    pub(super) socket: Socket,
    pub(super) arrived: Timestamp,
}

/// Tells the actor of the end, however it comes: a task that panics must not leave a client behind
/// in the service's books.
struct Farewell {
    conn: ConnId,
    shared: Arc<Shared>,
    _counted: Counted,
}

/// A client with its backend.
struct Pairing {
    relay: Relay<Cut>,
    destination: Destination,
    /// How long the client had to wait for it.
    held: Duration,
}

/// The actor's word that a relay is to end.
struct Cut(oneshot::Receiver<End>);

enum Held {
    Decided(Verdict),
    Gone,
}

/// The life of one client; `decision` is the service's first for it.
///
/// What comes before the relay is boxed, and gone when that begins: of ten thousand idle
/// connections each is as small as can be.
pub(super) fn serve(
    client: Client,
    decision: oneshot::Receiver<Verdict>,
    shared: Arc<Shared>,
    counted: Counted,
) -> impl Future<Output = ()> + Send {
    let farewell = Farewell {
        conn: client.conn,
        shared: Arc::clone(&shared),
        _counted: counted,
    };
    let addr = client.addr;
    let introduced = Box::pin(introduce(client, decision, shared));
    async move {
        let Some(Pairing {
            relay,
            destination,
            held,
        }) = introduced.await
        else {
            return;
        };
        let outcome = relay.await;
        // Every client has one outcome, and this one has been told.
        if outcome.end != End::Refused {
            let whole = ClientOutcome {
                service: Some(&farewell.shared.service),
                client: addr,
                held,
                fate: Fate::Relayed(&destination, &outcome),
            };
            whole.tell();
        }
    }
}

/// Holds a client, and connects it when that is decided. `None`: it is gone, or was reset.
async fn introduce(
    client: Client,
    mut decision: oneshot::Receiver<Verdict>,
    shared: Arc<Shared>,
) -> Option<Pairing> {
    let Client {
        conn,
        addr,
        local,
        socket,
        arrived,
    } = client;
    let stream = match Stream::new(socket) {
        Ok(stream) => stream,
        Err(e) => {
            shared.tell_unwatched(conn, e);
            return None;
        }
    };
    loop {
        let order = match held(&stream, &mut decision, conn, &shared).await {
            Held::Decided(Verdict::Connect(order)) => order,
            Held::Decided(Verdict::Refuse) => {
                stream.reset();
                return None;
            }
            Held::Gone => {
                shared.tell(Input::ClientGone(conn));
                stream.reset();
                return None;
            }
        };
        let Order {
            candidates,
            settle,
            spare,
            mut cut,
            activity,
        } = order;
        let version = shared.policy.proxy.send;
        let header = version.map(|version| headers::written(version, addr, &local));
        let reached = tokio::select! {
            biased;
            _ = &mut cut => {
                stream.reset();
                return None;
            }
            reached = reach(&candidates, settle, spare, header, &shared.policy) => reached,
        };
        match reached {
            Ok((backend, destination)) => {
                let held = clock::now().since(arrived);
                shared.tell(Input::Connected(conn, destination.clone()));
                let mut relay = relayed(stream, backend, cut, activity, &shared.policy);
                if settle.is_zero() {
                    relay = relay.with_new_backend();
                }
                return Some(Pairing {
                    relay,
                    destination,
                    held,
                });
            }
            Err(failure) => {
                let (to, next) = oneshot::channel();
                shared.tell_failure(conn, failure, to);
                decision = next;
            }
        }
    }
}

/// Waits for the decision; sees meanwhile whether the client speaks, or leaves.
async fn held(
    stream: &Stream,
    decision: &mut oneshot::Receiver<Verdict>,
    conn: ConnId,
    shared: &Shared,
) -> Held {
    let mut spoke = false;
    loop {
        tokio::select! {
            biased;
            // The actor drops its end only with itself: there is nobody to wait for any more.
            verdict = &mut *decision => return Held::Decided(verdict.unwrap_or(Verdict::Refuse)),
            sign = stream.next_sign(spoke) => match sign {
                Sign::Gone => return Held::Gone,
                Sign::Data => {
                    spoke = true;
                    shared.tell(Input::ClientSpoke(conn));
                }
            },
        }
    }
}

/// The first destination that answers, and has the PROXY header, if it gets one.
async fn reach(
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
        let connected = match spare.take_if(|(to, _)| to == destination) {
            Some((_, socket)) => Stream::new(socket),
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

/// Begins to relay.
fn relayed(
    client: Stream,
    backend: Stream,
    cut: oneshot::Receiver<End>,
    activity: Activity,
    policy: &Policy,
) -> Relay<Cut> {
    for stream in [&client, &backend] {
        if let Some(limit) = policy.timeouts.user {
            // Refused only for a unix socket, which has no peer that could vanish.
            let _ = stream.socket().set_user_timeout(Some(limit));
        }
    }
    let limits = relay::Limits {
        client_timeout: policy.timeouts.client,
        half_close: policy.timeouts.half_close,
    };
    relay::relay(client, backend, limits, Cut(cut), activity)
}

// === impl Cut ===

impl Future for Cut {
    type Output = End;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<End> {
        // An actor that is gone has been through its drain.
        let end = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(end.unwrap_or(End::DrainTimeout))
    }
}

// === impl Shared ===

impl Shared {
    fn tell(&self, input: Input) {
        // An actor that is gone needs no books.
        let _ = self.to_actor.send(Message::Input(input));
    }

    fn tell_unwatched(&self, conn: ConnId, error: io::Error) {
        // As above.
        let _ = self.to_actor.send(Message::Unwatched(conn, error));
    }

    fn tell_failure(&self, conn: ConnId, failure: ConnectFailure, to: oneshot::Sender<Verdict>) {
        // As above; and the client is refused when the sender is dropped with the message.
        let _ = self
            .to_actor
            .send(Message::ConnectFailed(conn, failure, to));
    }
}

// === impl Farewell ===

impl Drop for Farewell {
    fn drop(&mut self) {
        self.shared.tell(Input::RelayEnded(self.conn));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::{config, daemon::threads::Threads, model::Scope};

    #[tokio::test]
    async fn the_task_of_an_idle_connection_is_small() {
        let path = "web.conf".into();
        let text = "[web]\nPORT=1\nTARGET=127.0.0.1:2\n".to_owned();
        let mut loaded = config::parse(&[config::SourceFile { path, text }], &[], Scope::System);
        let definition = loaded.definitions.remove(0);
        let (to_actor, _inbox) = tokio::sync::mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            service: definition.name,
            policy: definition.policy,
            to_actor,
        });
        let (ours, _) = UnixStream::pair().unwrap();
        let client = Client {
            conn: ConnId(1),
            addr: ClientAddr::Unix,
            local: LocalAddr::Unix("/run/web.sock".into()),
            socket: Socket::from_fd(ours.into()).unwrap(),
            arrived: clock::now(),
        };
        let (_, decision) = oneshot::channel();
        let mut size = 0;
        Threads::default().spawn(|counted| {
            let task = serve(client, decision, shared, counted);
            size = size_of_val(&task);
            task
        });
        // With the runtime's own it is to fit in 512 bytes, in steps of 128.
        assert!(size <= 408, "{size} bytes");
    }
}
