//! One relay as a task: events in, turns out, time limits.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

use super::{
    Activity, Limits, Tuning,
    flow::{Wants, Way, Wires},
    pair::{Leaving, Pair, Turn, Verdict},
    wires::{Rooms, Sockets, with_buffer},
};
use crate::{
    model::{End, Side, Timestamp},
    sys::{clock, stream::Stream},
};

/// A relay while it runs. Between two polls it is plain data, two sockets, and at most a pipe
/// for each direction.
#[derive(Debug)]
pub(super) struct Driver<'a> {
    client: &'a Stream,
    backend: &'a Stream,
    pair: Pair,
    rooms: Rooms,
    limits: Limits,
    tuning: Tuning,
    activity: &'a Activity,
    /// The last change that counts as a byte does: the beginning, a FIN, a failure.
    changed: Timestamp,
    leaving: Leaving,
    /// When the timer fires, if it is set.
    armed: Option<Timestamp>,
}

/// What a relay waits for besides its sockets' readiness. They live beside it, not in it, since
/// they borrow the sockets.
pub(super) struct Waits<'a, F, G, D> {
    pub(super) client_failed: Pin<&'a mut F>,
    pub(super) backend_failed: Pin<&'a mut G>,
    pub(super) timer: Pin<&'a mut Sleep>,
    pub(super) drain: Pin<&'a mut D>,
}

impl<'a> Driver<'a> {
    pub(super) fn new(
        client: &'a Stream,
        backend: &'a Stream,
        limits: Limits,
        tuning: Tuning,
        activity: &'a Activity,
    ) -> Self {
        Self {
            client,
            backend,
            pair: Pair::new(&tuning),
            rooms: Rooms::default(),
            limits,
            tuning,
            activity,
            changed: clock::now(),
            leaving: Leaving::Not,
            armed: None,
        }
    }

    /// Moves what can be moved, and sees to it that whatever changes that wakes the task.
    pub(super) fn poll<F, G, D>(
        &mut self,
        cx: &mut Context<'_>,
        waits: &mut Waits<'_, F, G, D>,
    ) -> Poll<Verdict>
    where
        F: Future<Output = io::Error>,
        G: Future<Output = io::Error>,
        D: Future<Output = End>,
    {
        if let Poll::Ready(end) = waits.drain.as_mut().poll(cx) {
            return Poll::Ready(Verdict {
                end,
                by: Side::Daemon,
            });
        }
        if let Some(verdict) = with_buffer(|buffer| self.turn(cx, waits, buffer)) {
            return Poll::Ready(verdict);
        }
        self.poll_limits(cx, waits.timer.as_mut())
    }

    /// Until it is over, nothing can be moved, or others should have their turn.
    fn turn<F, G, D>(
        &mut self,
        cx: &mut Context<'_>,
        waits: &mut Waits<'_, F, G, D>,
        buffer: &mut [u8],
    ) -> Option<Verdict>
    where
        F: Future<Output = io::Error>,
        G: Future<Output = io::Error>,
    {
        let Self {
            client,
            backend,
            pair,
            rooms,
            ..
        } = self;
        let before = moved(pair);
        let mut wires = Sockets::new(client, backend, rooms, buffer, &self.tuning);
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
            match poll_events(cx, client, backend, pair, &mut wires, waits) {
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

    /// Ends a relay that has had no byte for too long.
    ///
    /// The timer is not set anew for each byte: when it fires, the last byte says whether that
    /// was the end or how long it still has.
    fn poll_limits(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<Verdict> {
        if self.leaving != self.pair.leaving() {
            self.leaving = self.pair.leaving();
            self.changed = clock::now();
        }
        let Some((limit, end)) = self.limit() else {
            return Poll::Pending;
        };
        loop {
            let due = self.activity.last_byte().max(self.changed) + limit;
            if self.armed.is_none_or(|armed| due < armed) {
                let left = due.since(clock::now());
                timer
                    .as_mut()
                    .reset(Instant::now() + left.max(Duration::from_millis(1)));
                self.armed = Some(due);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.armed = None;
            if clock::now() >= due {
                return Poll::Ready(match self.leaving {
                    // What was to be delivered before it has had its time.
                    Leaving::Failed(by) => Verdict {
                        end: End::Reset,
                        by,
                    },
                    _ => Verdict {
                        end,
                        by: Side::Daemon,
                    },
                });
            }
        }
    }

    /// How long it may go without a byte now, and what it is called when it does.
    fn limit(&self) -> Option<(Duration, End)> {
        let idle = self
            .limits
            .client_timeout
            .map(|limit| (limit, End::IdleTimeout));
        if self.leaving == Leaving::Not {
            return idle;
        }
        let half = self
            .limits
            .half_close
            .map(|limit| (limit, End::HalfCloseTimeout));
        match (idle, half) {
            (Some(idle), Some(half)) => Some(if idle.0 < half.0 { idle } else { half }),
            (idle, half) => half.or(idle),
        }
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

/// Takes the events that have come. `Ready` if there was one; `Pending` means that each one that
/// matters will wake the task.
fn poll_events<F, G, D>(
    cx: &mut Context<'_>,
    client: &Stream,
    backend: &Stream,
    pair: &mut Pair,
    wires: &mut impl Wires,
    waits: &mut Waits<'_, F, G, D>,
) -> Poll<io::Result<()>>
where
    F: Future<Output = io::Error>,
    G: Future<Output = io::Error>,
{
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
        // from, because the other one is slow or because it has sent FIN, only this tells.
        if wants != Wants::Read && pair.heeds_failure(way) {
            let failed = match way {
                Way::ToBackend => waits.client_failed.as_mut().poll(cx),
                Way::ToClient => waits.backend_failed.as_mut().poll(cx),
            };
            if let Poll::Ready(error) = failed {
                pair.side_failed(way, &error, wires);
                news = Poll::Ready(Ok(()));
            }
        }
    }
    news
}
