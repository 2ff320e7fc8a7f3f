//! A relay with a side that both FINs have gone by, while something is still to be delivered.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use super::{Activity, driver::Driver, pair::Verdict};
use crate::model::End;

/// It runs, and listens for failures that would be no event otherwise. Boxed: few come to that.
pub(super) struct Listening {
    activity: Activity,
    over: Pin<Box<dyn Future<Output = (Driver, Verdict)> + Send>>,
}

impl Listening {
    pub(super) fn new(driver: Driver) -> Self {
        let activity = driver.activity().clone();
        // Set now: dropped in the middle, it is to be a reset. Fails for no socket of ours.
        for stream in driver.ends().both() {
            let _ = stream.socket().reset_on_close();
        }
        Self {
            activity,
            over: Box::pin(listen(driver)),
        }
    }

    /// How it goes, whoever has it at the time.
    pub(super) fn into_activity(self) -> Activity {
        self.activity
    }

    /// Until it is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Driver, Verdict)> {
        self.over.as_mut().poll(cx)
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.activity.fmt(f)
    }
}

async fn listen(driver: Driver) -> (Driver, Verdict) {
    let (driver, verdict) = driver.listen().await;
    if verdict.end == End::Finished {
        for stream in driver.ends().both() {
            // As above.
            let _ = stream.socket().finish_on_close();
        }
    }
    (driver, verdict)
}
