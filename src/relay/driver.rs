//! One relay while it runs: events in, turns out.

use std::{
    future::{Future, poll_fn},
    io,
    pin::pin,
    task::{Context, Poll, ready},
};

use super::{
    Activity, Limits, Tuning,
    deadlines::{Deadline, Deadlines},
    flow::Way,
    pair::{Pair, Turn, Verdict},
    watch::{Watches, poll_events},
    wires::{Rooms, Sent, Sockets, with_buffer},
};
use crate::{
    model::{End, LocalAddr, Side, Timestamp},
    sys::{clock, diag::Diag, stream::Stream},
};

/// A relay while it runs. Between two polls it is plain data and two sockets; at most a pipe for
/// each direction; and a timer, where a limit applies.
#[derive(Debug)]
pub(super) struct Driver {
    ends: Ends,
    engine: Engine,
}

/// The two sockets. Apart from the rest, so that they can be listened to while it moves.
#[derive(Debug)]
pub(super) struct Ends {
    client: Stream,
    backend: Stream,
}

/// All but the sockets.
#[derive(Debug)]
struct Engine {
    pair: Pair,
    rooms: Rooms,
    /// To the backend.
    sent: Sent,
    pipe_size: u32,
    activity: Activity,
    deadlines: Deadlines,
    watches: Watches,
    /// The backend's handshake may wait for our first bytes.
    unacknowledged: bool,
}

/// Why it does not go on as it was.
#[derive(Debug)]
pub(super) enum Halt {
    Over(Verdict),
    /// The failure of a side would not be noticed any more: from here on by [`Driver::listen`].
    Deaf,
}

// === impl Driver ===

impl Driver {
    pub(super) fn new(
        client: Stream,
        backend: Stream,
        limits: Limits,
        tuning: Tuning,
        activity: Activity,
        began: Timestamp,
    ) -> Self {
        let engine = Engine {
            pair: Pair::new(&tuning),
            rooms: Rooms::default(),
            sent: Sent::default(),
            pipe_size: tuning.pipe_size,
            activity,
            deadlines: Deadlines::new(limits, began),
            watches: Watches::default(),
            unacknowledged: false,
        };
        Self {
            ends: Ends { client, backend },
            engine,
        }
    }

    /// Nothing is read from the backend before it has an event, and it may wait for the
    /// handshake's last packet.
    pub(super) fn await_backend(&mut self) {
        self.engine.pair.flow_mut(Way::ToClient).await_source();
        self.engine.unacknowledged = true;
    }

    pub(super) fn limits(&self) -> Limits {
        self.engine.deadlines.limits()
    }

    pub(super) fn activity(&self) -> &Activity {
        &self.engine.activity
    }

    pub(super) fn ends(&self) -> &Ends {
        &self.ends
    }

    /// The client, the backend, and what was moved between them.
    pub(super) fn into_parts(self) -> (Stream, Stream, Activity) {
        let Ends { client, backend } = self.ends;
        (client, backend, self.engine.activity)
    }

    /// The backend's process is no more. If its side is still open, somebody else has it, who will
    /// not end it: it is dead, and what it had sent is delivered.
    pub(super) fn backend_is_gone(&mut self) {
        // Where that cannot be known it tells by itself.
        if self.ends.backend_is_open().unwrap_or(false) {
            // Whoever has it is told as well. Fails for no socket of ours.
            let _ = self.ends.backend.socket().reset_on_close();
            let error = io::Error::from_raw_os_error(libc::ECONNRESET);
            self.engine.hear(&self.ends, Way::ToClient, &error);
        }
    }

    /// Moves what can be moved, and sees to it that whatever changes that wakes the task.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Halt> {
        match self.engine.poll(&self.ends, cx) {
            Poll::Ready(verdict) => Poll::Ready(Halt::Over(verdict)),
            Poll::Pending if self.engine.is_deaf() => Poll::Ready(Halt::Deaf),
            Poll::Pending => Poll::Pending,
        }
    }

    /// The same until it is over, with an ear at each side that hears of nothing but its failure.
    ///
    /// The runtime calls a side closed for ever once both FINs have gone by it, and wakes nobody
    /// for more of that. An ear is a future that borrows its socket, so this owns both of them; it
    /// takes no descriptor and no timer, and nobody else pays for it.
    pub(super) async fn listen(mut self) -> (Self, Verdict) {
        let verdict = {
            let Self { ends, engine } = &mut self;
            let (client, backend) = (pin!(ends.client.failed()), pin!(ends.backend.failed()));
            let mut ears = [
                (Way::ToBackend, Some(client)),
                (Way::ToClient, Some(backend)),
            ];
            let over = poll_fn(|cx| {
                // First of all: what it finds to be moved may be the last, and no failure then.
                for (from_it, ear) in &mut ears {
                    let heard = ear.as_mut().map(|ear| ear.as_mut().poll(cx));
                    if let Some(Poll::Ready(error)) = heard {
                        *ear = None;
                        engine.hear(ends, *from_it, &error);
                    }
                }
                engine.poll(ends, cx)
            });
            over.await
        };
        (self, verdict)
    }
}

// === impl Ends ===

impl Ends {
    pub(super) fn both(&self) -> [&Stream; 2] {
        [&self.client, &self.backend]
    }

    /// The socket that the bytes of this direction come from.
    pub(super) fn source(&self, way: Way) -> &Stream {
        match way {
            Way::ToBackend => &self.client,
            Way::ToClient => &self.backend,
        }
    }

    /// Whether somebody on this machine has the backend's end, and has not closed it. That we have
    /// not read its FIN says nothing: what it had sent before may be waiting for us.
    fn backend_is_open(&self) -> io::Result<bool> {
        let socket = self.backend.socket();
        let glance = socket.glance()?;
        if glance.ended || glance.dead {
            return Ok(false);
        }
        match (socket.peer_addr()?, socket.local_addr()?) {
            (Some(theirs), LocalAddr::Tcp(ours)) => Diag::open()?.holds_open(theirs, ours),
            // A unix socket has what was sent to it, and the end too.
            _ => Ok(true),
        }
    }

    fn make_lasting(&self) {
        for stream in self.both() {
            // Fails where a side is dead already, which the next turn will find.
            let _ = stream.socket().make_lasting();
        }
    }
}

// === impl Engine ===

impl Engine {
    fn poll(&mut self, ends: &Ends, cx: &mut Context<'_>) -> Poll<Verdict> {
        if let Some(verdict) = with_buffer(|buffer| self.turn(ends, cx, buffer)) {
            return Poll::Ready(verdict);
        }
        if std::mem::take(&mut self.unacknowledged) && moved(&self.pair).0 == 0 {
            // Fails where the backend is dead already, which the next turn will find.
            let _ = ends.backend.socket().acknowledge_now();
        }
        if self.deadlines.grow_older() {
            ends.make_lasting();
        }
        self.deadlines.note(self.pair.leaving());
        loop {
            match ready!(self.deadlines.poll(cx, self.activity.last_byte())) {
                Deadline::Lasting => ends.make_lasting(),
                Deadline::Over(verdict) => return Poll::Ready(verdict),
            }
        }
    }

    /// Until it is over, nothing can be moved, or others should have their turn.
    fn turn(&mut self, ends: &Ends, cx: &mut Context<'_>, buffer: &mut [u8]) -> Option<Verdict> {
        let Self {
            pair,
            rooms,
            sent,
            watches,
            pipe_size,
            ..
        } = self;
        let before = moved(pair);
        let Ends { client, backend } = ends;
        let mut wires = Sockets::new(client, backend, rooms, sent, buffer, *pipe_size);
        let mut turn = Turn::new();
        let verdict = loop {
            pair.pump(&mut wires, &mut turn);
            if let Some(verdict) = pair.verdict(&wires) {
                break Some(verdict);
            }
            if pair.has_more(&wires) {
                yield_turn(cx);
                break None;
            }
            match poll_events(cx, ends, pair, &mut wires, watches) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => break Some(broken(&error)),
                Poll::Pending => break None,
            }
        };
        let after = moved(pair);
        if after != before {
            self.activity.record(clock::now(), after.0, after.1);
        }
        verdict
    }

    /// Whether a side has become deaf whose failure would be news.
    fn is_deaf(&self) -> bool {
        let news = |way: Way| self.pair.heeds_failure(way);
        Way::BOTH
            .into_iter()
            .any(|way| self.watches.is_deaf_to(way.source()) && news(way))
    }

    /// An ear has heard of the failure of this side.
    fn hear(&mut self, ends: &Ends, from_it: Way, error: &io::Error) {
        if !self.pair.heeds_failure(from_it) {
            return;
        }
        let after_fin = self.watches.is_deaf_to(from_it.source());
        let Self {
            pair,
            rooms,
            sent,
            pipe_size,
            ..
        } = self;
        // What is thrown away is in a room, and nothing is moved.
        let Ends { client, backend } = ends;
        let mut wires = Sockets::new(client, backend, rooms, sent, &mut [], *pipe_size);
        if after_fin {
            pair.side_failed_after_fin(from_it, error, &mut wires);
        } else {
            pair.side_failed(from_it, error, &mut wires);
        }
    }
}

/// The runtime is going away.
fn broken(error: &io::Error) -> Verdict {
    Verdict {
        end: End::Failed(error.raw_os_error().unwrap_or(libc::ECANCELED)),
        by: Side::Daemon,
    }
}

/// Wakes this task again after the others, and after whoever has become ready meanwhile.
///
/// Waking it at once would do for those that are known to be ready; but the runtime looks for new
/// events only when nothing is ready, or after 61 tasks: a message beside four streams waited for
/// 60 MiB of theirs.
fn yield_turn(cx: &mut Context<'_>) {
    let mut yielding = pin!(tokio::task::yield_now());
    // It asks to be woken when it is polled first, which is all that is wanted of it.
    let _ = yielding.as_mut().poll(cx);
}

/// Bytes delivered to the backend and to the client.
fn moved(pair: &Pair) -> (u64, u64) {
    (
        pair.flow(Way::ToBackend).delivered,
        pair.flow(Way::ToClient).delivered,
    )
}
