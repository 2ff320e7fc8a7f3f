//! COMMAND: the backend is a process of ours. It is started by a wake, ended by a stop, and may
//! end by itself in any state.

use std::sync::Arc;

use super::{Cx, Generation, Phase};
use crate::model::{
    Action, BackendEnd, BackendId, BackendProcess, ConnId, StopPlan, Supervised, Timestamp,
};
use crate::service::{
    failure, idle::Uptime, lifecycle::Event, port::Output, record::BackendRecord, stop, wake,
    wake::Wake,
};

/// COMMAND, from its start until its end is known.
#[derive(Debug)]
pub(in crate::service) struct Backend {
    pub(in crate::service) id: BackendId,
    /// When it was started.
    pub(in crate::service) since: Timestamp,
    /// As it was meant when it was started.
    pub(in crate::service) stop: StopPlan,
    /// Which process it is, once that is known.
    process: Option<BackendProcess>,
}

/// A COMMAND that has ended by itself while nobody waited for it to be ready.
#[derive(Debug)]
pub(in crate::service) struct Ended {
    pub(in crate::service) since: Timestamp,
    /// How many relays it had.
    pub(in crate::service) relays: usize,
}

impl Backend {
    fn new(own: &Supervised, cx: &mut Cx<'_>) -> Self {
        Self {
            id: cx.ids.next_backend(),
            since: cx.now,
            stop: own.stop,
            process: None,
        }
    }

    /// As the last daemon left it.
    pub(super) fn restored(record: &BackendRecord, id: BackendId) -> Self {
        Self {
            id,
            since: record.since,
            stop: record.stop,
            process: Some(record.process.clone()),
        }
    }

    /// Whether it has been said which process it is.
    pub(in crate::service) fn is_known(&self) -> bool {
        self.process.is_some()
    }

    pub(in crate::service) fn record(&self) -> Option<BackendRecord> {
        Some(BackendRecord {
            process: self.process.clone()?,
            since: self.since,
            stop: self.stop,
        })
    }
}

impl Generation {
    /// The wake has come to the point at which COMMAND is to run.
    pub(super) fn launch(&mut self, cx: &mut Cx<'_>) {
        let Phase::Waking(Some(wake)) = &mut self.phase else {
            return;
        };
        if self.backend.is_none() {
            let Some(own) = cx.definition.recipe.command.clone() else {
                return;
            };
            wake.starts_backend(cx);
            let backend = Backend::new(&own, cx);
            let request = cx.request(
                Action::Command,
                &own.command,
                &wake.recipe,
                wake.destinations.first().cloned(),
                wake.client(),
            );
            cx.out
                .push(Output::StartBackend(backend.id, Box::new(request)));
            self.backend = Some(backend);
        }
        // One that runs already is not started again: a wake that ran out of time left it, or the
        // last daemon.
        let progress = wake.wait_for_backend(cx);
        self.wake_progress(progress, cx);
    }

    /// It is this process.
    pub(in crate::service) fn backend_started(
        &mut self,
        id: BackendId,
        process: BackendProcess,
        cx: &mut Cx<'_>,
    ) {
        let Some(backend) = self.backend.as_mut().filter(|backend| backend.id == id) else {
            return;
        };
        backend.process = Some(process);
        if let Phase::Waking(Some(wake)) = &mut self.phase {
            let progress = wake.backend_is_known();
            self.wake_progress(progress, cx);
        }
        self.check_drained(cx);
    }

    pub(in crate::service) fn owns_backend(&self, id: BackendId) -> bool {
        self.backend.as_ref().is_some_and(|own| own.id == id)
    }

    /// It has ended, with all that it had started. `Some` where that was neither a stop nor a wake
    /// that fails by it: the service tells of it.
    pub(in crate::service) fn backend_ended(
        &mut self,
        end: &BackendEnd,
        cx: &mut Cx<'_>,
    ) -> Option<Ended> {
        let backend = self.backend.take()?;
        let ended = Ended {
            since: backend.since,
            relays: self.relays.len(),
        };
        match &mut self.phase {
            Phase::Stopping(stop) | Phase::Ending(stop) if stop.owns_backend(backend.id) => {
                self.stop_progress(stop::Progress::Stopped, cx);
                return None;
            }
            // A look for what the last daemon left finds that it is gone.
            Phase::Waking(Some(wake)) if !wake.adopting() => {
                let ran = cx.now.since(backend.since);
                let why = failure::of_backend(end, ran);
                self.tell_relays(cx);
                self.abandon_wake(why, cx);
                return None;
            }
            Phase::Waking(_) => {
                self.tell_relays(cx);
                self.abandon_wake("COMMAND has ended".to_owned(), cx);
                // It is told as the end that it is.
                self.failure = None;
            }
            Phase::Awake(_) => {
                self.tell_relays(cx);
                self.uptime = None;
                self.fire(Event::Ended, cx);
            }
            _ => {
                self.tell_relays(cx);
                self.uptime = None;
            }
        }
        Some(ended)
    }

    /// What the wake has under way is for a backend that is no more: nobody waits for its answer.
    fn abandon_wake(&mut self, why: String, cx: &mut Cx<'_>) {
        if let Phase::Waking(Some(wake)) = &mut self.phase {
            wake.abandon(cx);
        }
        self.wake_progress(wake::Progress::Failed(why), cx);
    }

    /// What this wake, which has failed, leaves behind.
    pub(super) fn uptime_after(&self, wake: &Wake, cx: &Cx<'_>) -> Option<Uptime> {
        match (&self.backend, self.uptime) {
            // It goes on running: for the idle clock, or the next client.
            (Some(_), Some(mut uptime)) => {
                if !wake.adopting() {
                    uptime.used(cx.now);
                }
                Some(uptime)
            }
            (Some(_), None) => Some(Uptime::fresh(cx.now)),
            // Its end is known, and nothing of it is left.
            (None, _) if wake.recipe.command.is_some() => None,
            // START has done its work, or was killed at it: what it left is for the idle clock.
            (None, _) => wake.started.then(|| Uptime::fresh(cx.now)),
        }
    }

    /// Those whose backend has not ended its side by itself are reset. What it had sent, a FIN
    /// too, is delivered.
    fn tell_relays(&self, cx: &mut Cx<'_>) {
        for conn in self.relays.keys() {
            cx.out.push(Output::BackendGone(*conn));
        }
    }

    /// A client was connected to a backend that has ended since it was decided so.
    pub(super) fn connected_too_late(&self, conn: ConnId, cx: &mut Cx<'_>) {
        let ended = self.recipe.command.is_some() && matches!(self.phase, Phase::Asleep);
        if ended && self.backend.is_none() {
            cx.out.push(Output::BackendGone(conn));
        }
    }

    /// Whether there is anything that could put it to sleep. Somebody else's server at TARGET is
    /// not for us to end.
    pub(super) fn can_stop(&self) -> bool {
        self.backend.is_some() || self.recipe.stop.is_some()
    }

    /// The commands that a wake begins with: those of what runs, if it does.
    pub(super) fn recipe_of_wake(&self, event: Event, cx: &Cx<'_>) -> Arc<crate::model::Recipe> {
        if event == Event::Lost || self.backend.is_some() {
            Arc::clone(&self.recipe)
        } else {
            Arc::clone(&cx.definition.recipe)
        }
    }
}
