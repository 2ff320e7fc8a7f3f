//! The end of a relay that one side has failed in: the other one gets what is on its way, and then
//! a reset.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::sleep;

use super::{Activity, driver::Driver, pair::Verdict};
use crate::{model::Side, sys::stream::Stream};

/// One side is dead, and what it sent before is on its way to the other.
pub(super) struct Resetting {
    verdict: Verdict,
    activity: Activity,
    delivered: Pin<Box<dyn Future<Output = ()> + Send>>,
}

// === impl Resetting ===

impl Resetting {
    /// Closes the side that is dead. The other one is reset when it has what was sent before: a
    /// reset throws away what is still on its way.
    pub(super) fn new(driver: Driver, verdict: Verdict) -> Self {
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

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// How it goes, whoever has it at the time.
    pub(super) fn into_activity(self) -> Activity {
        self.activity
    }

    /// Until the other side has had what it can have, or its time.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.delivered.as_mut().poll(cx)
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
