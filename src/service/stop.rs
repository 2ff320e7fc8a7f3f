//! The steps of one stop: STOP runs, then the backend's going is waited for, so that no client
//! reaches a dying one.
//!
//! ```text
//!   STOP ──0──▶ gone? ──yes, or nobody knows──▶ stopped
//!     │          │  ▲                     │no, for STOP_TIMEOUT
//!     │≠0        └──┘ again               ▼
//!     └────▶ gone? ──yes──▶ stopped    still up
//!             └no, or nobody knows──────▶
//! ```
//!
//! A COMMAND is a process of ours, and has a step of its own: it is told to end, and its end is the
//! end of the stop.

use std::{sync::Arc, time::Duration};

use super::{
    cx::Cx,
    failure::describe,
    generation::Backend,
    port::{Output, ProbeKind, ProbeVerdict},
};
use crate::model::{
    Action, BackendId, CommandExit, CommandId, CommandOutcome, Destination, ProbeId, Recipe,
    Timestamp,
};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One stop under way.
#[derive(Debug)]
pub(super) struct Stop {
    /// When it began.
    pub(super) began: Timestamp,
    recipe: Arc<Recipe>,
    targets: Vec<Destination>,
    destination: Option<Destination>,
    /// Whether to wait until the backend is gone.
    thorough: bool,
    /// Why STOP failed, if it did: then one look decides.
    failure: Option<String>,
    /// Until when the backend may take to be gone; known once STOP has ended.
    deadline: Option<Timestamp>,
    pause: Duration,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// COMMAND was told to end.
    Backend(BackendId),
    /// STOP runs.
    Command(CommandId),
    /// CHECK runs: it fails when the backend is gone.
    Check(CommandId),
    /// Does anybody listen at a local TARGET?
    Look(ProbeId),
    /// Not gone; looked at again then.
    Again(Timestamp),
    /// Out of time: CHECK is being killed, and its end waited for.
    Cancelling(CommandId),
    /// It has said how it ended.
    Over,
}

/// How a stop goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// On.
    Going,
    /// STOP has ended, and the backend is gone as far as can be known.
    Stopped,
    /// It did not take; why we think so.
    StillUp(String),
}

impl Stop {
    /// `thorough`: wait until the backend is gone, for clients may come.
    pub(super) fn begin(
        recipe: &Arc<Recipe>,
        targets: &[Destination],
        destination: Option<Destination>,
        thorough: bool,
        cx: &mut Cx<'_>,
    ) -> (Self, Progress) {
        let mut stop = Self {
            began: cx.now,
            recipe: Arc::clone(recipe),
            targets: targets.to_vec(),
            destination: destination.clone(),
            thorough,
            failure: None,
            deadline: None,
            pause: FIRST_PAUSE,
            step: Step::Over,
        };
        let progress = match &recipe.stop {
            Some(command) => {
                stop.step = Step::Command(cx.run(Action::Stop, command, recipe, destination, None));
                Progress::Going
            }
            None => Progress::Stopped,
        };
        (stop, progress)
    }

    /// Ends COMMAND; at once, if somebody is in a hurry.
    pub(super) fn of_backend(
        backend: &Backend,
        hurried: bool,
        cx: &mut Cx<'_>,
    ) -> (Self, Progress) {
        let (mut stop, _) = Self::begin(&Arc::default(), &[], None, true, cx);
        stop.step = Step::Backend(backend.id);
        cx.out.push(if hurried {
            Output::KillBackend(backend.id)
        } else {
            Output::StopBackend(backend.id, backend.stop)
        });
        (stop, Progress::Going)
    }

    /// Whether this is the COMMAND that is being ended.
    pub(super) fn owns_backend(&self, id: BackendId) -> bool {
        matches!(self.step, Step::Backend(own) if own == id)
    }

    pub(super) fn owns_command(&self, id: CommandId) -> bool {
        matches!(self.step, Step::Command(own) | Step::Check(own) | Step::Cancelling(own) if own == id)
    }

    pub(super) fn owns_probe(&self, id: ProbeId) -> bool {
        matches!(self.step, Step::Look(own) if own == id)
    }

    /// Why STOP failed, if it did.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// The next moment at which [`Self::on_tick`] has something to do.
    pub(super) fn due(&self) -> Option<Timestamp> {
        match self.step {
            Step::Again(at) => Some(at),
            // CHECK may hang, and has no limit of its own unless it was given one.
            Step::Check(_) | Step::Look(_) => self.deadline,
            Step::Backend(_) | Step::Command(_) | Step::Cancelling(_) | Step::Over => None,
        }
    }

    pub(super) fn on_tick(&mut self, cx: &mut Cx<'_>) -> Progress {
        let out_of_time = self.deadline.is_some_and(|deadline| deadline <= cx.now);
        match self.step {
            Step::Again(at) if at <= cx.now => self.look(cx),
            Step::Check(id) if out_of_time => {
                cx.out.push(Output::CancelCommand(id));
                self.step = Step::Cancelling(id);
                Progress::Going
            }
            Step::Look(id) if out_of_time => {
                cx.out.push(Output::CancelProbe(id));
                self.still_there("it cannot be seen whether it is gone", cx)
            }
            _ => Progress::Going,
        }
    }

    /// Somebody is in a hurry: a STOP that runs is killed, and no going is waited for.
    pub(super) fn give_up(&mut self, cx: &mut Cx<'_>) -> Progress {
        self.thorough = false;
        match self.step {
            Step::Command(id) | Step::Check(id) => {
                cx.out.push(Output::CancelCommand(id));
                Progress::Going
            }
            Step::Backend(id) => {
                cx.out.push(Output::KillBackend(id));
                Progress::Going
            }
            _ => self.hurry(),
        }
    }

    pub(super) fn on_command(&mut self, outcome: &CommandOutcome, cx: &mut Cx<'_>) -> Progress {
        match self.step {
            Step::Command(_) => {
                self.deadline = cx.now.plus(cx.definition.policy.timeouts.stop);
                if !outcome.exit.success() {
                    self.failure = Some(describe(Action::Stop, outcome));
                }
                if !self.thorough && self.failure.is_none() {
                    return self.over(Progress::Stopped);
                }
                self.look(cx)
            }
            Step::Check(_) => match outcome.exit {
                CommandExit::Exited(0) => self.still_there("CHECK_CMD says that it is up", cx),
                CommandExit::Exited(_) => self.over(Progress::Stopped),
                // No answer is not a no.
                _ => self.still_there("CHECK_CMD does not answer", cx),
            },
            Step::Cancelling(_) => self.still_there("CHECK_CMD does not answer", cx),
            _ => Progress::Going,
        }
    }

    pub(super) fn on_probe(&mut self, verdict: &ProbeVerdict, cx: &mut Cx<'_>) -> Progress {
        match (self.step, verdict) {
            (Step::Look(_), ProbeVerdict::Up) => {
                self.still_there("somebody listens at its TARGET", cx)
            }
            (Step::Look(_), ProbeVerdict::Down(_)) => self.over(Progress::Stopped),
            (Step::Look(_), _) => self.cannot_know(),
            _ => Progress::Going,
        }
    }

    /// Nobody will come any more: STOP's end is enough.
    pub(super) fn hurry(&mut self) -> Progress {
        self.thorough = false;
        match self.step {
            Step::Again(_) => self.over(Progress::Stopped),
            _ => Progress::Going,
        }
    }

    fn look(&mut self, cx: &mut Cx<'_>) -> Progress {
        if let Some(check) = &self.recipe.check {
            let id = cx.run(
                Action::Check,
                check,
                &self.recipe,
                self.destination.clone(),
                None,
            );
            self.step = Step::Check(id);
        } else if !self.targets.is_empty() {
            self.step = Step::Look(cx.probe(ProbeKind::LookLocal, self.targets.clone()));
        } else {
            return self.cannot_know();
        }
        Progress::Going
    }

    /// STOP's own word decides.
    fn cannot_know(&mut self) -> Progress {
        match self.failure.clone() {
            Some(why) => self.over(Progress::StillUp(why)),
            None => self.over(Progress::Stopped),
        }
    }

    fn still_there(&mut self, why: &str, cx: &mut Cx<'_>) -> Progress {
        if let Some(failure) = self.failure.clone() {
            return self.over(Progress::StillUp(format!("{failure}; {why}")));
        }
        if !self.thorough {
            return self.over(Progress::Stopped);
        }
        if self.deadline.is_some_and(|deadline| deadline <= cx.now) {
            return self.over(Progress::StillUp(format!(
                "STOP_CMD succeeded, but after STOP_TIMEOUT {why}"
            )));
        }
        let again = cx.now + self.pause;
        self.step = Step::Again(self.deadline.map_or(again, |deadline| deadline.min(again)));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Progress::Going
    }

    fn over(&mut self, progress: Progress) -> Progress {
        self.step = Step::Over;
        progress
    }
}
