//! One relay while it runs: events in, turns out, time limits.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

use super::{
    Activity, Limits, Tuning,
    flow::{Source, Wants, Way, Wires},
    pair::{Leaving, Pair, Turn, Verdict},
    wires::{Rooms, Sent, Sockets, with_buffer},
};
use crate::{
    model::{End, Side, Timestamp},
    sys::{clock, stream::Stream},
};

/// A relay while it runs. Between two polls it is plain data and two sockets; at most a pipe for
/// each direction; and a timer, where a limit applies.
#[derive(Debug)]
pub(super) struct Driver {
    client: Stream,
    backend: Stream,
    pair: Pair,
    rooms: Rooms,
    /// To the backend.
    sent: Sent,
    limits: Limits,
    pipe_size: u32,
    activity: Activity,
    /// The last change that counts as a byte does: the beginning, a FIN, a failure.
    changed: Timestamp,
    leaving: Leaving,
    /// When the timer fires, if it is set.
    armed: Option<Timestamp>,
    /// Boxed: a relay without limits has one only while it is new.
    timer: Option<Pin<Box<Sleep>>>,
    watches: Watches,
    /// The backend's handshake may wait for our first bytes.
    unacknowledged: bool,
    began: Timestamp,
    age: Age,
}

/// Whether the connection is one that lasts.
#[derive(Debug, Clone, Copy)]
enum Age {
    New { turns: u8 },
    Lasting,
}

/// What the timer is set for.
#[derive(Debug, Clone, Copy)]
enum Due {
    Lasting,
    End(End),
}

/// So long after its beginning a relay is one that lasts.
const LASTING: Duration = Duration::from_secs(1);

/// So is one that has had more turns than a request, its reply and the two ends.
const LASTING_TURNS: u8 = 8;

/// How each side is watched while nothing is read from it.
#[derive(Debug, Default)]
struct Watches {
    client: Watch,
    backend: Watch,
}

/// How a side that nothing is read from, because the other one is slow or because it has sent
/// FIN, is watched for its failure.
///
/// ```text
/// Reads --FIN, or read to its end--> Writes --closed, and no error--> Deaf
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Watch {
    /// By what there is to read. New bytes are events too, but few: its window fills up.
    #[default]
    Reads,
    /// It has sent FIN, and would be readable for ever: by whether it can be written to.
    Writes,
    /// A unix socket's peer has closed, which is no error; or both FINs have gone by a TCP socket,
    /// which "closed" is said of from then on. What is left to deliver has HALF_CLOSE_TIMEOUT.
    Deaf,
}

impl Driver {
    pub(super) fn new(
        client: Stream,
        backend: Stream,
        limits: Limits,
        tuning: Tuning,
        activity: Activity,
        began: Timestamp,
    ) -> Self {
        Self {
            client,
            backend,
            pair: Pair::new(&tuning),
            rooms: Rooms::default(),
            sent: Sent::default(),
            limits,
            pipe_size: tuning.pipe_size,
            activity,
            changed: began,
            leaving: Leaving::Not,
            armed: None,
            timer: None,
            watches: Watches::default(),
            unacknowledged: false,
            began,
            age: Age::New { turns: 0 },
        }
    }

    /// Nothing is read from the backend before it has an event, and it may wait for the
    /// handshake's last packet.
    pub(super) fn await_backend(&mut self) {
        self.pair.flow_mut(Way::ToClient).await_source();
        self.unacknowledged = true;
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// The client, the backend, and what was moved between them.
    pub(super) fn into_parts(self) -> (Stream, Stream, Activity) {
        (self.client, self.backend, self.activity)
    }

    /// Moves what can be moved, and sees to it that whatever changes that wakes the task.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        if let Some(verdict) = with_buffer(|buffer| self.turn(cx, buffer)) {
            return Poll::Ready(verdict);
        }
        if std::mem::take(&mut self.unacknowledged) && moved(&self.pair).0 == 0 {
            // Fails where the backend is dead already, which the next turn will find.
            let _ = self.backend.socket().acknowledge_now();
        }
        self.grow_older();
        self.poll_timer(cx)
    }

    /// Until it is over, nothing can be moved, or others should have their turn.
    fn turn(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Option<Verdict> {
        let Self {
            client,
            backend,
            pair,
            rooms,
            sent,
            watches,
            ..
        } = self;
        let before = moved(pair);
        let mut wires = Sockets::new(client, backend, rooms, sent, buffer, self.pipe_size);
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
            match poll_events(cx, client, backend, pair, &mut wires, watches) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    let errno = error.raw_os_error().unwrap_or(libc::ECANCELED);
                    break Some(Verdict {
                        end: End::Failed(errno),
                        by: Side::Daemon,
                    });
                }
                Poll::Pending => break None,
            }
        };
        let after = moved(pair);
        if after != before {
            self.activity.record(clock::now(), after.0, after.1);
        }
        verdict
    }

    /// Does what is due: ends a relay that has had no byte for too long, or sees that it lasts.
    ///
    /// The timer is not set anew for each byte: when it fires, the last byte says whether that
    /// was the end or how long it still has.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        if self.leaving != self.pair.leaving() {
            self.leaving = self.pair.leaving();
            self.changed = clock::now();
        }
        while let Some((at, due)) = self.next_due() {
            if self.armed.is_none_or(|armed| at < armed) {
                self.arm(at);
            }
            if let Some(timer) = &mut self.timer {
                ready!(timer.as_mut().poll(cx));
            }
            self.armed = None;
            if clock::now() < at {
                continue;
            }
            match (due, self.leaving) {
                (Due::Lasting, _) => self.last(),
                // What was to be delivered before it has had its time.
                (Due::End(_), Leaving::Failed(by)) => {
                    return Poll::Ready(Verdict {
                        end: End::Reset,
                        by,
                    });
                }
                (Due::End(end), _) => {
                    return Poll::Ready(Verdict {
                        end,
                        by: Side::Daemon,
                    });
                }
            }
        }
        (self.timer, self.armed) = (None, None);
        Poll::Pending
    }

    /// What comes next, if nothing moves.
    fn next_due(&self) -> Option<(Timestamp, Due)> {
        let lasting = match self.age {
            Age::New { .. } => Some((self.began + LASTING, Due::Lasting)),
            Age::Lasting => None,
        };
        let end = self.limits.while_leaving(self.leaving).map(|(limit, end)| {
            let last = self.activity.last_byte().max(self.changed);
            (last + limit, Due::End(end))
        });
        match (lasting, end) {
            (Some(lasting), Some(end)) if end.0 < lasting.0 => Some(end),
            (lasting, end) => lasting.or(end),
        }
    }

    /// Another turn has passed.
    fn grow_older(&mut self) {
        match &mut self.age {
            Age::New { turns } if *turns < LASTING_TURNS => *turns += 1,
            Age::New { .. } => self.last(),
            Age::Lasting => {}
        }
    }

    fn last(&mut self) {
        self.age = Age::Lasting;
        for stream in [&self.client, &self.backend] {
            // Fails where a side is dead already, which the next turn will find.
            let _ = stream.socket().make_lasting();
        }
    }

    fn arm(&mut self, due: Timestamp) {
        let left = due.since(clock::now()).max(Duration::from_millis(1));
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(Instant::now() + left),
            None => self.timer = Some(Box::pin(sleep(left))),
        }
        self.armed = Some(due);
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

// === impl Watches ===

impl Watches {
    fn of(&mut self, side: Side) -> &mut Watch {
        match side {
            Side::Client => &mut self.client,
            _ => &mut self.backend,
        }
    }
}

// === impl Watch ===

impl Watch {
    /// The stream has been read to its end, and whoever reads that has heard of no error.
    fn is_read(&mut self) {
        if *self == Self::Reads {
            *self = Self::Writes;
        }
    }
}

/// Takes the events that have come. `Ready` if there was one; `Pending` means that each one that
/// matters will wake the task.
fn poll_events(
    cx: &mut Context<'_>,
    client: &Stream,
    backend: &Stream,
    pair: &mut Pair,
    wires: &mut impl Wires,
    watches: &mut Watches,
) -> Poll<io::Result<()>> {
    let mut news = Poll::Pending;
    for way in Way::BOTH {
        let (source, sink) = match way {
            Way::ToBackend => (client, backend),
            Way::ToClient => (backend, client),
        };
        let wants = pair.wants(way, wires);
        match wants {
            Wants::Read if source.poll_readable(cx)?.is_ready() => {
                pair.flow_mut(way).set_readable();
                news = Poll::Ready(Ok(()));
            }
            Wants::Write if sink.poll_writable(cx)?.is_ready() => {
                pair.flow_mut(way).set_writable();
                news = Poll::Ready(Ok(()));
            }
            _ => {}
        }
        // Whoever waits for a read hears of a failure by it. Of a side that is not being read
        // from only this tells.
        if wants != Wants::Read && pair.heeds_failure(way) {
            let watch = watches.of(way.source());
            if pair.flow(way).source == Source::Ended {
                watch.is_read();
            }
            if let Poll::Ready(error) = poll_failure(cx, source, way, pair, wires, watch)? {
                pair.side_failed(way, &error, wires);
                news = Poll::Ready(Ok(()));
            }
        }
    }
    news
}

/// The failure of a side that is not being read from.
///
/// What it consumes are events, so both directions are told to try what these might have been
/// about.
fn poll_failure(
    cx: &mut Context<'_>,
    stream: &Stream,
    from_it: Way,
    pair: &mut Pair,
    wires: &impl Wires,
    watch: &mut Watch,
) -> Poll<io::Result<io::Error>> {
    loop {
        let event = match watch {
            Watch::Reads => {
                let event = ready!(stream.poll_readable(cx))?;
                pair.flow_mut(from_it).set_readable();
                event
            }
            // The write that waits hears of it.
            Watch::Writes if pair.wants(from_it.back(), wires) == Wants::Write => {
                return Poll::Pending;
            }
            Watch::Writes => {
                let event = ready!(stream.poll_writable(cx))?;
                pair.flow_mut(from_it.back()).set_writable();
                event
            }
            Watch::Deaf => return Poll::Pending,
        };
        // Whatever kills a connection closes it both ways (`sock_poll`, EPOLLHUP).
        if !event.closed {
            continue;
        }
        if let Some(error) = stream.socket().take_error()? {
            return Poll::Ready(Ok(error));
        }
        *watch = match watch {
            Watch::Reads => Watch::Writes,
            Watch::Writes | Watch::Deaf => Watch::Deaf,
        };
    }
}
