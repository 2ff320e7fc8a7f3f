//! Clients come, are refused, and leave.

use std::time::Duration;

use super::Service;
use crate::model::{ClientAddr, ConnId, LocalAddr, Timestamp};
use crate::service::cx::Cx;
use crate::service::hold::Held;
use crate::service::lifecycle::State;
use crate::service::port::{Output, Refusal, Report};

impl Service {
    pub(super) fn arrived(
        &mut self,
        conn: ConnId,
        client: ClientAddr,
        local: LocalAddr,
        at: Timestamp,
        cx: &mut Cx<'_>,
    ) {
        let policy = &cx.definition.policy;
        let ignored = policy.access.ignores(&client);
        let deadline = at.plus(policy.timeouts.wake);
        if let Some(refusal) = self.refusal(&client, ignored, deadline, cx) {
            cx.out.push(Output::Refuse(conn, refusal.clone()));
            return cx.report(Report::Refused {
                client,
                why: refusal,
                held: cx.now.since(at),
            });
        }
        self.clients.insert(conn, client);
        if let Some(ip) = client.ip() {
            *self.per_source.entry(ip).or_default() += 1;
        }
        self.held.insert(
            conn,
            Box::new(Held {
                client,
                local,
                ignored,
                spoke: false,
                since: at,
                deadline,
                not_before: None,
                attempt: None,
                present: true,
            }),
        );
    }

    /// Why it is not even held.
    fn refusal(
        &self,
        client: &ClientAddr,
        ignored: bool,
        deadline: Option<Timestamp>,
        cx: &Cx<'_>,
    ) -> Option<Refusal> {
        if !cx.definition.policy.access.admits(client) {
            Some(Refusal::Denied)
        } else if self.source_is_full(client) {
            Some(Refusal::TooManyFromSource)
        } else if self.retiring.is_some() {
            Some(Refusal::Ending)
        } else if ignored && !self.serves_ignored() {
            Some(Refusal::IgnoredAsleep)
        } else if deadline.is_some_and(|deadline| deadline <= cx.now) {
            Some(Refusal::HeldTooLong)
        } else {
            None
        }
    }

    pub(super) fn source_is_full(&self, client: &ClientAddr) -> bool {
        match (self.definition.policy.limits.per_source, client.ip()) {
            (Some(max), Some(ip)) => self.per_source.get(&ip).is_some_and(|count| *count >= max),
            _ => false,
        }
    }

    /// It may be on its way to a backend by now: where that fails, it is held again.
    pub(super) fn spoke(&mut self, conn: ConnId) {
        if self.held.change(conn, |held| held.spoke = true).is_some() {
            return;
        }
        let mut connecting = self
            .generations()
            .filter_map(|generation| generation.connecting.get_mut(&conn));
        if let Some(held) = connecting.next() {
            held.spoke = true;
        }
    }

    /// Whether there is a known destination to relay a monitor to.
    pub(super) fn serves_ignored(&self) -> bool {
        self.current.state() == State::Awake && !self.current.destinations.is_empty()
    }

    pub(super) fn forget(&mut self, conn: ConnId) {
        let Some(ip) = self.clients.remove(&conn).and_then(|client| client.ip()) else {
            return;
        };
        if let Some(count) = self.per_source.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&ip);
            }
        }
    }

    pub(super) fn refuse(&mut self, conn: ConnId, refusal: Refusal, cx: &mut Cx<'_>) {
        let Some(client) = self.clients.get(&conn).copied() else {
            return;
        };
        cx.out.push(Output::Refuse(conn, refusal.clone()));
        cx.report(Report::Refused {
            client,
            why: refusal,
            held: self.held_for(conn, cx.now),
        });
        self.drop_held(conn);
        self.forget(conn);
    }

    /// How long this client has been held; that goes on while it is being connected.
    fn held_for(&self, conn: ConnId, now: Timestamp) -> Duration {
        let mut generations = std::iter::once(&self.current).chain(&self.old);
        let held = self.held.get(conn).or_else(|| {
            generations.find_map(|generation| generation.connecting.get(&conn).map(Box::as_ref))
        });
        held.map_or(Duration::ZERO, |held| now.since(held.since))
    }

    /// The client is no more; its own START, if one runs, is still waited for.
    pub(super) fn drop_held(&mut self, conn: ConnId) {
        let starting = self.held.change(conn, |held| {
            held.present = false;
            held.not_before = None;
            held.attempt.is_some()
        });
        if starting == Some(false) {
            self.held.remove(conn);
        }
    }

    pub(super) fn gone(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        let held = self.held.get(conn).is_some_and(|held| held.present);
        // It left in the moment in which it was to be connected; what it took is given back when
        // its end is told.
        let connecting = self
            .generations()
            .any(|generation| generation.connecting.contains_key(&conn));
        if let Some(client) = self.clients.get(&conn).filter(|_| held || connecting) {
            cx.report(Report::GaveUp {
                client: *client,
                held: self.held_for(conn, cx.now),
            });
        }
        if held {
            self.drop_held(conn);
            self.forget(conn);
        }
    }
}
