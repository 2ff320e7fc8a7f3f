//! The two-way copy between one client and one destination.
//!
//! # How it is laid out
//!
//! - `flow`: one direction, and no I/O: which system call comes next. `pair`: both directions,
//!   and no I/O: what a failure of one side means for the other, and when it is over. They are
//!   driven by made-up sockets in `sim`, over a hundred thousand seeded schedules, and in `fair`.
//! - `wires`: the system calls. `pool`: pipes to lease.
//! - `driver`: one task for both directions: events in (`watch`), turns out, and time limits
//!   (`deadlines`).
//! - `listening`, `resetting`: how few of them end: with one side at its end and deaf, and with one
//!   side dead.
//!
//! # What it promises
//!
//! - FIN is passed on as FIN, after the last byte; the other direction goes on, for
//!   HALF_CLOSE_TIMEOUT without a byte.
//! - RST is passed on as RST, after the bytes that came before it; so is a connection that timed
//!   out. A peer that cannot take those bytes has HALF_CLOSE_TIMEOUT as well. A unix socket knows
//!   no RST: its peer sees the end of the stream.
//! - A side is read from only when the other one has taken what was read before: at most one
//!   buffer or one pipe of bytes is between them, in each direction.
//! - Bytes of one connection never reach another.

mod activity;
mod counters;
mod deadlines;
mod driver;
#[cfg(test)]
mod fair;
mod flow;
mod listening;
mod pair;
mod pool;
#[cfg(any(test, fuzzing))]
pub(crate) mod pool_sim;
mod resetting;
mod settle;
#[cfg(any(test, fuzzing))]
pub(crate) mod sim;
mod watch;
mod wires;

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

pub use activity::Activity;
pub use counters::{Counters, counters};
pub use pool::{PipeLimit, descriptors_of_pipes};
pub use settle::{Settled, settle};

use self::{
    driver::{Driver, Halt},
    listening::Listening,
    pair::{Leaving, Verdict},
    resetting::Resetting,
};
use crate::{
    model::{End, Outcome, Side, Timestamp},
    sys::{clock, stream::Stream},
};

/// What the thread's buffer holds, and so the most that one direction ever has in memory. A read
/// that fills it is a sign of a stream.
pub const BUFFER_SIZE: usize = 64 * 1024;

/// How many bytes a direction may take before other connections have their turn.
const TURN: usize = 1024 * 1024;

/// How long a relay may go without a byte; `None` is without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// CLIENT_TIMEOUT.
    pub client_timeout: Option<Duration>,
    /// HALF_CLOSE_TIMEOUT: the same after one side's FIN, and for what a reset leaves to be
    /// delivered, which has a minute where this has no limit.
    pub half_close: Option<Duration>,
}

/// How long what a reset leaves may take to be delivered, without HALF_CLOSE_TIMEOUT. Who switches
/// that off wants half-closed connections to live: of two peers that are there. Here one is dead
/// already, and a peer that does not read, or is gone without a word, would keep the relay and its
/// bytes for ever. As long as HALF_CLOSE_TIMEOUT is by itself.
const LONGEST_DELIVERY: Duration = Duration::from_secs(60);

/// When to splice. The defaults are what was measured; tests and benchmarks have others. As small
/// as can be: every connection has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// The size of a pipe in bytes.
    pub pipe_size: u32,
    /// After so many reads in a row that filled the buffer a pipe is leased; 0: at once, `None`:
    /// never.
    pub promote_after: Option<u8>,
    /// After two splices in a row that moved less than this the pipe is given back.
    pub demote_below: u32,
}

// === impl Limits ===

impl Limits {
    /// How long it may go without a byte, and what it is called when it does, with the sides having
    /// left so far.
    fn while_leaving(&self, leaving: Leaving) -> Option<(Duration, End)> {
        let half = match leaving {
            Leaving::Not => None,
            Leaving::Ended => self.half_close,
            Leaving::Failed(_) => Some(self.delivery()),
        };
        match (self.client_timeout, half) {
            (Some(idle), Some(half)) if idle < half => Some((idle, End::IdleTimeout)),
            (_, Some(half)) => Some((half, End::HalfCloseTimeout)),
            (idle, None) => idle.map(|idle| (idle, End::IdleTimeout)),
        }
    }

    /// How long what a reset leaves may take to be delivered.
    fn delivery(&self) -> Duration {
        self.half_close.unwrap_or(LONGEST_DELIVERY)
    }
}

// === impl Tuning ===

impl Default for Tuning {
    fn default() -> Self {
        Self {
            pipe_size: 256 * 1024,
            promote_after: Some(3),
            demote_below: 16 * 1024,
        }
    }
}

/// What a relay is told while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// End at once, for this reason: both sides see a reset.
    End(End),
    /// The process that was the backend is no more. Where it has ended its side, with whatever the
    /// kernel has said for it, that stands; else nobody will, and the backend is taken for dead.
    BackendGone,
}

/// Relays between a client and a backend until it is over, and closes both.
///
/// `drain` is what it is told; after [`Word::BackendGone`] it is polled again.
/// `activity` tells others how it goes. Dropped before it is done, it resets both.
pub fn relay<D>(
    client: Stream,
    backend: Stream,
    limits: Limits,
    drain: D,
    activity: Activity,
) -> Relay<D> {
    relay_tuned(client, backend, limits, Tuning::default(), drain, activity)
}

/// [`relay`] with other thresholds.
pub fn relay_tuned<D>(
    client: Stream,
    backend: Stream,
    limits: Limits,
    tuning: Tuning,
    drain: D,
    activity: Activity,
) -> Relay<D> {
    counters::begun();
    let began = clock::now();
    let driver = Driver::new(client, backend, limits, tuning, activity, began);
    Relay {
        drain,
        began,
        stage: Stage::Running(driver),
    }
}

/// A relay, to be awaited. A type of its own and not an async block, which would keep all that it
/// was given twice: an idle connection is little more than this.
#[derive(Debug)]
#[must_use = "a relay does nothing until it is awaited"]
pub struct Relay<D> {
    stage: Stage,
    drain: D,
    began: Timestamp,
}

/// How far it is.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every relay is running, all its life"
)]
#[derive(Debug)]
enum Stage {
    Running(Driver),
    /// It runs as well, and a side's failure needs to be listened for.
    Listening(Listening),
    /// It has failed.
    Resetting(Resetting),
    Over,
}

// === impl Relay ===

impl<D> Relay<D> {
    /// Of the backend nothing has been read, looked at or waited for yet but that it is connected:
    /// what it sends will be an event, and it need not be tried before that. Its handshake may
    /// wait for our first bytes ([`First::Us`](crate::sys::net::First)); where the client has sent
    /// none, it is told.
    pub fn with_new_backend(mut self) -> Self {
        if let Stage::Running(driver) = &mut self.stage {
            driver.await_backend();
        }
        self
    }

    /// Ends it at once and resets both sides: its task has panicked. How it ended then; `None` if
    /// it had ended before.
    pub fn abandon(mut self) -> Option<Outcome> {
        self.break_off()
    }

    /// One that is being reset is so however it ends.
    fn break_off(&mut self) -> Option<Outcome> {
        let verdict = match &self.stage {
            Stage::Resetting(resetting) => resetting.verdict(),
            _ => Verdict {
                end: End::Failed(libc::ECANCELED),
                by: Side::Daemon,
            },
        };
        self.over(verdict)
    }

    /// Closes what is open, and counts it; `None` if that was done before.
    fn over(&mut self, verdict: Verdict) -> Option<Outcome> {
        let activity = match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Running(driver) => close(driver, verdict),
            Stage::Listening(listening) => listening.into_activity(),
            Stage::Resetting(resetting) => resetting.into_activity(),
            Stage::Over => return None,
        };
        counters::ended(verdict.end);
        Some(Outcome {
            to_backend: activity.to_backend(),
            to_client: activity.to_client(),
            ended_by: verdict.by,
            end: verdict.end,
            relayed: clock::now().since(self.began),
        })
    }
}

impl<D: Future<Output = Word> + Unpin> Future for Relay<D> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let relay = self.get_mut();
        let verdict = loop {
            match Pin::new(&mut relay.drain).poll(cx) {
                Poll::Ready(Word::End(end)) => {
                    let by = Side::Daemon;
                    break Verdict { end, by };
                }
                Poll::Ready(Word::BackendGone) => relay.stage.backend_is_gone(),
                Poll::Pending => break ready!(relay.stage.poll(cx)),
            }
        };
        let outcome = relay.over(verdict);
        Poll::Ready(outcome.expect("whoever has awaited it does not poll it again"))
    }
}

impl<D> Drop for Relay<D> {
    /// Its task has panicked, or its thread's runtime ends. A FIN would be the end of a whole
    /// stream to the peers.
    fn drop(&mut self) {
        // Whoever drops it has no use for what became of it; it is counted.
        let _ = self.break_off();
    }
}

// === impl Stage ===

impl Stage {
    /// Until nothing is left but to close what is open.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        loop {
            let verdict = match self {
                Self::Running(driver) => match ready!(driver.poll(cx)) {
                    Halt::Over(verdict) => verdict,
                    Halt::Deaf => {
                        self.go_on(|driver| Self::Listening(Listening::new(driver)));
                        continue;
                    }
                },
                Self::Listening(listening) => {
                    let (driver, verdict) = ready!(listening.poll(cx));
                    *self = Self::Running(driver);
                    verdict
                }
                Self::Resetting(resetting) => {
                    ready!(resetting.poll(cx));
                    return Poll::Ready(resetting.verdict());
                }
                Self::Over => panic!("a relay that is over was polled"),
            };
            if verdict.end != End::Reset {
                return Poll::Ready(verdict);
            }
            self.go_on(|driver| Self::Resetting(Resetting::new(driver, verdict)));
        }
    }

    fn backend_is_gone(&mut self) {
        match self {
            Self::Running(driver) => driver.backend_is_gone(),
            // The backend's FIN has gone by, or it is known to have failed.
            Self::Listening(_) | Self::Resetting(_) | Self::Over => {}
        }
    }

    /// From running to what comes after.
    fn go_on(&mut self, next: impl FnOnce(Driver) -> Self) {
        *self = match std::mem::replace(self, Self::Over) {
            Self::Running(driver) => next(driver),
            other => other,
        };
    }
}

/// Closes both sides. Only where both have finished may either take it for complete.
fn close(driver: Driver, verdict: Verdict) -> Activity {
    let (client, backend, activity) = driver.into_parts();
    if verdict.end != End::Finished {
        client.reset();
        backend.reset();
    }
    activity
}

#[cfg(test)]
mod tests;
