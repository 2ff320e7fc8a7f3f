//! The two-way copy between one client and one destination.
//!
//! # How it is laid out
//!
//! - `flow`: one direction, and no I/O: which system call comes next. `pair`: both directions,
//!   and no I/O: what a failure of one side means for the other, and when it is over. They are
//!   driven by made-up sockets in `sim`, over a hundred thousand seeded schedules, and in `fair`.
//! - `wires`: the system calls. `pool`: pipes to lease.
//! - `driver`: one task for both directions: events in, turns out, time limits.
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
mod driver;
#[cfg(test)]
mod fair;
mod flow;
mod pair;
mod pool;
#[cfg(any(test, fuzzing))]
pub(crate) mod pool_sim;
mod settle;
#[cfg(any(test, fuzzing))]
pub(crate) mod sim;
mod wires;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

pub use activity::Activity;
pub use counters::{Counters, counters};
pub use pool::{PipeLimit, descriptors_of_pipes};
pub use settle::{Settled, settle};
use tokio::time::sleep;

use self::{
    driver::Driver,
    pair::{Leaving, Verdict},
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

/// Relays between a client and a backend until it is over, and closes both.
///
/// When `drain` is ready it ends at once, for the reason that it gives, and both see a reset.
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
    /// It has failed.
    Resetting(Resetting),
    Over,
}

/// One side is dead, and what it sent before is on its way to the other.
struct Resetting {
    verdict: Verdict,
    activity: Activity,
    delivered: Pin<Box<dyn Future<Output = ()> + Send>>,
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
}

impl<D: Future<Output = End> + Unpin> Future for Relay<D> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let relay = self.get_mut();
        let cut = Pin::new(&mut relay.drain).poll(cx).map(|end| Verdict {
            end,
            by: Side::Daemon,
        });
        loop {
            let verdict = match (&mut relay.stage, cut) {
                (_, Poll::Ready(verdict)) => verdict,
                (Stage::Running(driver), Poll::Pending) => ready!(driver.poll(cx)),
                (Stage::Resetting(resetting), Poll::Pending) => {
                    ready!(resetting.delivered.as_mut().poll(cx));
                    resetting.verdict
                }
                (Stage::Over, Poll::Pending) => panic!("a relay that is over was polled"),
            };
            let activity = match std::mem::replace(&mut relay.stage, Stage::Over) {
                Stage::Running(driver) if verdict.end == End::Reset => {
                    relay.stage = Stage::Resetting(Resetting::new(driver, verdict));
                    continue;
                }
                Stage::Running(driver) => close(driver, verdict),
                Stage::Resetting(resetting) => resetting.activity,
                Stage::Over => panic!("a relay that is over was polled"),
            };
            counters::ended(verdict.end);
            return Poll::Ready(Outcome {
                to_backend: activity.to_backend(),
                to_client: activity.to_client(),
                ended_by: verdict.by,
                end: verdict.end,
                relayed: clock::now().since(relay.began),
            });
        }
    }
}

impl<D> Drop for Relay<D> {
    /// Its task has panicked, or its thread's runtime ends. A FIN would be the end of a whole
    /// stream to the peers. One that is being reset is so however it is dropped.
    fn drop(&mut self) {
        let verdict = Verdict {
            end: End::Failed(libc::ECANCELED),
            by: Side::Daemon,
        };
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Running(driver) => {
                close(driver, verdict);
                counters::ended(verdict.end);
            }
            Stage::Resetting(resetting) => counters::ended(resetting.verdict.end),
            Stage::Over => {}
        }
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

// === impl Resetting ===

impl Resetting {
    /// Closes the side that is dead. The other one is reset when it has what was sent before: a
    /// reset throws away what is still on its way.
    fn new(driver: Driver, verdict: Verdict) -> Self {
        let limit = driver.limits().delivery();
        let (client, backend, activity) = driver.into_parts();
        let left = match verdict.by {
            Side::Client => backend,
            _ => client,
        };
        // Set now: it is to be a reset however the wait ends. Fails for no socket of ours.
        let _ = left.socket().reset_on_close();
        Self {
            verdict,
            activity,
            delivered: Box::pin(delivered(left, limit)),
        }
    }
}

impl fmt::Debug for Resetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verdict.fmt(f)
    }
}

/// Waits until the peer has what was sent to it, or is gone, or has had its time.
async fn delivered(stream: Stream, limit: Duration) {
    tokio::select! {
        biased;
        () = acknowledged(&stream) => {}
        _ = stream.failed() => {}
        () = sleep(limit) => {}
    }
}

/// Waits until the peer has acknowledged all that was sent. The kernel has no event for that.
///
/// Of a connection that has failed meanwhile it would never be true, and its error may have been
/// told already.
async fn acknowledged(stream: &Stream) {
    const LONGEST: Duration = Duration::from_millis(10);
    let mut pause = Duration::from_millis(1);
    // A unix peer has what was sent; and a socket that cannot even say so has nothing to wait for.
    while stream.socket().is_tcp()
        && stream
            .socket()
            .unacknowledged()
            .is_ok_and(|bytes| bytes > 0)
        && stream.socket().is_alive()
    {
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}

#[cfg(test)]
mod tests;
