//! What is drawn: who comes, speaks and leaves, what breaks, what is changed.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use sleepingd::{
    model::{ClientAddr, ConnId, LocalAddr, Mode},
    service::{Cause, Input},
};

use super::{Backend, Event, Step, World, definition::terms, group, ms, target};
use crate::promises::{Client, Stage, promise};

/// Where the clients of a balancer come from, which have to say first who they are.
const BEHIND_A_BALANCER: u8 = 6;

impl World {
    pub(super) fn random_step(&mut self) -> Step {
        match self.choices.u32(0..100) {
            0..24 => self.client_arrives(None),
            24..32 => self.client_speaks(),
            32..38 => self.client_leaves(),
            38..80 => {
                let span = ms(match self.choices.u32(0..10) {
                    0..6 => self.choices.u64(0..60),
                    6..9 => self.choices.u64(60..1_500),
                    _ => self.choices.u64(1_500..40_000),
                });
                self.run_for(span, |_| false)
            }
            80..85 => self.backend_crashes(),
            85..88 => self.tell_service(Input::WakeWanted(Cause::Control)),
            88..91 => self.reload(),
            91..94 => self.daemon_crashes(),
            94..96 => self.daemon_restarts(),
            _ => {
                // A burst: many at once.
                for _ in 0..self.choices.usize(1..6) {
                    self.client_arrives(None)?;
                }
                Ok(())
            }
        }
    }

    pub(super) fn client_arrives(&mut self, source: Option<u8>) -> Step {
        if !self.service.accepting() {
            return self.at_a_limit();
        }
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        let source = source.unwrap_or_else(|| self.choices.u8(1..10));
        let addr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, source)), 1000);
        let at = match source {
            BEHIND_A_BALANCER => self.now - ms(conn.0 * 379 % 2_500),
            _ => self.now,
        };
        self.account.clients.insert(
            conn,
            Client {
                arrived: at,
                ignored: source == 8,
                denied: source == 9,
                source,
                spoke: false,
                stage: Stage::Held,
            },
        );
        let input = Input::ClientArrived {
            conn,
            client: ClientAddr::Tcp(addr),
            local: LocalAddr::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 80)),
            at,
        };
        self.tell_service(input)?;
        if self.chance(30) && !self.benign {
            let at = self.now + ms(self.choices.u64(0..800));
            self.schedule(at, Event::Leaves(conn));
        }
        Ok(())
    }

    /// Promise 7: accepting stops at the limit, and only there.
    pub(super) fn at_a_limit(&self) -> Step {
        let full = self
            .terms
            .max_connections
            .is_some_and(|max| self.account.open() >= max)
            || self
                .terms
                .max_waiting
                .is_some_and(|max| self.account.held() >= max)
            || self.account.retiring.is_some();
        promise!(full, "7: it does not accept, and is not at a limit");
        Ok(())
    }

    pub(super) fn client_speaks(&mut self) -> Step {
        let Some(conn) = self.random_client(Stage::Held) else {
            return Ok(());
        };
        if let Some(client) = self.account.clients.get_mut(&conn) {
            client.spoke = true;
        }
        self.tell_service(Input::ClientSpoke(conn))
    }

    pub(super) fn client_leaves(&mut self) -> Step {
        match self.random_client(Stage::Held) {
            Some(conn) => self.leaves(conn),
            None => Ok(()),
        }
    }

    pub(super) fn leaves(&mut self, conn: ConnId) -> Step {
        let Some(client) = self.account.clients.get(&conn) else {
            return Ok(());
        };
        if client.stage != Stage::Held {
            return Ok(());
        }
        self.account.has_ended(conn, self.now);
        self.tell_service(Input::ClientGone(conn))
    }

    pub(super) fn random_client(&mut self, stage: Stage) -> Option<ConnId> {
        let all: Vec<_> = self
            .account
            .clients
            .iter()
            .filter(|(_, c)| c.stage == stage)
            .map(|(id, _)| *id)
            .collect();
        (!all.is_empty()).then(|| all[self.choices.usize(0..all.len())])
    }

    pub(super) fn backend_crashes(&mut self) -> Step {
        self.say(format_args!("the backend crashes"));
        for backend in self.backends.values_mut() {
            *backend = Backend::default();
        }
        if self.chance(70) {
            for conn in self.relayed() {
                self.schedule(self.now, Event::RelayEnds(conn));
            }
        }
        self.processes_crash()
    }

    pub(super) fn relayed(&self) -> Vec<ConnId> {
        let relayed = self
            .account
            .clients
            .iter()
            .filter(|(_, c)| c.stage == Stage::Relayed);
        relayed.map(|(conn, _)| *conn).collect()
    }

    pub(super) fn reload(&mut self) -> Step {
        let mut definition = (*self.definition).clone();
        let mut policy = (*definition.policy).clone();
        policy.idle.after = Some(ms(self.choices.u64(1_000..6_000)));
        policy.timeouts.drain = Some(ms(self.choices.u64(0..5_000)));
        definition.policy = Arc::new(policy);
        if definition.mode() == Mode::Fixed && self.chance(60) {
            let version = group(definition.targets.first()) % 50 + 1;
            definition.targets = vec![target(version, 1)];
            self.old_ones += 1;
            self.account.evidence_down = true;
            self.account.awake_since = None;
            self.account.last_use = None;
            self.account.not_before = None;
            // The old generation drains within the new DRAIN_TIMEOUT.
            self.account
                .replaced_until
                .extend(self.now.plus(definition.policy.timeouts.drain));
        }
        self.definition = Arc::new(definition);
        self.terms = terms(&self.definition);
        self.tell_service(Input::Configured(Arc::clone(&self.definition)))
    }
}
