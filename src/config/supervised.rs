//! COMMAND: the backend is a process of ours, and what else the section may say beside it.

use super::{
    diagnostic::Severity,
    keys::{self, KeyInfo},
    lines::Problem,
    sections::Values,
};
use crate::model::{Definition, StopPlan, Supervised};

/// COMMAND and how it is ended, if the section has one.
pub(super) fn of(values: Values<'_>) -> Option<Supervised> {
    let command = values.one(&keys::COMMAND).flatten()?;
    let usual = StopPlan::default();
    let stop = StopPlan {
        signal: values.one(&keys::STOP_SIGNAL).unwrap_or(usual.signal),
        timeout: values.one(&keys::STOP_TIMEOUT).unwrap_or(usual.timeout),
    };
    Some(Supervised { command, stop })
}

/// What is wrong with COMMAND beside other keys, or without them.
pub(super) fn problems(values: Values<'_>, definition: &Definition) -> Vec<Problem> {
    if definition.recipe.command.is_none() {
        return without_command(values).into_iter().collect();
    }
    let mut problems: Vec<Problem> = others(values)
        .into_iter()
        .filter(|(_, _, is_there)| *is_there)
        .map(|(key, why, _)| beside(values, key, why))
        .collect();
    if definition.targets.is_empty() && !values.is_bad(&keys::TARGET.info) {
        let message = "COMMAND: nobody says where it listens; add TARGET=HOST:PORT".to_owned();
        problems.push(problem(
            Severity::Error,
            values.line(&keys::COMMAND.info),
            message,
        ));
    }
    problems
}

/// The keys that cannot stand beside it, why not, and whether they do.
fn others(values: Values<'_>) -> [(&'static KeyInfo, &'static str, bool); 5] {
    const WAKES: &str = "cannot both wake the backend";
    let written = |key| values.one(key).flatten().is_some();
    [
        (&keys::START_CMD.info, WAKES, written(&keys::START_CMD)),
        (
            &keys::STOP_CMD.info,
            "cannot both end the backend: STOP_SIGNAL says how COMMAND is ended",
            written(&keys::STOP_CMD),
        ),
        (
            &keys::CHECK_CMD.info,
            "cannot both say whether the backend is up: COMMAND is while it runs, and READY_CMD \
             says from when on",
            written(&keys::CHECK_CMD),
        ),
        (
            &keys::UNIT.info,
            WAKES,
            values.one(&keys::UNIT).flatten().is_some(),
        ),
        (
            &keys::CONTAINER.info,
            WAKES,
            values.one(&keys::CONTAINER).flatten().is_some(),
        ),
    ]
}

/// It is told where the section itself has one of them: at the later of the two.
fn beside(values: Values<'_>, other: &KeyInfo, why: &str) -> Problem {
    let message = format!(
        "COMMAND and {} {why}; leave one out (a blank {}= takes back a default)",
        other.name, other.name
    );
    let line = values.line(&keys::COMMAND.info).max(values.line(other));
    problem(Severity::Error, line, message)
}

/// A default for many sections is no mistake in the one that has no use for it.
fn without_command(values: Values<'_>) -> Option<Problem> {
    let signal = &keys::STOP_SIGNAL.info;
    let idle = values.one(&keys::STOP_SIGNAL).is_some()
        && values.is_own(signal)
        && !values.is_bad(&keys::COMMAND.info);
    let message = "STOP_SIGNAL does nothing without COMMAND";
    idle.then(|| problem(Severity::Warning, values.line(signal), message.to_owned()))
}

fn problem(severity: Severity, line: usize, message: String) -> Problem {
    Problem {
        severity,
        line,
        message,
    }
}
