//! The end of a COMMAND, and what it means for the next start.

use std::time::Duration;

use super::Service;
use crate::model::{BackendEnd, BackendId};
use crate::service::cx::Cx;
use crate::service::port::Report;

/// A COMMAND that fails sooner than this has failed as a wake does, and the next start waits: one
/// that is ready and then dies of its clients would else be started as often as they try again.
/// As long as the longest back-off, so that no loop is faster than one of failed wakes. Whoever
/// exits with 0 has done its work, however short that was.
const SHORT_LIFE: Duration = Duration::from_secs(30);

impl Service {
    /// The COMMAND that a former daemon left, as this service calls it.
    #[must_use]
    pub fn restored_backend(&self) -> Option<BackendId> {
        let mut all = std::iter::once(&self.current).chain(&self.old);
        all.find_map(|generation| generation.backend.as_ref())
            .map(|backend| backend.id)
    }

    pub(super) fn backend_ended(&mut self, id: BackendId, end: BackendEnd, cx: &mut Cx<'_>) {
        let current = self.current.owns_backend(id);
        let Some(generation) = self.generations().find(|g| g.owns_backend(id)) else {
            return;
        };
        let Some(ended) = generation.backend_ended(&end, cx) else {
            return;
        };
        let ran = cx.now.since(ended.since);
        let back_off = current.then(|| self.after_life(&end, ran, cx)).flatten();
        cx.report(Report::BackendEnded {
            end,
            ran,
            relays: ended.relays,
            back_off,
        });
        for generation in self.generations() {
            generation.check_drained(cx);
        }
    }

    fn after_life(&mut self, end: &BackendEnd, ran: Duration, cx: &Cx<'_>) -> Option<Duration> {
        if end.is_failure() && ran < SHORT_LIFE {
            return Some(self.back_off.failed(cx.now));
        }
        self.back_off.clear();
        None
    }
}

#[cfg(test)]
mod tests;
