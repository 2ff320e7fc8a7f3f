//! COMMAND: started, told to end, and found again after a restart of the daemon.

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::{Actor, Common, Message};
use crate::{
    command::{BackendControl, BackendNews, FoundBackend},
    model::{BackendId, CommandRequest, Definition, StopPlan, StopSignal},
    service::{Input, Record},
};

/// What was written down of the service, and its COMMAND if that still runs. One that has ended
/// while no daemon ran is asleep: nothing is written down of it any more.
pub(super) fn reclaim(
    definition: &Definition,
    record: Option<Record>,
    common: &Common,
) -> (Option<Record>, Option<FoundBackend>) {
    let Some(written) = record.as_ref().and_then(|record| record.backend.as_ref()) else {
        return (woken_alike(definition, record), None);
    };
    let found = common
        .runner
        .find_backend(&definition.slug, &written.process);
    if found.is_some() {
        return (record, found);
    }
    info!(
        sleepingd_service = %definition.name,
        "was awake, and its COMMAND has ended while no daemon ran",
    );
    common.runner.bury_backend(&written.process);
    if let Err(e) = common.records.write(&definition.slug, None) {
        error!(
            sleepingd_service = %definition.name,
            "what was written down of it cannot be removed: {e}",
        );
    }
    (None, None)
}

/// A section that had START_CMD when the last daemon read it, and has COMMAND now: nobody knows how
/// to put to sleep what that woke, and it is no COMMAND of ours.
fn woken_alike(definition: &Definition, record: Option<Record>) -> Option<Record> {
    if record.is_none() || definition.recipe.command.is_none() {
        return record;
    }
    warn!(
        sleepingd_service = %definition.name,
        "was awake, woken by other means than its COMMAND: what was woken is left as it is; stop \
         it by hand",
    );
    None
}

impl Actor {
    pub(super) fn start_backend(&mut self, id: BackendId, request: CommandRequest) {
        let told = self.teller_of(id);
        let control = self.common.runner.start_backend(request, told);
        self.backends.insert(id, control);
    }

    /// A COMMAND that a former daemon started.
    pub(super) fn adopt_backend(&mut self, id: BackendId, found: FoundBackend) {
        let told = self.teller_of(id);
        let service = self.shared.service.as_str();
        let control = self.common.runner.adopt_backend(service, found, told);
        self.backends.insert(id, control);
    }

    /// What becomes of it is told by messages, in their order.
    fn teller_of(&self, id: BackendId) -> impl Fn(BackendNews) + Send + Sync + 'static {
        let to_self = self.to_self.clone();
        move |news| {
            let input = match news {
                BackendNews::Started(process) => Input::BackendStarted(id, process),
                BackendNews::Ended(end) => Input::BackendEnded(id, end),
            };
            // An actor that is gone leaves it to the next daemon.
            let _ = to_self.send(Message::Input(input));
        }
    }

    /// By its own signal, or by that which ends us; then not by both.
    pub(super) fn stop_backend(&self, id: BackendId, plan: StopPlan) {
        match self.ending {
            Some(plan) => self.to_backend(id, |own| own.stop_once(plan)),
            None => self.to_backend(id, |own| own.stop(plan)),
        }
    }

    pub(super) fn pass_on(&self, signal: StopSignal, done: oneshot::Sender<()>) {
        // A generation that drains may have one beside the current one's: the last of them tells.
        let (last, mut others) = (done, self.backends.values());
        if let Some(first) = others.next() {
            first.pass_on(signal, last);
        }
        others.for_each(|own| own.pass_on(signal, oneshot::channel().0));
    }

    /// All that runs, at once, whatever is open.
    pub(super) fn end_backends(&mut self, plan: StopPlan) {
        self.ending = Some(plan);
        self.backends.values().for_each(|own| own.stop_once(plan));
    }

    pub(super) fn to_backend(&self, id: BackendId, say: impl FnOnce(&BackendControl)) {
        // One that has ended in this very moment says so itself.
        if let Some(control) = self.backends.get(&id) {
            say(control);
        }
    }
}
