//! The steps of a wake, in their order: what each does, and which comes after it.

use std::{sync::Arc, time::Duration};

use super::{Progress, Step, Wake, said::said};
use crate::{
    model::{
        Action, ClientAddr, CommandExit, CommandId, CommandLine, CommandOutcome, LocalAddr, Mode,
    },
    service::{cx::Cx, failure::describe, port::ProbeKind},
};

/// Between two runs of READY_CMD, two fetches of READY_URL, or two CHECKs after a START that did
/// not say where the backend is.
const RETRY: Duration = Duration::from_millis(250);

impl Wake {
    pub(super) fn checked(&mut self, outcome: &CommandOutcome, cx: &mut Cx<'_>) -> Progress {
        match &outcome.exit {
            exit if exit.success() => {
                if self.mode == Mode::Told {
                    match said(outcome) {
                        Ok(Some(said)) => self.destinations = said,
                        Ok(None) => {}
                        Err(why) => {
                            return self.over(Progress::Failed(format!("CHECK_CMD {why}")));
                        }
                    }
                }
                match (self.destinations.is_empty(), self.adopting()) {
                    (true, false) => self.start("CHECK_CMD did not say where it is", cx),
                    // It runs, which is all that the idle clock needs to know.
                    (_, true) => self.over(Progress::Ready),
                    (false, false) => self.wait(cx),
                }
            }
            // No answer: what was written down is believed.
            exit if self.adopting() && self.recorded && !matches!(exit, CommandExit::Exited(_)) => {
                self.over(Progress::Ready)
            }
            CommandExit::NotStarted(why) => self.over(Progress::Failed(format!(
                "CHECK_CMD could not be started: {why}"
            ))),
            // Exit status 1 is an answer, not a failure; these are not answers.
            exit => {
                if !matches!(exit, CommandExit::Exited(1..=125)) && !self.adopting() {
                    cx.failed_command(Action::Check, outcome, "taken for: it is not up");
                }
                self.start("CHECK_CMD says that it is not up", cx)
            }
        }
    }

    pub(super) fn start(&mut self, why_down: &str, cx: &mut Cx<'_>) -> Progress {
        if self.adopting() {
            return self.over(Progress::Failed(why_down.to_owned()));
        }
        if self.runs || cx.definition.recipe.command.is_some() {
            return Progress::Launch;
        }
        self.recipe = Arc::clone(&cx.definition.recipe);
        let Some(start) = self.recipe.start.clone() else {
            return self.over(Progress::Failed(format!(
                "{why_down}, and there is no START_CMD"
            )));
        };
        self.started = true;
        self.step = Step::Start(self.run(Action::Start, &start, cx));
        Progress::Going
    }

    /// COMMAND is run, and it is the newest.
    pub(in crate::service) fn starts_backend(&mut self, cx: &Cx<'_>) {
        self.recipe = Arc::clone(&cx.definition.recipe);
        self.started = true;
    }

    /// Until somebody listens, as after START.
    pub(in crate::service) fn wait_for_backend(&mut self, cx: &mut Cx<'_>) -> Progress {
        self.wait(cx)
    }

    /// It is ready, but for [`Self::backend_is_known`].
    pub(in crate::service) fn wait_to_be_known(&mut self) {
        self.step = Step::ToBeKnown;
    }

    /// Which process COMMAND is has been said.
    pub(in crate::service) fn backend_is_known(&mut self) -> Progress {
        match self.step {
            Step::ToBeKnown => self.over(Progress::Ready),
            _ => Progress::Going,
        }
    }

    pub(super) fn has_started(&mut self, outcome: &CommandOutcome, cx: &mut Cx<'_>) -> Progress {
        let said = if self.mode == Mode::Fixed {
            Ok(None)
        } else {
            said(outcome)
        };
        let line_counts = matches!(said, Ok(Some(_)));
        match &outcome.exit {
            CommandExit::Exited(0) | CommandExit::Running => {}
            CommandExit::Exited(_) if line_counts => {
                cx.failed_command(Action::Start, outcome, "its line counts all the same");
            }
            exit => {
                // Killed at its work it may have left something; a START that says that it failed
                // is believed.
                self.started = matches!(exit, CommandExit::TimedOut(_) | CommandExit::Cancelled);
                if matches!(exit, CommandExit::TimedOut(_)) {
                    // Beside the wake that fails by it: what helps is another limit.
                    cx.failed_command(Action::Start, outcome, "so the wake fails");
                }
                return self.over(Progress::Failed(describe(Action::Start, outcome)));
            }
        }
        match said {
            Err(why) => return self.over(Progress::Failed(format!("START_CMD {why}"))),
            Ok(Some(said)) => self.destinations = said,
            Ok(None) => {}
        }
        match (self.mode, self.destinations.is_empty()) {
            (Mode::Told, true) => self.check_after_start(cx),
            (_, true) => self.over(Progress::Failed(
                "START_CMD printed nothing; its first line must be the destination, IP PORT"
                    .to_owned(),
            )),
            (_, false) => self.wait(cx),
        }
    }

    pub(super) fn check_after_start(&mut self, cx: &mut Cx<'_>) -> Progress {
        let Some(check) = self.recipe.check.clone() else {
            return self.wait(cx);
        };
        self.step = Step::CheckAfterStart(self.run(Action::Check, &check, cx));
        Progress::Going
    }

    pub(super) fn checked_after_start(
        &mut self,
        outcome: &CommandOutcome,
        cx: &mut Cx<'_>,
    ) -> Progress {
        if !outcome.exit.success() {
            self.step = Step::CheckAgainAt(cx.now + RETRY);
            return Progress::Going;
        }
        match said(outcome) {
            Ok(Some(said)) => {
                self.destinations = said;
                self.wait(cx)
            }
            Ok(None) => self.over(Progress::Failed(
                "neither START_CMD nor CHECK_CMD printed the destination, IP PORT".to_owned(),
            )),
            Err(why) => self.over(Progress::Failed(format!("CHECK_CMD {why}"))),
        }
    }

    fn wait(&mut self, cx: &mut Cx<'_>) -> Progress {
        self.step = Step::Wait(cx.probe(ProbeKind::Wait, self.destinations.clone()));
        Progress::Going
    }

    pub(super) fn listening(&mut self, cx: &mut Cx<'_>) -> Progress {
        if self.adopting() {
            self.over(Progress::Ready)
        } else {
            self.ready(cx)
        }
    }

    pub(super) fn ready(&mut self, cx: &mut Cx<'_>) -> Progress {
        match self.recipe.ready.clone() {
            Some(ready) => {
                self.step = Step::ReadyCommand(self.run(Action::Ready, &ready, cx));
                Progress::Going
            }
            None => self.ready_url(cx),
        }
    }

    pub(super) fn ready_url(&mut self, cx: &mut Cx<'_>) -> Progress {
        if self.recipe.ready_url.is_none() {
            return self.pause(cx);
        }
        self.step = Step::ReadyUrl(cx.probe(ProbeKind::Url, self.destinations.clone()));
        Progress::Going
    }

    pub(super) fn ready_again(&mut self, cx: &mut Cx<'_>) -> Progress {
        self.step = Step::ReadyAgainAt(cx.now + RETRY);
        Progress::Going
    }

    pub(super) fn pause(&mut self, cx: &mut Cx<'_>) -> Progress {
        let pause = cx.definition.policy.timeouts.after_start;
        if !(self.started || self.runs) || pause.is_zero() {
            return self.over(Progress::Ready);
        }
        self.step = Step::Pause(cx.now + pause);
        Progress::Going
    }

    pub(super) fn over(&mut self, progress: Progress) -> Progress {
        self.step = Step::Over;
        progress
    }

    /// The client that caused it, and where it connected to.
    pub(in crate::service) fn client(&self) -> Option<(ClientAddr, LocalAddr)> {
        self.client.clone()
    }

    pub(super) fn run(&self, action: Action, command: &CommandLine, cx: &mut Cx<'_>) -> CommandId {
        let destination = self.destinations.first().cloned();
        cx.run(
            action,
            command,
            &self.recipe,
            destination,
            self.client.clone(),
        )
    }
}
