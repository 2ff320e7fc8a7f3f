//! COMMANDs: processes that are started, that end by themselves and when they are told to, and
//! that outlive the daemon.

use sleepingd::{
    model::{
        Action, BackendEnd, BackendId, BackendProcess, CommandExit, CommandRequest, ConnId,
        ProcessId,
    },
    service::{Input, lifecycle::State},
};

use super::{Backend, Event, Step, World, group, ms};
use crate::promises::{Client, Stage, promise};

/// A COMMAND that runs.
#[derive(Debug)]
pub(super) struct Process {
    /// What the daemon of now calls it; `None`: it has lost sight of it.
    id: Option<BackendId>,
    group: u16,
    /// The service has heard that it runs.
    known: bool,
    /// It was told to end.
    stopping: bool,
    /// The daemon of now has started it, and so hears its exit status.
    own: bool,
}

impl World {
    pub(super) fn backend_begins(&mut self, id: BackendId, request: &CommandRequest) -> Step {
        let live = &self.processes;
        promise!(live.is_empty(), "1: a COMMAND is started beside {live:?}");
        self.account
            .may_run(Action::Start, false, &self.terms, self.now)?;
        self.account.starts += 1;
        self.current_backend = Some(id);
        let fate = if self.benign {
            9
        } else {
            self.choices.u32(0..14)
        };
        if fate == 0 {
            let at = self.soon(50);
            self.schedule(at, Event::BackendFails(id, self.life));
            return Ok(());
        }
        self.next_pid += 1;
        let pid = self.next_pid;
        let process = Process {
            id: Some(id),
            group: group(request.destination.as_ref()),
            known: false,
            stopping: false,
            own: true,
        };
        if fate != 1 {
            let listens_at = Some(self.now + ms(self.choices.u64(0..300)));
            let backend = Backend {
                up: true,
                listens_at,
                gone_at: None,
            };
            self.backends.insert(process.group, backend);
        }
        self.processes.insert(pid, process);
        // A user database or a disk may take its time.
        let most = if !self.benign && self.chance(10) {
            2_000
        } else {
            10
        };
        let at = self.soon(most);
        self.schedule(at, Event::BackendStarts(pid, self.life));
        if fate == 2 {
            let at = self.soon(300);
            self.schedule(at, Event::BackendExits(pid));
        } else if !self.benign && self.chance(20) {
            let at = self.soon(6_000);
            self.schedule(at, Event::BackendExits(pid));
        }
        Ok(())
    }

    /// It could not be started.
    pub(super) fn backend_fails(&mut self, id: BackendId, life: u32) -> Step {
        if life != self.life {
            return Ok(());
        }
        let exit = CommandExit::NotStarted("no such user".to_owned());
        self.backend_has_ended(id, Some(exit))
    }

    pub(super) fn backend_starts(&mut self, pid: i32, life: u32) -> Step {
        let Some(process) = self.processes.get_mut(&pid).filter(|_| life == self.life) else {
            return Ok(());
        };
        process.known = true;
        let Some(id) = process.id else { return Ok(()) };
        self.tell_service(Input::BackendStarted(id, written(pid)))
    }

    /// It ends, and so do its connections: some with a FIN that a client takes its time with.
    pub(super) fn backend_exits(&mut self, pid: i32) -> Step {
        let Some(process) = self.processes.remove(&pid) else {
            return Ok(());
        };
        self.say(format_args!("the process {pid} exits"));
        self.backends.insert(process.group, Backend::default());
        for conn in self.relayed() {
            if self.chance(70) {
                self.schedule(self.now, Event::RelayEnds(conn));
            }
        }
        let status = self.choices.u32(0..3);
        let exit = match status {
            _ if !process.own => None,
            0 => Some(CommandExit::Exited(0)),
            1 => Some(CommandExit::Exited(1)),
            _ => Some(CommandExit::Signalled(11)),
        };
        match process.id {
            Some(id) => self.backend_has_ended(id, exit),
            None => Ok(()),
        }
    }

    fn backend_has_ended(&mut self, id: BackendId, exit: Option<CommandExit>) -> Step {
        self.account.evidence_down = true;
        self.account.backend_ended = Some(self.now);
        let waited_for = self.who_waits_for(id);
        let stderr_tail = vec![];
        self.tell_service(Input::BackendEnded(id, BackendEnd { exit, stderr_tail }))?;
        let told = waited_for
            .iter()
            .all(|conn| self.account.clients[conn].stage != Stage::Held);
        promise!(told, "3: who waited for it waits on: {waited_for:?}");
        let seen = self.service.snapshot(self.now);
        promise!(
            seen.state != State::Awake,
            "its COMMAND has ended, and it is awake"
        );
        promise!(
            self.finished
                || seen.supervised != self.processes.is_empty()
                || seen.state == State::Waking,
            "its COMMAND has ended, and it believes that it runs"
        );
        Ok(())
    }

    /// Those for whom it is about to become ready. A look for what a former daemon left is nobody's.
    fn who_waits_for(&self, id: BackendId) -> Vec<ConnId> {
        let seen = self.service.snapshot(self.now);
        let wakes = seen.state == State::Waking && self.account.wake_began.is_some();
        if !wakes || self.current_backend != Some(id) {
            return vec![];
        }
        let waits = |client: &Client| {
            client.stage == Stage::Held && !client.ignored && (client.spoke || !self.terms.on_data)
        };
        let clients = self.account.clients.iter();
        let waiting = clients.filter(|(_, client)| waits(client));
        waiting.map(|(conn, _)| *conn).collect()
    }

    pub(super) fn backend_is_stopped(&mut self, id: BackendId, at_once: bool) -> Step {
        let found = self.processes.iter().find(|(_, own)| own.id == Some(id));
        let Some((pid, replaced, known)) = found.map(|(pid, own)| {
            let current = group(self.definition.targets.first());
            (*pid, own.group != current, own.known)
        }) else {
            // It is being started, and will fail.
            return Ok(());
        };
        let restart = self.account.retiring.filter(|r| r.keep && !replaced);
        if at_once {
            promise!(self.account.hurried, "COMMAND is killed without a reason");
        }
        if let Some(restart) = restart {
            let waited = self.account.hurried || restart.deadline.is_some_and(|at| self.now >= at);
            promise!(!known, "6: COMMAND is ended at a restart");
            promise!(waited, "6: COMMAND was about to be known at a restart");
        } else if !at_once {
            self.account
                .may_run(Action::Stop, replaced, &self.terms, self.now)?;
        }
        self.account.stops += 1;
        self.account.stopping = !replaced;
        if let Some(process) = self.processes.get_mut(&pid) {
            process.stopping = true;
        }
        let most = match (at_once, !self.benign && self.chance(10)) {
            (true, _) => 20,
            (false, true) => 4_000,
            (false, false) => 150,
        };
        let at = self.soon(most);
        self.schedule(at, Event::BackendExits(pid));
        Ok(())
    }

    /// Its relay ends by itself, or is reset by this.
    pub(super) fn backend_is_gone(&mut self, conn: ConnId) -> Step {
        let relayed = self
            .account
            .clients
            .get(&conn)
            .is_some_and(|client| client.stage == Stage::Relayed);
        promise!(relayed, "{conn} has no relay to be told of");
        promise!(
            self.account.backend_ended == Some(self.now),
            "{conn} is told of the end of a backend that has not ended"
        );
        let at = self.soon(500);
        self.schedule(at, Event::RelayEnds(conn));
        Ok(())
    }

    /// They crash, or hang and listen no more.
    pub(super) fn processes_crash(&mut self) -> Step {
        let pids: Vec<i32> = self.processes.keys().copied().collect();
        for pid in pids {
            if self.chance(70) {
                self.backend_exits(pid)?;
            }
        }
        Ok(())
    }

    /// What hangs is ended by somebody who looks after it.
    pub(super) fn hung_processes_end(&mut self) -> Step {
        let pids: Vec<(i32, u16)> = self
            .processes
            .iter()
            .map(|(p, own)| (*p, own.group))
            .collect();
        for (pid, group) in pids {
            if !self.runs(group) {
                self.backend_exits(pid)?;
            }
        }
        Ok(())
    }

    /// Another daemon finds those that were written down, and ends those that were not.
    pub(super) fn processes_are_found(&mut self) {
        let recorded = self
            .record
            .as_ref()
            .and_then(|record| record.backend.as_ref());
        let recorded = recorded.map(|backend| backend.process.id.pid);
        let lost: Vec<u16> = self
            .processes
            .iter()
            .filter(|(pid, _)| recorded != Some(**pid))
            .map(|(_, process)| process.group)
            .collect();
        self.processes.retain(|pid, _| recorded == Some(*pid));
        for group in lost {
            self.backends.insert(group, Backend::default());
        }
        if recorded.is_some_and(|pid| !self.processes.contains_key(&pid)) {
            // It has ended meanwhile: nothing is awake.
            self.record = None;
        }
    }

    /// The service of now calls it so.
    pub(super) fn processes_are_adopted(&mut self) -> Step {
        let id = self.service.restored_backend();
        promise!(
            id.is_some() != self.processes.is_empty(),
            "6: a COMMAND that runs is forgotten at a restart"
        );
        for process in self.processes.values_mut() {
            (process.id, process.known, process.own) = (id, true, false);
        }
        self.current_backend = id;
        Ok(())
    }

    /// Promise 6: which process it is, is written down.
    pub(super) fn processes_are_written_down(&self) -> Step {
        let current = group(self.definition.targets.first());
        let known = self
            .processes
            .iter()
            .find(|(_, process)| process.known && process.id.is_some() && process.group == current);
        let Some((pid, _)) = known.filter(|_| !self.finished) else {
            return Ok(());
        };
        let recorded = self
            .record
            .as_ref()
            .and_then(|record| record.backend.as_ref());
        promise!(
            recorded.is_some_and(|backend| backend.process == written(*pid)),
            "6: the process {pid} runs, and is not written down"
        );
        Ok(())
    }

    /// Promise 6: what outlives the daemon can be found by the next, and is not ended as a stray.
    pub(super) fn none_is_lost(&self) -> Step {
        let recorded = self
            .record
            .as_ref()
            .and_then(|record| record.backend.as_ref());
        let recorded = recorded.map(|backend| backend.process.id.pid);
        let lost = self.processes.keys().find(|pid| recorded != Some(**pid));
        promise!(
            lost.is_none(),
            "6: after a restart {lost:?} is in nobody's books"
        );
        Ok(())
    }

    pub(super) fn nothing_runs(&self) -> Step {
        promise!(
            self.processes.is_empty(),
            "after a stop these are left: {:?}",
            self.processes
        );
        Ok(())
    }
}

fn written(pid: i32) -> BackendProcess {
    BackendProcess {
        id: ProcessId { pid, started: 1 },
        cgroup: None,
    }
}
