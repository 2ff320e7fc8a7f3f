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
mod settle;
#[cfg(test)]
mod sim;
mod wires;

use std::{future::Future, pin::pin, time::Duration};

pub use activity::Activity;
pub use counters::{Counters, counters};
pub use settle::{Settled, settle};
use tokio::time::sleep;

use self::{
    driver::{Driver, Waits},
    pair::Verdict,
};
use crate::{
    model::{End, Outcome, Side},
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
    /// delivered.
    pub half_close: Option<Duration>,
}

/// When to splice. The defaults are what was measured; tests and benchmarks have others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// The size of a pipe in bytes.
    pub pipe_size: usize,
    /// After so many reads in a row that filled the buffer a pipe is leased; 0: at once, `None`:
    /// never.
    pub promote_after: Option<u32>,
    /// After two splices in a row that moved less than this the pipe is given back.
    pub demote_below: usize,
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
/// `activity` tells others how it goes. Dropped before it is done, it closes both as if they had finished.
pub async fn relay(
    client: Stream,
    backend: Stream,
    limits: Limits,
    drain: impl Future<Output = End>,
    activity: Activity,
) -> Outcome {
    relay_tuned(client, backend, limits, Tuning::default(), drain, activity).await
}

/// [`relay`] with other thresholds.
pub async fn relay_tuned(
    client: Stream,
    backend: Stream,
    limits: Limits,
    tuning: Tuning,
    drain: impl Future<Output = End>,
    activity: Activity,
) -> Outcome {
    let began = clock::now();
    counters::begun();
    let mut drain = pin!(drain);
    let verdict = {
        let mut waits = Waits {
            client_failed: pin!(client.failed()),
            backend_failed: pin!(backend.failed()),
            timer: pin!(sleep(Duration::ZERO)),
            drain: drain.as_mut(),
        };
        let mut driver = Driver::new(&client, &backend, limits, tuning, &activity);
        std::future::poll_fn(|cx| driver.poll(cx, &mut waits)).await
    };
    let end = close(client, backend, verdict, limits, drain).await;
    counters::ended(end.end);
    Outcome {
        to_backend: activity.to_backend(),
        to_client: activity.to_client(),
        ended_by: end.by,
        end: end.end,
        relayed: clock::now().since(began),
    }
}

/// Lets both sides know how it ended.
async fn close(
    client: Stream,
    backend: Stream,
    verdict: Verdict,
    limits: Limits,
    drain: impl Future<Output = End>,
) -> Verdict {
    match (verdict.end, verdict.by) {
        // Both have been told already.
        (End::Finished, _) => verdict,
        (End::Reset, Side::Client) => {
            drop(client);
            pass_on_reset(backend, limits, drain)
                .await
                .unwrap_or(verdict)
        }
        (End::Reset, Side::Backend) => {
            drop(backend);
            pass_on_reset(client, limits, drain)
                .await
                .unwrap_or(verdict)
        }
        // It was cut off by us: neither may take it for complete.
        _ => {
            client.reset();
            backend.reset();
            verdict
        }
    }
}

/// Resets `stream` when its peer has what was sent before: a reset throws away what is still on
/// its way. A verdict of its own if drain is sooner.
async fn pass_on_reset(
    stream: Stream,
    limits: Limits,
    drain: impl Future<Output = End>,
) -> Option<Verdict> {
    let expired = async {
        match limits.half_close {
            Some(limit) => sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let sooner = tokio::select! {
        biased;
        () = acknowledged(&stream) => None,
        _ = stream.failed() => None,
        () = expired => None,
        end = drain => Some(Verdict { end, by: Side::Daemon }),
    };
    stream.reset();
    sooner
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
        && stream.socket().glance().is_ok_and(|glance| !glance.dead)
    {
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST);
    }
}
