//! The clients of a generation: those that are connected, and the open relays.

use super::{Cx, Generation, Phase, Relay};
use crate::model::{ConnId, Destination, End, IdleOn, Timestamp};
use crate::service::hold::Held;
use crate::service::idle::Inquiry;
use crate::service::port::{Output, Report};

impl Generation {
    pub(in crate::service) fn connecting(&mut self, conn: ConnId, held: Box<Held>) {
        self.counted += usize::from(!held.ignored);
        self.connecting.insert(conn, held);
    }

    /// Whether this was one of its clients. After DRAIN_TIMEOUT it comes too late, and is cut like
    /// those that were relayed by then.
    pub(in crate::service) fn connected(
        &mut self,
        conn: ConnId,
        at: Destination,
        cx: &mut Cx<'_>,
    ) -> bool {
        let Some(held) = self.connecting.remove(&conn) else {
            return false;
        };
        self.relays.insert(
            conn,
            Relay {
                destination: at,
                ignored: held.ignored,
            },
        );
        self.settled = true;
        self.used_by_client(held.ignored, cx);
        let late = self.retire.is_some_and(|retire| retire.expired);
        if late && matches!(self.phase, Phase::Draining) {
            cx.out.push(Output::Cut(conn, End::DrainTimeout));
            cx.report(Report::DrainTimedOut(1));
        }
        self.connected_too_late(conn, cx);
        true
    }

    /// Takes a client out that is being connected.
    pub(in crate::service) fn not_connected(
        &mut self,
        conn: ConnId,
        cx: &mut Cx<'_>,
    ) -> Option<Box<Held>> {
        let held = self.connecting.remove(&conn)?;
        self.one_less(held.ignored, cx);
        Some(held)
    }

    /// Takes a relay out that has ended.
    pub(in crate::service) fn relay_ended(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        if let Some(relay) = self.relays.remove(&conn) {
            self.one_less(relay.ignored, cx);
        }
    }

    pub(super) fn one_less(&mut self, ignored: bool, cx: &mut Cx<'_>) {
        self.counted -= usize::from(!ignored);
        self.used_by_client(ignored, cx);
        self.check_drained(cx);
    }

    pub(super) fn used_by_client(&mut self, ignored: bool, cx: &Cx<'_>) {
        // IDLE_ON=command: clients are none of its business.
        if !ignored && cx.definition.policy.idle.on != IdleOn::Command {
            self.used(cx.now, cx);
        }
    }

    /// Somebody uses it, or has used it until now.
    pub(in crate::service) fn used(&mut self, at: Timestamp, cx: &Cx<'_>) {
        if let Some(uptime) = &mut self.uptime {
            uptime.used(at);
        }
        if let Phase::Awake(Inquiry::At(_)) = self.phase {
            self.phase = Phase::Awake(self.next_inquiry(cx.definition, cx.now));
        }
    }
}
