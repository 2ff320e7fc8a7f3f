//! How a generation wakes, and what comes of it.

use std::sync::Arc;

use super::{Backend, Cx, Generation, Phase, WakeFailure};
use crate::model::{ClientAddr, LocalAddr, Mode, Timestamp};
use crate::service::idle::Uptime;
use crate::service::lifecycle::{Event, State};
use crate::service::port::{Cause, Report};
use crate::service::wake;
use crate::service::wake::{Beginning, Wake};

impl Generation {
    /// Begins a wake, from Asleep or (after a connect that failed) from Awake.
    pub(in crate::service) fn wake(
        &mut self,
        cause: Cause,
        client: Option<(ClientAddr, LocalAddr)>,
        known_down: Option<String>,
        cx: &mut Cx<'_>,
    ) {
        let event = match self.state() {
            State::Awake => Event::Lost,
            _ => Event::WakeWanted,
        };
        self.next_wake = Some(Beginning {
            cause,
            client,
            mode: self.mode,
            // What runs is asked about with the commands that woke it; START is always the newest.
            recipe: self.recipe_of_wake(event, cx),
            destinations: self.destinations.clone(),
            known_down,
            recorded: self.uptime.is_some(),
            runs: self.backend.is_some(),
        });
        self.fire(event, cx);
    }

    pub(super) fn enter_waking(&mut self, cx: &mut Cx<'_>) {
        self.phase = Phase::Waking(None);
        let Some(beginning) = self.next_wake.take() else {
            return;
        };
        if beginning.cause != Cause::Adoption {
            cx.report(Report::Waking(beginning.cause));
        }
        if self.mode == Mode::PerConnection && beginning.client.is_some() {
            return;
        }
        let (wake, progress) = Wake::begin(beginning, cx);
        self.phase = Phase::Waking(Some(wake));
        self.wake_progress(progress, cx);
    }

    /// Whether the wake is made of those of single clients.
    pub(in crate::service) fn wakes_by_attempts(&self) -> bool {
        matches!(self.phase, Phase::Waking(None))
    }

    /// The first START of those that each decide for one connection has succeeded.
    pub(in crate::service) fn woken_by_attempt(&mut self, wake: &Wake, cx: &mut Cx<'_>) {
        self.destinations.clone_from(&wake.destinations);
        self.recipe = Arc::clone(&wake.recipe);
        if self.state() == State::Waking {
            self.uptime = None;
            cx.report(woken(wake, cx.now));
            self.fire(Event::Ready, cx);
        }
        self.used(cx.now, cx);
    }

    /// The last of those STARTs has failed.
    pub(in crate::service) fn attempts_failed(&mut self, left_something: bool, cx: &mut Cx<'_>) {
        if self.state() == State::Waking {
            self.uptime = left_something.then(|| Uptime::fresh(cx.now));
            self.fire(Event::WakeFailed, cx);
        }
    }

    pub(super) fn wake_progress(&mut self, progress: wake::Progress, cx: &mut Cx<'_>) {
        let Phase::Waking(slot) = &mut self.phase else {
            return;
        };
        let why = match progress {
            wake::Progress::Going => return,
            wake::Progress::Launch => return self.launch(cx),
            wake::Progress::Ready => {
                let known = self.backend.as_ref().is_none_or(Backend::is_known);
                match slot {
                    // Somebody listens already. Awake is what can be written down.
                    Some(wake) if !known => wake.wait_to_be_known(),
                    _ => self.woken(cx),
                }
                return;
            }
            wake::Progress::Failed(why) => why,
        };
        let Some(wake) = slot.take() else { return };
        self.uptime = self.uptime_after(&wake, cx);
        if wake.started {
            self.recipe = Arc::clone(&wake.recipe);
        }
        if self.mode == Mode::Told {
            self.destinations.clear();
        }
        self.failure = Some(WakeFailure {
            why,
            adopting: wake.adopting(),
            // A COMMAND that goes on running is waited for again, and not started.
            started: self.backend.is_none()
                && (wake.recipe.start.is_some() || wake.recipe.command.is_some()),
            runs_on: self.backend.is_some(),
        });
        self.fire(Event::WakeFailed, cx);
    }

    pub(super) fn woken(&mut self, cx: &mut Cx<'_>) {
        let Phase::Waking(slot) = &mut self.phase else {
            return;
        };
        let Some(wake) = slot.take() else { return };
        self.destinations.clone_from(&wake.destinations);
        self.settled = !wake.started;
        if wake.started {
            self.recipe = Arc::clone(&wake.recipe);
            self.uptime = None;
        }
        match (wake.adopting(), self.uptime) {
            // As it was written down: its clock goes on.
            (true, Some(_)) => {}
            (true, None) => cx.report(Report::Adopted(wake.destinations.clone())),
            (false, _) => cx.report(woken(&wake, cx.now)),
        }
        self.fire(Event::Ready, cx);
        if !wake.adopting() {
            self.used(cx.now, cx);
        }
    }
}

fn woken(wake: &Wake, now: Timestamp) -> Report {
    Report::Woken {
        cause: wake.cause,
        took: now.since(wake.began),
        destinations: wake.destinations.clone(),
        started: wake.started,
    }
}
