//! Commands, and the backend that they start and stop.

use std::time::Duration;

use sleepingd::{
    model::{Action, CommandExit, CommandId, CommandOutcome, CommandRequest, Mode},
    service::Input,
};

use super::{Backend, Event, Step, World, group, ms};
use crate::promises::{Running, promise};

impl World {
    pub(super) fn all_up(&mut self) {
        let groups: Vec<u16> = if self.definition.targets.is_empty() {
            vec![80]
        } else {
            vec![group(self.definition.targets.first())]
        };
        for group in groups {
            let backend = Backend {
                up: true,
                listens_at: Some(self.now),
                gone_at: None,
            };
            self.backends.insert(group, backend);
        }
    }

    pub(super) fn listens(&mut self, group: u16) -> bool {
        let now = self.now;
        let Some(backend) = self.backends.get_mut(&group) else {
            return false;
        };
        if backend.gone_at.is_some_and(|at| at <= now) {
            *backend = Backend::default();
        }
        backend.up && backend.listens_at.is_some_and(|at| at <= now)
    }

    pub(super) fn runs(&mut self, group: u16) -> bool {
        self.listens(group);
        self.backends.get(&group).is_some_and(|backend| backend.up)
    }

    pub(super) fn command_begins(&mut self, id: CommandId, request: Box<CommandRequest>) -> Step {
        promise!(
            request.action != Action::Command,
            "COMMAND is run as a command that ends"
        );
        let replaced = self.definition.mode() == Mode::Fixed
            && group(request.destination.as_ref()) != group(self.definition.targets.first());
        self.account
            .may_run(request.action, replaced, &self.terms, self.now)?;
        match request.action {
            Action::Start => self.account.starts += 1,
            Action::Stop => {
                self.account.stops += 1;
                self.account.stopping = true;
            }
            _ => {}
        }
        let running = Running {
            action: request.action,
            began: self.now,
            cancelled: false,
        };
        self.account.running.insert(id, running);
        let long = !self.benign && self.chance(10);
        let at = self.soon(if long { 4_000 } else { 150 });
        self.schedule(at, Event::Command(id, request, self.life));
        Ok(())
    }

    pub(super) fn command_ends(
        &mut self,
        id: CommandId,
        request: &CommandRequest,
        life: u32,
    ) -> Step {
        let cancelled = life == self.life
            && self
                .account
                .running
                .get(&id)
                .is_some_and(|running| running.cancelled);
        let group = group(request.destination.as_ref());
        let mut outcome = match request.action {
            Action::Start => self.start_ends(request, group, cancelled),
            Action::Stop => self.stop_ends(group),
            Action::Check => self.check_ends(group),
            Action::Idle => {
                let idle = self.benign || self.chance(60);
                if !idle && !cancelled && life == self.life {
                    self.account.last_use = Some(self.now);
                }
                exit(i32::from(!idle))
            }
            Action::Command => unreachable!("see `command_begins`"),
            Action::Ready => {
                let ready = self.benign || self.chance(70);
                exit(i32::from(!ready))
            }
        };
        if cancelled {
            outcome.exit = CommandExit::Cancelled;
        }
        if life != self.life {
            return Ok(());
        }
        self.account.running.remove(&id);
        if request.action == Action::Stop {
            self.account.stop_ended = Some(self.now);
        }
        self.tell_service(Input::CommandDone(id, outcome))
    }

    pub(super) fn start_ends(
        &mut self,
        request: &CommandRequest,
        group: u16,
        cancelled: bool,
    ) -> CommandOutcome {
        let mut outcome = exit(0);
        if cancelled {
            return outcome;
        }
        let failure = if self.benign {
            9
        } else {
            self.choices.u32(0..14)
        };
        match failure {
            0 => outcome.exit = CommandExit::Exited(1),
            1 => outcome.exit = CommandExit::NotStarted("no such user".to_owned()),
            2 => outcome.exit = CommandExit::TimedOut(ms(100)),
            _ => {
                let listens_at = Some(self.now + ms(self.choices.u64(0..300)));
                self.backends.insert(
                    group,
                    Backend {
                        up: true,
                        listens_at,
                        gone_at: None,
                    },
                );
                outcome.first_line = request
                    .destination
                    .is_none()
                    .then(|| "127.0.0.1 8001".to_owned());
                match failure {
                    3 => outcome.first_line = Some("rubbish".to_owned()),
                    4 => outcome.exit = CommandExit::Running,
                    _ => {}
                }
                // Where START alone says the place, and a place is known already, it says it too.
                if outcome.first_line.is_none() && self.definition.mode() != Mode::Fixed {
                    outcome.first_line = Some("127.0.0.1 8001".to_owned());
                }
            }
        }
        outcome
    }

    pub(super) fn stop_ends(&mut self, group: u16) -> CommandOutcome {
        if self.stubborn {
            return exit(1);
        }
        let how = if self.benign {
            9
        } else {
            self.choices.u32(0..10)
        };
        let gone_at = Some(self.now + ms(self.choices.u64(0..400)));
        match how {
            0 => return exit(1),
            // Says yes, does nothing.
            1 => {}
            // Says no, for nothing was left to stop.
            2 => {
                self.backends.insert(group, Backend::default());
                return exit(1);
            }
            _ => {
                if let Some(backend) = self.backends.get_mut(&group) {
                    backend.gone_at = gone_at;
                }
            }
        }
        exit(0)
    }

    pub(super) fn check_ends(&mut self, group: u16) -> CommandOutcome {
        if !self.benign && self.chance(5) {
            self.account.evidence_down = true;
            return CommandOutcome {
                exit: CommandExit::TimedOut(ms(100)),
                ..exit(0)
            };
        }
        let up = self.runs(group);
        let mut outcome = exit(i32::from(!up));
        if up && self.chance(50) {
            outcome.first_line = Some("127.0.0.1 8001".to_owned());
        } else {
            // It is down; or it is up and nobody may have said where.
            self.account.evidence_down = true;
        }
        outcome
    }
}

fn exit(status: i32) -> CommandOutcome {
    CommandOutcome {
        exit: CommandExit::Exited(status),
        first_line: None,
        stderr_tail: vec![],
        took: Duration::ZERO,
    }
}
