//! The steps of one wake.
//!
//! ```text
//!   CHECK ──up──▶ wait ─▶ READY_CMD ─▶ READY_URL ─▶ ready
//!     │down        ▲                    ▲
//!     ▼            │                    │ (WAIT_AFTER_START before it)
//!   START ─────────┘
//!     ▲down
//!   look (TARGET without CHECK) ──up──▶ READY_CMD ...
//! ```
//!
//! A wake knows nothing of clients: it goes on when they leave, and its end is the same for all.

use std::{sync::Arc, time::Duration};

use super::{
    generation::Cx,
    port::{Cause, Output, ProbeKind, ProbeVerdict, Report},
};
use crate::model::{
    Action, ClientAddr, CommandExit, CommandId, CommandLine, CommandOutcome, Destination,
    LocalAddr, Mode, ProbeId, Recipe, Timestamp,
};

/// Between two runs of READY_CMD, two fetches of READY_URL, or two CHECKs after a START that did
/// not say where the backend is.
const RETRY: Duration = Duration::from_millis(250);

/// How many destinations one line may name.
pub(super) const MAX_DESTINATIONS: usize = 64;

/// One wake under way.
#[derive(Debug)]
pub(super) struct Wake {
    /// Who wanted it.
    pub(super) cause: Cause,
    /// When it began.
    pub(super) began: Timestamp,
    /// The commands it runs; a wake that runs START takes the newest.
    pub(super) recipe: Arc<Recipe>,
    /// Whether START has been run.
    pub(super) started: bool,
    /// Where the backend is, as far as has been said.
    pub(super) destinations: Vec<Destination>,
    mode: Mode,
    recorded: bool,
    client: Option<(ClientAddr, LocalAddr)>,
    deadline: Option<Timestamp>,
    /// Why it was given up, while a command is being killed for it.
    given_up: String,
    step: Step,
}

/// What a wake begins from.
pub(super) struct Beginning {
    pub(super) cause: Cause,
    /// The client that caused it and where it connected to.
    pub(super) client: Option<(ClientAddr, LocalAddr)>,
    pub(super) mode: Mode,
    pub(super) recipe: Arc<Recipe>,
    /// TARGET, or what was said at an earlier wake.
    pub(super) destinations: Vec<Destination>,
    /// A connect has just failed: there is no use in looking.
    pub(super) known_down: Option<String>,
    /// It is awake, or was written down as awake.
    pub(super) recorded: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// CHECK runs.
    Check(CommandId),
    /// Is somebody there?
    Look(ProbeId),
    /// START runs.
    Start(CommandId),
    /// START has run and did not say where; CHECK is asked.
    CheckAfterStart(CommandId),
    /// Not yet; CHECK is asked again then.
    CheckAgainAt(Timestamp),
    /// Until somebody listens.
    Wait(ProbeId),
    /// READY_CMD runs.
    ReadyCommand(CommandId),
    /// READY_URL is fetched.
    ReadyUrl(ProbeId),
    /// Not ready; asked again then.
    ReadyAgainAt(Timestamp),
    /// WAIT_AFTER_START, until then.
    Pause(Timestamp),
    /// Out of time: the command is being killed, and its end waited for, so that never two STARTs
    /// run at once.
    Cancelling(CommandId),
    /// It has said how it ended.
    Over,
}

/// How a wake goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// On.
    Going,
    /// The backend is ready.
    Ready,
    /// It failed, or was given up; why.
    Failed(String),
}

impl Wake {
    pub(super) fn begin(from: Beginning, cx: &mut Cx<'_>) -> (Self, Progress) {
        let mut wake = Self {
            cause: from.cause,
            began: cx.now,
            recipe: from.recipe,
            started: false,
            destinations: from.destinations,
            mode: from.mode,
            recorded: from.recorded,
            client: from.client,
            deadline: cx.now.plus(cx.definition.policy.timeouts.wake),
            given_up: String::new(),
            step: Step::Over,
        };
        let progress = match (wake.recipe.check.clone(), wake.mode) {
            (_, Mode::PerConnection) => wake.start("", cx),
            (Some(check), _) => {
                wake.step = Step::Check(wake.run(Action::Check, &check, cx));
                Progress::Going
            }
            (None, _) => match from.known_down {
                Some(why) => wake.start(&why, cx),
                None => {
                    let kind = if wake.adopting() {
                        ProbeKind::LookLocal
                    } else {
                        ProbeKind::Look
                    };
                    wake.step = Step::Look(cx.probe(kind, wake.destinations.clone()));
                    Progress::Going
                }
            },
        };
        (wake, progress)
    }

    /// Whether it only looks for what already runs, and starts nothing.
    pub(super) fn adopting(&self) -> bool {
        self.cause == Cause::Adoption
    }

    /// Whether this command is one of this wake's.
    pub(super) fn owns_command(&self, id: CommandId) -> bool {
        matches!(self.step, Step::Check(own) | Step::Start(own) | Step::CheckAfterStart(own)
            | Step::ReadyCommand(own) | Step::Cancelling(own) if own == id)
    }

    /// Whether this probe is one of this wake's.
    pub(super) fn owns_probe(&self, id: ProbeId) -> bool {
        matches!(self.step, Step::Look(own) | Step::Wait(own) | Step::ReadyUrl(own) if own == id)
    }

    /// Whether START runs right now.
    pub(super) fn starting(&self) -> bool {
        matches!(self.step, Step::Start(_) | Step::Cancelling(_))
    }

    /// The next moment at which [`Self::on_tick`] has something to do.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let own = match self.step {
            Step::CheckAgainAt(at) | Step::ReadyAgainAt(at) | Step::Pause(at) => Some(at),
            Step::Cancelling(_) | Step::Over => return None,
            _ => None,
        };
        [own, self.deadline].into_iter().flatten().min()
    }

    pub(super) fn on_tick(&mut self, cx: &mut Cx<'_>) -> Progress {
        if self.deadline.is_some_and(|deadline| deadline <= cx.now) {
            return self.give_up("it took longer than WAKE_TIMEOUT", cx);
        }
        match self.step {
            Step::CheckAgainAt(at) if at <= cx.now => self.check_after_start(cx),
            Step::ReadyAgainAt(at) if at <= cx.now => self.ready(cx),
            Step::Pause(at) if at <= cx.now => self.over(Progress::Ready),
            _ => Progress::Going,
        }
    }

    /// Ends the wake before its time, for this reason. A command is killed first; the wake is over
    /// with it.
    pub(super) fn give_up(&mut self, reason: &str, cx: &mut Cx<'_>) -> Progress {
        let why = format!("{reason}; {}", self.missing());
        match self.step {
            Step::Check(id)
            | Step::Start(id)
            | Step::CheckAfterStart(id)
            | Step::ReadyCommand(id) => {
                cx.out.push(Output::CancelCommand(id));
                self.given_up = why;
                self.step = Step::Cancelling(id);
                Progress::Going
            }
            Step::Cancelling(_) => Progress::Going,
            Step::Look(id) | Step::Wait(id) | Step::ReadyUrl(id) => {
                cx.out.push(Output::CancelProbe(id));
                self.over(Progress::Failed(why))
            }
            _ => self.over(Progress::Failed(why)),
        }
    }

    /// What it waits for, as something that has not come.
    fn missing(&self) -> String {
        let text = match self.step {
            Step::Look(_) | Step::Wait(_) => {
                let all: Vec<_> = self.destinations.iter().map(ToString::to_string).collect();
                return format!("nobody listened at {}", all.join(" "));
            }
            Step::Start(_) => "START_CMD had not ended",
            Step::Check(_) | Step::CheckAfterStart(_) => "CHECK_CMD had not ended",
            Step::CheckAgainAt(_) => "CHECK_CMD had not said that it is up",
            Step::ReadyCommand(_) => "READY_CMD had not ended",
            Step::ReadyUrl(_) | Step::ReadyAgainAt(_) => {
                "READY_CMD or READY_URL had not said that it is ready"
            }
            Step::Pause(_) => "WAIT_AFTER_START had not passed",
            Step::Cancelling(_) | Step::Over => "it was over",
        };
        text.to_owned()
    }

    pub(super) fn on_command(&mut self, outcome: &CommandOutcome, cx: &mut Cx<'_>) -> Progress {
        match self.step {
            Step::Check(_) => self.checked(outcome, cx),
            Step::Start(_) => self.has_started(outcome, cx),
            Step::CheckAfterStart(_) => self.checked_after_start(outcome, cx),
            Step::ReadyCommand(_) => match &outcome.exit {
                exit if exit.success() => self.ready_url(cx),
                CommandExit::NotStarted(why) => self.over(Progress::Failed(format!(
                    "READY_CMD could not be started: {why}"
                ))),
                _ => self.ready_again(cx),
            },
            // What it said does not matter any more; whether it has a backend is for CHECK, or
            // for the idle clock, to find out.
            Step::Cancelling(_) => {
                let why = std::mem::take(&mut self.given_up);
                self.over(Progress::Failed(why))
            }
            _ => Progress::Going,
        }
    }

    pub(super) fn on_probe(&mut self, verdict: ProbeVerdict, cx: &mut Cx<'_>) -> Progress {
        match (self.step, verdict) {
            (Step::Look(_), ProbeVerdict::Up) => self.listening(cx),
            (Step::Look(_), ProbeVerdict::Down(why)) => self.start(&why, cx),
            // A remote backend is not looked for by connecting; what was written down is believed.
            (Step::Look(_), ProbeVerdict::Unknown) if self.recorded => self.over(Progress::Ready),
            (Step::Look(_), ProbeVerdict::Unknown) => {
                self.start("it cannot be known without connecting", cx)
            }
            (Step::Wait(_), ProbeVerdict::Up) => self.listening(cx),
            (Step::Wait(_), ProbeVerdict::Down(why)) => self.over(Progress::Failed(why)),
            (Step::ReadyUrl(_), ProbeVerdict::Up) => self.pause(cx),
            (Step::ReadyUrl(_), ProbeVerdict::Down(_)) => self.ready_again(cx),
            (_, ProbeVerdict::Failed(why)) => self.over(Progress::Failed(why)),
            _ => Progress::Going,
        }
    }

    // === the steps, in order ===

    fn checked(&mut self, outcome: &CommandOutcome, cx: &mut Cx<'_>) -> Progress {
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

    fn start(&mut self, why_down: &str, cx: &mut Cx<'_>) -> Progress {
        if self.adopting() {
            return self.over(Progress::Failed(why_down.to_owned()));
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

    fn has_started(&mut self, outcome: &CommandOutcome, cx: &mut Cx<'_>) -> Progress {
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

    fn check_after_start(&mut self, cx: &mut Cx<'_>) -> Progress {
        let Some(check) = self.recipe.check.clone() else {
            return self.wait(cx);
        };
        self.step = Step::CheckAfterStart(self.run(Action::Check, &check, cx));
        Progress::Going
    }

    fn checked_after_start(&mut self, outcome: &CommandOutcome, cx: &mut Cx<'_>) -> Progress {
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

    fn listening(&mut self, cx: &mut Cx<'_>) -> Progress {
        if self.adopting() {
            self.over(Progress::Ready)
        } else {
            self.ready(cx)
        }
    }

    fn ready(&mut self, cx: &mut Cx<'_>) -> Progress {
        match self.recipe.ready.clone() {
            Some(ready) => {
                self.step = Step::ReadyCommand(self.run(Action::Ready, &ready, cx));
                Progress::Going
            }
            None => self.ready_url(cx),
        }
    }

    fn ready_url(&mut self, cx: &mut Cx<'_>) -> Progress {
        if self.recipe.ready_url.is_none() {
            return self.pause(cx);
        }
        self.step = Step::ReadyUrl(cx.probe(ProbeKind::Url, self.destinations.clone()));
        Progress::Going
    }

    fn ready_again(&mut self, cx: &mut Cx<'_>) -> Progress {
        self.step = Step::ReadyAgainAt(cx.now + RETRY);
        Progress::Going
    }

    fn pause(&mut self, cx: &mut Cx<'_>) -> Progress {
        let pause = cx.definition.policy.timeouts.after_start;
        if !self.started || pause.is_zero() {
            return self.over(Progress::Ready);
        }
        self.step = Step::Pause(cx.now + pause);
        Progress::Going
    }

    fn over(&mut self, progress: Progress) -> Progress {
        self.step = Step::Over;
        progress
    }

    fn run(&self, action: Action, command: &CommandLine, cx: &mut Cx<'_>) -> CommandId {
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

/// The destinations that a command's first line names: `IP PORT`, or several pairs.
/// `None` where it printed nothing.
fn said(outcome: &CommandOutcome) -> Result<Option<Vec<Destination>>, String> {
    destinations(outcome.first_line.as_deref().unwrap_or(""))
}

/// The same of the line alone.
pub(super) fn destinations(line: &str) -> Result<Option<Vec<Destination>>, String> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(None);
    }
    let words: Vec<&str> = line
        .split_ascii_whitespace()
        .take(2 * MAX_DESTINATIONS)
        .collect();
    let bad = |why: String| {
        let shown: String = line.chars().take(80).collect();
        Err(format!(
            "printed '{shown}', which is not a destination (IP PORT): {why}"
        ))
    };
    if words.len() % 2 != 0 {
        return bad("a port is missing".to_owned());
    }
    let mut destinations = Vec::with_capacity(words.len() / 2);
    for pair in words.chunks_exact(2) {
        match Destination::from_host_port(pair[0], pair[1]) {
            Ok(destination) => destinations.push(destination),
            Err(why) => return bad(why.to_string()),
        }
    }
    Ok(Some(destinations))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Result<Option<Vec<Destination>>, String> {
        said(&CommandOutcome {
            exit: CommandExit::Exited(0),
            first_line: Some(text.to_owned()),
            stderr_tail: Vec::new(),
            took: Duration::ZERO,
        })
    }

    #[test]
    fn a_line_names_one_destination_or_several() {
        let shown = |text: &str| -> Vec<String> {
            line(text)
                .unwrap()
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(shown("127.0.0.1 8080"), ["127.0.0.1:8080"]);
        assert_eq!(shown(" ::1 80\t web 81 "), ["[::1]:80", "web:81"]);
        assert_eq!(line("  "), Ok(None));
    }

    #[test]
    fn rubbish_is_named() {
        let why = |text: &str| line(text).unwrap_err();
        assert!(why("127.0.0.1 70000").contains("'70000' is not a port"));
        assert!(why("hello").contains("printed 'hello'"));
        assert!(why("127.0.0.1 80 x").contains("a port is missing"));
        assert!(why("!! 80").contains("neither an IP address nor a host name"));
    }
}
