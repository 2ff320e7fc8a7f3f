//! Backends of a usual kind: UNIT and CONTAINER, and the commands that they stand for.
//!
//! There is one mechanism, the commands of a recipe. What is ready-made is filled in where the
//! file is read; nobody behind that knows of units and containers.

use std::time::Duration;

use super::{
    diagnostic::Severity,
    keys::{self, Key, KeyInfo},
    lines::{Problem, Value, shorten},
    sections::Values,
};
use crate::model::{CommandLine, ContainerRef, Definition, Recipe, Scope, UnitName};

/// SETTLE_TIME with CONTAINER: the engine's proxy accepts before the container does.
const SETTLE_TIME: Duration = Duration::from_millis(20);

/// What the backend is.
#[derive(Debug)]
pub(super) enum ReadyMade {
    /// UNIT, of the manager of this scope.
    Unit(UnitName, Scope),
    /// CONTAINER.
    Container(ContainerRef),
}

/// UNIT: a unit's name; `no` is none.
pub(super) fn unit(value: &Value) -> Result<Option<UnitName>, String> {
    name(value)
}

/// CONTAINER: a container; `no` is none.
pub(super) fn container(value: &Value) -> Result<Option<ContainerRef>, String> {
    name(value)
}

fn name<T>(value: &Value) -> Result<Option<T>, String>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let text = value.trimmed();
    if text.is_empty() || text.eq_ignore_ascii_case("no") {
        return Ok(None);
    }
    let read = text.parse().map(Some);
    read.map_err(|error| format!("'{}' {error}", shorten(text)))
}

/// What is wrong with UNIT and CONTAINER beside other keys.
pub(super) fn problems(values: Values<'_>, definition: &Definition) -> Vec<Problem> {
    let unit = values.one(&keys::UNIT).flatten();
    let container = values.one(&keys::CONTAINER).flatten();
    let key = match (&unit, &container) {
        (None, None) => return Vec::new(),
        (Some(_), Some(_)) => {
            return vec![beside(values, &keys::UNIT.info, &keys::CONTAINER.info)];
        }
        (Some(_), None) => &keys::UNIT.info,
        (None, Some(_)) => &keys::CONTAINER.info,
    };
    let mut problems: Vec<Problem> = [&keys::START_CMD, &keys::STOP_CMD]
        .into_iter()
        .filter(|command| is_written(values, command))
        .map(|command| beside(values, key, &command.info))
        .collect();
    let target = !definition.targets.is_empty();
    match (unit, container) {
        (Some(unit), _) if !target && !is_written(values, &keys::CHECK_CMD) => {
            let message = format!("UNIT: nobody says where {unit} listens; add TARGET=HOST:PORT");
            problems.push(problem(Severity::Error, values.line(key), message));
        }
        (
            _,
            Some(ContainerRef {
                port: Some(port), ..
            }),
        ) if target => {
            let message = format!("CONTAINER: its port {port} does nothing beside TARGET");
            problems.push(problem(Severity::Warning, values.line(key), message));
        }
        _ => {}
    }
    problems
}

fn is_written(values: Values<'_>, command: &Key<Option<CommandLine>>) -> bool {
    values.one(command).flatten().is_some()
}

/// Two keys that say the same thing. It is told where the section itself has one of them: at the
/// later of the two.
fn beside(values: Values<'_>, key: &KeyInfo, other: &KeyInfo) -> Problem {
    let message = format!(
        "{} and {} cannot both wake the backend; leave one out (a blank {}= takes back a default)",
        key.name, other.name, other.name
    );
    let line = values.line(key).max(values.line(other));
    problem(Severity::Error, line, message)
}

fn problem(severity: Severity, line: usize, message: String) -> Problem {
    Problem {
        severity,
        line,
        message,
    }
}

// === impl ReadyMade ===

impl ReadyMade {
    /// What UNIT or CONTAINER says. Both at once are an error, see [`problems`].
    pub(super) fn of(values: Values<'_>, scope: Scope) -> Option<Self> {
        let unit = values.one(&keys::UNIT).flatten();
        let container = || values.one(&keys::CONTAINER).flatten();
        match unit {
            Some(unit) => Some(Self::Unit(unit, scope)),
            None => container().map(Self::Container),
        }
    }

    /// Fills in the commands. A CHECK_CMD of the file stays: it knows better. Where there is no
    /// TARGET the commands must say where the backend is.
    pub(super) fn fill(&self, recipe: &mut Recipe, without_target: bool) {
        let (start, stop, check) = match self {
            Self::Unit(unit, scope) => (
                systemctl(*scope, &["start"], unit),
                systemctl(*scope, &["stop"], unit),
                systemctl(*scope, &["is-active", "--quiet"], unit),
            ),
            Self::Container(container) => {
                let address = without_target.then_some("--address");
                (
                    of_container("start", address, container),
                    of_container("stop", None, container),
                    of_container("check", address, container),
                )
            }
        };
        recipe.start = Some(start);
        recipe.stop = Some(stop);
        recipe.check.get_or_insert(check);
    }

    /// SETTLE_TIME, where the file says none.
    pub(super) fn settle_time(&self) -> Option<Duration> {
        match self {
            Self::Unit(..) => None,
            Self::Container(_) => Some(SETTLE_TIME),
        }
    }
}

/// `systemctl start` and `stop` return when the job has ended: with Type=notify, when the unit
/// says that it is ready. `is-active` says no while it is being activated.
fn systemctl(scope: Scope, verb: &[&str], unit: &UnitName) -> CommandLine {
    let whose: &[&str] = match scope {
        Scope::System => &[],
        Scope::User => &["--user"],
    };
    let words = [&["systemctl"], whose, verb, &["--", unit.as_str()]].concat();
    CommandLine::words(&words)
}

/// See `src/container`.
fn of_container(action: &str, flag: Option<&str>, container: &ContainerRef) -> CommandLine {
    let container = container.to_string();
    let mut words = vec!["container", action];
    words.extend(flag);
    words.push(&container);
    CommandLine::ourselves(&words)
}
