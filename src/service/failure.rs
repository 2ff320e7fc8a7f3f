//! A command that failed: in words, and reported.

use std::time::Duration;

use super::{
    cx::Cx,
    port::{Output, Report},
};
use crate::model::{Action, BackendEnd, CommandExit, CommandOutcome, duration};

impl Cx<'_> {
    /// Reports a command that failed, and what follows from it.
    pub(super) fn failed_command(
        &mut self,
        action: Action,
        outcome: &CommandOutcome,
        then: &'static str,
    ) {
        self.out.push(Output::Report(Report::CommandFailed {
            action,
            exit: outcome.exit.clone(),
            stderr: outcome.stderr_tail.clone(),
            then,
        }));
    }
}

/// A command's failure in words, with the last lines of its standard error.
pub(super) fn describe(action: Action, outcome: &CommandOutcome) -> String {
    let text = format!("{} {}", action.key(), outcome.exit);
    with_tail(text, &outcome.stderr_tail)
}

/// The same of a COMMAND that has ended before it was ready.
pub(super) fn of_backend(end: &BackendEnd, ran: Duration) -> String {
    let text = match &end.exit {
        Some(CommandExit::NotStarted(_)) => format!("{} {end}", Action::Command.key()),
        _ => format!(
            "{} {end} after {}, before it was ready",
            Action::Command.key(),
            duration::show(ran)
        ),
    };
    with_tail(text, &end.stderr_tail)
}

fn with_tail(mut text: String, tail: &[String]) -> String {
    if !tail.is_empty() {
        text.push_str(": ");
        text.push_str(&tail.join(" | "));
    }
    text
}
