//! What comes before the relay: a client is held, and connected when that is decided.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Client, Cut, Order, Pairing, Shared, Told, Verdict, reach::reach};
use crate::{
    daemon::headers,
    model::{ClientAddr, ConnId, LocalAddr, Policy},
    relay::{self, Activity, Relay},
    service::{ConnectFailure, Input},
    sys::{
        net::Socket,
        stream::{Sign, Stream},
    },
};

/// A client whom nobody serves yet. However it is dropped it is reset: a FIN would be an empty
/// answer.
struct Waiting(Option<Stream>);

/// Why a client is not held any more.
enum Held {
    Decided(Verdict),
    Gone,
}

/// How it went with an order.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
enum Connected {
    Paired(Pairing),
    /// It is to be cut, or was refused meanwhile.
    Cut,
    /// Nobody answered, and the service decides anew.
    Failed(ConnectFailure),
}

/// Holds a client, and connects it when that is decided. `None`: it is gone, or was reset.
pub(super) async fn introduce(
    client: Client,
    mut decision: oneshot::Receiver<Verdict>,
    shared: Arc<Shared>,
) -> Option<Pairing> {
    let Client {
        conn,
        addr,
        local,
        socket,
        ..
    } = client;
    let mut waiting = Waiting::new(socket, conn, &shared)?;
    loop {
        let order = match held(waiting.stream(), &mut decision, conn, &shared).await {
            Held::Decided(Verdict::Connect(order)) => order,
            Held::Decided(Verdict::Refuse) => return None,
            Held::Gone => {
                shared.tell(Input::ClientGone(conn));
                return None;
            }
        };
        let header = header(addr, &local, &shared.policy);
        match connect(&mut waiting, order, header, &shared.policy).await {
            Connected::Paired(pairing) => {
                shared.tell(Input::Connected(conn, pairing.destination.clone()));
                return Some(pairing);
            }
            Connected::Cut => return None,
            Connected::Failed(failure) => {
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

/// What a backend of SEND_PROXY is told of the client.
fn header(addr: ClientAddr, local: &LocalAddr, policy: &Policy) -> Option<Vec<u8>> {
    let version = policy.proxy.send?;
    Some(headers::written(version, addr, local))
}

/// Carries an order out, unless that is taken back meanwhile.
async fn connect(
    waiting: &mut Waiting,
    order: Order,
    header: Option<Vec<u8>>,
    policy: &Policy,
) -> Connected {
    let Order {
        candidates,
        settle,
        spare,
        mut cut,
        activity,
    } = order;
    let reached = tokio::select! {
        biased;
        _ = &mut cut => return Connected::Cut,
        reached = reach(&candidates, settle, spare, header, policy) => reached,
    };
    let (backend, destination) = match reached {
        Ok(reached) => reached,
        Err(failure) => return Connected::Failed(failure),
    };
    let mut relay = relayed(waiting.take(), backend, cut, activity, policy);
    if settle.is_zero() {
        relay = relay.with_new_backend();
    }
    Connected::Paired(Pairing { relay, destination })
}

/// Begins to relay.
fn relayed(
    client: Stream,
    backend: Stream,
    cut: oneshot::Receiver<Told>,
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

// === impl Waiting ===

impl Waiting {
    /// Gives it to the runtime of this thread. `None`: that failed, and it was reset.
    fn new(socket: Socket, conn: ConnId, shared: &Shared) -> Option<Self> {
        match Stream::new(socket) {
            Ok(stream) => Some(Self(Some(stream))),
            Err(e) => {
                shared.tell_unwatched(conn, e);
                None
            }
        }
    }

    fn stream(&self) -> &Stream {
        self.0.as_ref().expect("taken only when nobody waits more")
    }

    /// It is served from here on.
    fn take(&mut self) -> Stream {
        self.0.take().expect("taken once")
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(stream) = self.0.take() {
            stream.reset();
        }
    }
}
