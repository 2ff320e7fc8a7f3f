//! Probes, connects and relays.

use sleepingd::{
    model::{ConnId, Destination, ProbeId},
    service::{ConnectFailure, Input, ProbeKind, ProbeVerdict},
};

use super::{Event, Step, World, group, ms};
use crate::promises::Stage;

impl World {
    pub(super) fn probe_answers(
        &mut self,
        id: ProbeId,
        kind: ProbeKind,
        destinations: Vec<Destination>,
        life: u32,
    ) -> Step {
        if life != self.life || self.account.cancelled_probes.contains(&id) {
            return Ok(());
        }
        let up = self.listens(group(destinations.first()));
        let verdict = match kind {
            _ if !self.benign && self.chance(1) => ProbeVerdict::Failed("no permission".to_owned()),
            ProbeKind::LookLocal if self.remote => ProbeVerdict::Unknown,
            ProbeKind::Wait if !up => {
                let at = self.now + ms(20);
                self.schedule(at, Event::Probe(id, kind, destinations, life));
                return Ok(());
            }
            ProbeKind::Url if !self.benign && self.chance(40) => {
                ProbeVerdict::Down("503".to_owned())
            }
            ProbeKind::Url => ProbeVerdict::Up,
            _ if up => ProbeVerdict::Up,
            _ => {
                self.account.evidence_down = true;
                ProbeVerdict::Down("nobody listens".to_owned())
            }
        };
        self.tell_service(Input::ProbeDone(id, verdict))
    }

    pub(super) fn connect_ends(&mut self, conn: ConnId, candidates: &[Destination]) -> Step {
        let Some(client) = self.account.clients.get(&conn) else {
            return Ok(());
        };
        if client.stage != Stage::Connecting {
            return Ok(());
        }
        let ignored = client.ignored;
        if !self.benign && self.chance(3) {
            // It had left already when it was decided that it be connected.
            self.account.has_ended(conn, self.now);
            if !ignored {
                self.account.last_use = self.account.last_use.map(|_| self.now);
            }
            self.tell_service(Input::ClientGone(conn))?;
            return self.tell_service(Input::RelayEnded(conn));
        }
        let reached = candidates.iter().find(|_| !candidates.is_empty()).cloned();
        if let Some(destination) = reached.filter(|d| self.listens(group(Some(d)))) {
            self.set_stage(conn, Stage::Relayed);
            if !ignored {
                self.account.last_use = Some(self.now);
            }
            let length = match self.choices.u32(0..10) {
                0..6 => self.choices.u64(0..500),
                6..9 => self.choices.u64(500..10_000),
                _ => self.choices.u64(10_000..60_000),
            };
            self.schedule(self.now + ms(length), Event::RelayEnds(conn));
            return self.tell_service(Input::Connected(conn, destination));
        }
        self.set_stage(conn, Stage::Held);
        let failure = if !self.benign && self.chance(3) {
            ConnectFailure::Failed("permission denied".to_owned())
        } else {
            self.account.evidence_down = true;
            ConnectFailure::NotUp("connection refused".to_owned())
        };
        if !ignored {
            self.account.last_use = self.account.last_use.map(|_| self.now);
        }
        self.tell_service(Input::ConnectFailed(conn, failure))
    }

    pub(super) fn relay_ends(&mut self, conn: ConnId) -> Step {
        let Some(client) = self.account.clients.get(&conn) else {
            return Ok(());
        };
        if client.stage != Stage::Relayed {
            return Ok(());
        }
        if !client.ignored {
            self.account.last_use = Some(self.now);
        }
        self.set_stage(conn, Stage::Over);
        self.tell_service(Input::RelayEnded(conn))
    }

    pub(super) fn set_stage(&mut self, conn: ConnId, stage: Stage) {
        if let Some(client) = self.account.clients.get_mut(&conn) {
            client.stage = stage;
        }
    }
}
