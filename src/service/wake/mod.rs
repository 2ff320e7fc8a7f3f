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
//! COMMAND stands where START does, and is the generation's: the wake asks for it, and waits.
//!
//! A wake knows nothing of clients: it goes on when they leave, and its end is the same for all.
//!
//! | file | the idea in it |
//! | --- | --- |
//! | `mod` | one wake: what it begins from, which step it is at, who is told what happened |
//! | `steps` | what each step does, and which comes after it |
//! | `said` | where the backend is, read from what a command printed |

pub(super) mod said;
mod steps;

use std::sync::Arc;

use super::{
    cx::Cx,
    port::{Cause, Output, ProbeKind, ProbeVerdict},
};
use crate::model::{
    Action, ClientAddr, CommandExit, CommandId, CommandOutcome, Destination, LocalAddr, Mode,
    ProbeId, Recipe, Timestamp,
};

/// One wake under way.
#[derive(Debug)]
pub(super) struct Wake {
    /// Who wanted it.
    pub(super) cause: Cause,
    /// When it began.
    pub(super) began: Timestamp,
    /// The commands it runs; a wake that runs START takes the newest.
    pub(super) recipe: Arc<Recipe>,
    /// Whether START, or COMMAND, has been run.
    pub(super) started: bool,
    /// Where the backend is, as far as has been said.
    pub(super) destinations: Vec<Destination>,
    mode: Mode,
    recorded: bool,
    /// A COMMAND runs already.
    runs: bool,
    client: Option<(ClientAddr, LocalAddr)>,
    deadline: Option<Timestamp>,
    /// Why it was given up, while a command is being killed for it.
    given_up: String,
    step: Step,
}

/// What a wake begins from.
#[derive(Debug)]
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
    /// A COMMAND runs, ready or not.
    pub(super) runs: bool,
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
    /// All is ready, but nobody has said yet which process COMMAND is.
    ToBeKnown,
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
    /// COMMAND is to run now, if it does not; then [`Wake::wait_for_backend`].
    Launch,
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
            runs: from.runs,
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

    /// Ends what it has under way, of which no answer is wanted.
    pub(super) fn abandon(&mut self, cx: &mut Cx<'_>) {
        match std::mem::replace(&mut self.step, Step::Over) {
            Step::Check(id)
            | Step::Start(id)
            | Step::CheckAfterStart(id)
            | Step::ReadyCommand(id) => cx.out.push(Output::CancelCommand(id)),
            Step::Look(id) | Step::Wait(id) | Step::ReadyUrl(id) => {
                cx.out.push(Output::CancelProbe(id));
            }
            Step::CheckAgainAt(_)
            | Step::ReadyAgainAt(_)
            | Step::Pause(_)
            | Step::ToBeKnown
            | Step::Cancelling(_)
            | Step::Over => {}
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
            Step::ToBeKnown => "COMMAND was still being started",
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
}
