//! One client: held, connected, relayed.
//!
//! ```text
//!   held ──Connect──▶ connecting ──▶ relayed ──▶ ended
//!    ▲ │ Refuse, gone      │ no destination answers
//!    │ └──▶ reset          │
//!    └─────────────────────┘
//! ```
//!
//! - `introduction`: until it is connected; `reach`: to whom.
//! - here: the whole of its life, and how that ended.

mod introduction;
mod reach;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    future::Future,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::sync::{mpsc::UnboundedSender, oneshot};

use self::introduction::introduce;
use super::{
    actor::Message,
    outcome::{ClientOutcome, Fate},
    threads::Counted,
};
use crate::{
    model::{
        ClientAddr, ConnId, Destination, End, LocalAddr, Outcome, Policy, ServiceName, Timestamp,
    },
    relay::{Activity, Relay, Word},
    service::{ConnectFailure, Input},
    sys::{clock, net::Socket},
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
    /// Ends the connect or the relay.
    pub(super) cut: oneshot::Receiver<Told>,
    /// Told while it is relayed.
    pub(super) activity: Activity,
}

/// What the actor has to say to a relay.
pub(super) enum Told {
    /// End: both sides are reset.
    End(End),
    /// The backend is no more. There may be more to say, by this way.
    BackendGone(oneshot::Receiver<Told>),
}

/// What every connection of a service shares, at the time of its accept.
pub(super) struct Shared {
    pub(super) service: ServiceName,
    pub(super) policy: Arc<Policy>,
    /// See [`Recipe::wakes_nothing`](crate::model::Recipe::wakes_nothing).
    pub(super) wakes_nothing: bool,
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
}

/// The actor's word to a relay.
struct Cut(oneshot::Receiver<Told>);

/// The life of one client. A type of its own and not an async block, so that there is somebody left
/// to tell of a panic: who it was, and what came of its relay.
struct Life {
    stage: Stage,
    client: ClientAddr,
    arrived: Timestamp,
    farewell: Farewell,
}

/// How far it is.
#[expect(clippy::large_enum_variant, reason = "the small ones are soon over")]
enum Stage {
    /// Boxed, and gone when it is relayed: of ten thousand idle connections each is as small as can
    /// be.
    Introducing(Pin<Box<dyn Future<Output = Option<Pairing>> + Send>>),
    /// After it was held for so long.
    Relaying(Pairing, Duration),
    Over,
}

/// The life of one client; `decision` is the service's first for it.
pub(super) fn serve(
    client: Client,
    decision: oneshot::Receiver<Verdict>,
    shared: Arc<Shared>,
    counted: Counted,
) -> impl Future<Output = ()> + Send {
    Life {
        client: client.addr,
        arrived: client.arrived,
        farewell: Farewell {
            conn: client.conn,
            shared: Arc::clone(&shared),
            _counted: counted,
        },
        stage: Stage::Introducing(Box::pin(introduce(client, decision, shared))),
    }
}

// === impl Life ===

impl Future for Life {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let life = self.get_mut();
        // Whatever a panic has left half done is not used any more: it is closed.
        match catch_unwind(AssertUnwindSafe(|| life.run(cx))) {
            Ok(polled) => polled,
            Err(panic) => {
                life.tell_panic(said(&*panic));
                Poll::Ready(())
            }
        }
    }
}

impl Life {
    fn run(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.stage {
                Stage::Introducing(introduced) => {
                    self.stage = match ready!(introduced.as_mut().poll(cx)) {
                        Some(pairing) => Stage::Relaying(pairing, self.held()),
                        None => Stage::Over,
                    };
                }
                Stage::Relaying(pairing, _) => {
                    let outcome = ready!(Pin::new(&mut pairing.relay).poll(cx));
                    self.tell_relayed(&outcome);
                    self.stage = Stage::Over;
                }
                Stage::Over => return Poll::Ready(()),
            }
        }
    }

    fn tell_relayed(&self, outcome: &Outcome) {
        match &self.stage {
            // Every client has one outcome, and this one has been told.
            Stage::Relaying(..) if outcome.end == End::Refused => {}
            Stage::Relaying(Pairing { destination, .. }, held) => {
                let fate = Fate::Relayed(destination, outcome);
                self.outcome(*held, fate).tell();
            }
            Stage::Introducing(_) | Stage::Over => {}
        }
    }

    fn tell_panic(&mut self, said: &str) {
        let (relayed, held) = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Relaying(pairing, held) => (pairing.abandon(), held),
            Stage::Introducing(_) | Stage::Over => (None, self.held()),
        };
        let relayed = relayed.as_ref().map(|(to, outcome)| (to, outcome));
        self.outcome(held, Fate::Panicked { said, relayed }).tell();
    }

    fn outcome<'a>(&'a self, held: Duration, fate: Fate<'a>) -> ClientOutcome<'a> {
        ClientOutcome {
            service: Some(&self.farewell.shared.service),
            client: self.client,
            held,
            fate,
        }
    }

    fn held(&self) -> Duration {
        clock::now().since(self.arrived)
    }
}

/// What a panic says, where it says something.
fn said(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no word of why")
}

// === impl Pairing ===

impl Pairing {
    /// Its task has panicked. `None` if the relay was over by then, and that was told.
    fn abandon(self) -> Option<(Destination, Outcome)> {
        let outcome = self.relay.abandon()?;
        Some((self.destination, outcome))
    }
}

// === impl Cut ===

impl Future for Cut {
    type Output = Word;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Word> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll(cx)) {
            Ok(Told::End(end)) => Word::End(end),
            Ok(Told::BackendGone(next)) => {
                self.0 = next;
                Word::BackendGone
            }
            // An actor that is gone has been through its drain.
            Err(_) => Word::End(End::DrainTimeout),
        })
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
