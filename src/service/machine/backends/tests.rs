use std::{path::PathBuf, sync::Arc};

use super::*;
use crate::model::{
    BackendProcess, CommandLine, Definition, Origin, Policy, ProbeId, ProcessId, Recipe,
    ServiceName, StopPlan, Supervised, Timestamp,
};
use crate::service::lifecycle::{State, Table};
use crate::service::{Cause, Input, Output, ProbeVerdict, Record, Retirement};

/// A service with a COMMAND, and all that it has wanted.
struct Played {
    service: Service,
    now: Timestamp,
    wanted: Vec<Output>,
}

impl Played {
    /// Asleep.
    fn new() -> Self {
        let now = Timestamp::BOOT;
        let service = Service::new(Arc::new(definition()), Table::sound(), None, 1, now);
        let wanted = Vec::new();
        let mut played = Self {
            service,
            now,
            wanted,
        };
        let begun = played.service.start(now);
        played.wanted.extend(begun);
        played.probed(ProbeVerdict::Down("nobody".to_owned()));
        played
    }

    /// One whose COMMAND is being started; which process it is has not been said yet.
    fn starting() -> (Self, BackendId) {
        let mut played = Self::new();
        played.told(Input::WakeWanted(Cause::AutoStart));
        played.probed(ProbeVerdict::Down("nobody".to_owned()));
        let id = played.wanted.iter().find_map(|output| match output {
            Output::StartBackend(id, _) => Some(*id),
            _ => None,
        });
        (played, id.unwrap())
    }

    fn told(&mut self, input: Input) {
        let outputs = self.service.handle(self.now, input);
        self.wanted.extend(outputs);
    }

    /// The answer to the last question.
    fn probed(&mut self, verdict: ProbeVerdict) {
        let asked: Option<ProbeId> = self.wanted.iter().rev().find_map(|output| match output {
            Output::Probe(id, ..) => Some(*id),
            _ => None,
        });
        self.told(Input::ProbeDone(asked.unwrap(), verdict));
    }

    fn finished(&self) -> bool {
        matches!(self.wanted.last(), Some(Output::Finished))
    }

    /// What the next daemon reads.
    fn written(&self) -> Option<&Record> {
        let last = self.wanted.iter().rev().find_map(|output| match output {
            Output::Persist(record) => Some(record.as_deref()),
            _ => None,
        });
        last.flatten()
    }

    fn is_stopped(&self) -> bool {
        let mut all = self.wanted.iter();
        all.any(|output| matches!(output, Output::StopBackend(..)))
    }
}

fn definition() -> Definition {
    let name = ServiceName::new("web");
    let recipe = Recipe {
        command: Some(Supervised {
            command: CommandLine::new("/usr/bin/server").unwrap(),
            stop: StopPlan::default(),
        }),
        ..Recipe::default()
    };
    Definition {
        slug: name.slug().unwrap(),
        name,
        origin: Origin {
            file: PathBuf::new(),
            line: 0,
        },
        listen: Vec::new(),
        sockets: Vec::new(),
        targets: vec!["127.0.0.1:80".parse().unwrap()],
        auto_start: false,
        recipe: Arc::new(recipe),
        policy: Arc::new(Policy::default()),
    }
}

fn process() -> BackendProcess {
    BackendProcess {
        id: ProcessId { pid: 7, started: 1 },
        cgroup: None,
    }
}

fn not_started() -> BackendEnd {
    BackendEnd {
        exit: None,
        stderr_tail: Vec::new(),
    }
}

#[test]
fn it_is_not_awake_before_it_is_known_which_process_it_is() {
    let (mut played, id) = Played::starting();
    played.probed(ProbeVerdict::Up);
    assert_eq!(played.service.state(), State::Waking);
    assert_eq!(played.written(), None);
    played.told(Input::BackendStarted(id, process()));
    assert_eq!(played.service.state(), State::Awake);
    let written = played.written().and_then(|record| record.backend.as_ref());
    assert_eq!(written.unwrap().process, process());
}

#[test]
fn a_wake_that_waits_for_that_alone_ends_with_its_time_and_with_the_command() {
    for ends in [false, true] {
        let (mut played, id) = Played::starting();
        played.probed(ProbeVerdict::Up);
        if ends {
            played.told(Input::BackendEnded(id, not_started()));
        } else {
            played.now = played.service.deadline().unwrap();
            played.told(Input::Tick);
        }
        assert_eq!(played.service.state(), State::Asleep);
    }
}

#[test]
fn a_restart_waits_until_it_is_known_which_process_it_is() {
    let (mut played, id) = Played::starting();
    // As long as it waits for a client.
    played.now = played.service.deadline().unwrap();
    played.told(Input::Tick);
    assert_eq!(played.service.state(), State::Asleep);
    assert_eq!(played.written(), None);
    played.told(Input::Retire(Retirement::Keep));
    assert!(!played.finished());
    played.told(Input::BackendStarted(id, process()));
    assert!(played.finished());
    let written = played.written().and_then(|record| record.backend.as_ref());
    assert_eq!(written.unwrap().process, process());
    assert!(!played.is_stopped());
}

#[test]
fn a_restart_ends_one_of_which_that_is_not_known_in_time() {
    let (mut played, id) = Played::starting();
    played.now = played.service.deadline().unwrap();
    played.told(Input::Tick);
    played.told(Input::Retire(Retirement::Keep));
    played.now = played.service.deadline().unwrap();
    played.told(Input::Tick);
    assert!(played.is_stopped() && !played.finished());
    played.told(Input::BackendEnded(id, not_started()));
    assert!(played.finished());
    assert_eq!(played.written(), None);
}
