//! A command that failed: in words, and reported.

use super::{
    generation::Cx,
    port::{Output, Report},
};
use crate::model::{Action, CommandOutcome};

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
    let mut text = format!("{} {}", action.key(), outcome.exit);
    if !outcome.stderr_tail.is_empty() {
        text.push_str(": ");
        text.push_str(&outcome.stderr_tail.join(" | "));
    }
    text
}
