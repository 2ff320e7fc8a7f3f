//! Clients are connected; a destination that does not answer is looked into.

use super::{GRACE, RECONNECT, Service};
use crate::model::{ConnId, Destination, Mode, Timestamp};
use crate::service::balance;
use crate::service::cx::Cx;
use crate::service::lifecycle::State;
use crate::service::port::{Cause, ConnectFailure, Output, Refusal, Report};

impl Service {
    pub(super) fn connect(&mut self, conn: ConnId, candidates: Vec<Destination>, cx: &mut Cx<'_>) {
        let Some(mut held) = self.held.remove(conn) else {
            return;
        };
        held.not_before = None;
        let settle = self.current.settle(cx.definition);
        self.current.connecting(conn, held);
        let generation = self.current.id;
        cx.out.push(Output::Connect {
            conn,
            generation,
            candidates,
            settle,
        });
    }

    pub(super) fn candidates(&mut self, cx: &Cx<'_>) -> Vec<Destination> {
        self.turn = self.turn.wrapping_add(1);
        let relays = &self.current.relays;
        let busy = |destination: &Destination| {
            relays
                .values()
                .filter(|relay| relay.destination == *destination)
                .count()
        };
        let destinations = &self.current.destinations;
        balance::order(
            cx.definition.policy.balance,
            destinations,
            self.turn,
            &mut self.rng,
            busy,
        )
    }

    pub(super) fn connected(&mut self, conn: ConnId, destination: Destination, cx: &mut Cx<'_>) {
        for generation in self.generations() {
            if generation.connected(conn, destination.clone(), cx) {
                return;
            }
        }
    }

    pub(super) fn connect_failed(
        &mut self,
        conn: ConnId,
        failure: ConnectFailure,
        cx: &mut Cx<'_>,
    ) {
        let current = self.current.connecting.contains_key(&conn);
        let Some(mut held) = self.generations().find_map(|g| g.not_connected(conn, cx)) else {
            return;
        };
        held.not_before = Some(cx.now + RECONNECT);
        let (ignored, client, local) = (held.ignored, held.client, held.local.clone());
        self.held.insert(conn, held);
        match failure {
            ConnectFailure::Failed(why) => self.refuse(conn, Refusal::Unreachable(why), cx),
            _ if ignored => self.refuse(conn, Refusal::IgnoredAsleep, cx),
            // Tried again until WAKE_TIMEOUT: something is there, START would not help it.
            ConnectFailure::ClosedEarly | ConnectFailure::NoRoom(_) => {}
            ConnectFailure::NotUp(why) => {
                if current && self.is_lost(cx.now) {
                    cx.report(Report::Lost(why.clone()));
                    let cause = Cause::Client(client);
                    self.current
                        .wake(cause, Some((client, local)), Some(why), cx);
                }
            }
        }
    }

    /// Whether a backend that does not answer is down. One that has just been started may refuse
    /// for a moment (a listener that is set up twice), and is tried again.
    pub(super) fn is_lost(&self, now: Timestamp) -> bool {
        let fresh = self
            .current
            .uptime
            .is_some_and(|uptime| now < uptime.since + GRACE);
        self.current.state() == State::Awake
            && self.current.mode != Mode::PerConnection
            && self.retiring.is_none()
            && (self.current.settled || !fresh)
    }
}
