//! COMMAND: a backend that is a process of ours, from its start until nothing of it is left.
//!
//! ```text
//! starting -> running --main process ends--> rest is killed -> ended
//!                │ stop: the signal                              ▲
//!                └─────▶ stopping --all of it ends, or SIGKILL───┘
//! ```
//! Its end is the end of its main process. It is told when the rest is gone too, so that the next
//! one finds its port free. Told to stop, the rest may take its time as the main process may: a
//! shell ends at once, and what it runs is the one that has something to finish.
//!
//! | file | the idea in it |
//! | --- | --- |
//! | `mod` | what is told about it |
//! | `beginning` | from a request, or from what a former daemon has left, to one that runs |
//! | `life` | one that runs: read, waited for, ended |
//! | `orders` | what it is told, from both ends |
//! | `watching` | how its end is noticed |
//! | `keeping` | its descriptor, kept for the next daemon |

mod beginning;
mod keeping;
mod life;
mod orders;
mod watching;

use std::sync::Arc;

use tokio::time::{Instant, sleep};

pub(super) use self::watching::is_gone;

pub use self::orders::BackendControl;
use self::{
    beginning::{begin, go_on},
    orders::orders,
};
use super::{
    Runner,
    found::FoundBackend,
    supervise::{KILL_WAIT, LOOK_INTERVAL},
};
use crate::model::{BackendEnd, BackendProcess, CommandRequest, StopPlan};

/// What becomes of a COMMAND.
#[derive(Debug)]
pub enum BackendNews {
    /// It runs, as this process.
    Started(BackendProcess),
    /// It has ended, or could not be started, and nothing of it is left.
    Ended(BackendEnd),
}

/// To whom the news go.
type Teller = Box<dyn Fn(BackendNews) + Send + Sync>;

// === impl Runner ===

impl Runner {
    /// Runs a COMMAND; returns at once. What becomes of it is told in order; the last news are its
    /// end.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn start_backend(
        &self,
        request: CommandRequest,
        told: impl Fn(BackendNews) + Send + Sync + 'static,
    ) -> BackendControl {
        let (control, orders) = orders();
        let inner = Arc::clone(&self.inner);
        tokio::spawn(begin(inner, request, orders, Box::new(told)));
        control
    }

    /// Looks after a COMMAND that a former daemon started; its end is told.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn adopt_backend(
        &self,
        service: &str,
        found: FoundBackend,
        told: impl Fn(BackendNews) + Send + Sync + 'static,
    ) -> BackendControl {
        let (control, orders) = orders();
        let inner = Arc::clone(&self.inner);
        // Before anybody may ask what is unclaimed.
        inner.kept.adopt(found.process.id);
        tokio::spawn(go_on(
            inner,
            service.to_owned(),
            found,
            orders,
            Box::new(told),
        ));
        control
    }

    /// Ends a COMMAND that nobody looks after any more; `of` is the word for it in the log.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn end_backend(&self, of: &str, found: FoundBackend, plan: StopPlan) {
        let who = of.to_owned();
        let control = self.adopt_backend(of, found, move |news| {
            if let BackendNews::Ended(_) = news {
                tracing::info!("{who}: its COMMAND has been ended");
            }
        });
        control.stop(plan);
    }

    /// Kills what a COMMAND that has ended while nobody looked has left in its control group.
    /// Its process group may be somebody else's by now.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn bury_backend(&self, process: &BackendProcess) {
        let parent = self.inner.cgroups.as_ref();
        let path = process.cgroup.as_deref();
        self.inner.kept.claim(path);
        let Some(cgroup) = parent
            .zip(path)
            .and_then(|(parent, path)| parent.find(path))
        else {
            return;
        };
        tokio::spawn(async move {
            let until = Instant::now() + KILL_WAIT;
            while !cgroup.is_empty() && Instant::now() < until {
                if let Err(why) = cgroup.kill() {
                    tracing::warn!("what a COMMAND has left cannot be killed: {why}");
                }
                sleep(LOOK_INTERVAL).await;
            }
        });
    }
}
