//! Time passes, the configuration changes, the service ends.

use super::{Retiring, Service};
use crate::model::{ConnId, Definition};
use crate::service::generation::{Cx, Generation, Retire};
use crate::service::hold::Held;
use crate::service::lifecycle::State;
use crate::service::port::{Output, Refusal, Retirement};
use crate::service::wake::Wake;

impl Service {
    pub(super) fn tick(&mut self, cx: &mut Cx<'_>) {
        let held = self.in_use_by_held();
        for generation in self.generations() {
            generation.on_tick(held, cx);
        }
        for conn in self.held.matching(|held| held.attempt.is_some()) {
            self.advance(conn, Wake::on_tick, cx);
        }
        let now = cx.now;
        for (_, held) in self.held.iter_mut() {
            held.not_before = held.not_before.filter(|at| *at > now);
        }
        let overdue = move |held: &Held| held.present && held.deadline.is_some_and(|at| at <= now);
        for conn in self.held.matching(overdue) {
            self.refuse(conn, Refusal::HeldTooLong, cx);
        }
        let connecting: Vec<ConnId> = self
            .generations()
            .flat_map(|generation| &generation.connecting)
            .filter(|(_, held)| overdue(held))
            .map(|(conn, _)| *conn)
            .collect();
        for conn in connecting {
            self.refuse(conn, Refusal::HeldTooLong, cx);
            for generation in self.generations() {
                generation.not_connected(conn, cx);
            }
        }
        if self
            .retiring
            .is_some_and(|r| r.deadline.is_some_and(|at| at <= cx.now))
        {
            self.out_of_drain_time(cx);
        }
    }

    pub(super) fn out_of_drain_time(&mut self, cx: &mut Cx<'_>) {
        if let Some(retiring) = &mut self.retiring {
            retiring.deadline = None;
        }
        for conn in self.held.matching(|held| held.present) {
            self.refuse(conn, Refusal::Ending, cx);
        }
        for conn in self.held.matching(|held| held.attempt.is_some()) {
            self.give_up(conn, "DRAIN_TIMEOUT has passed", cx);
        }
    }

    // === configuration and end ===

    pub(super) fn configured(&mut self, old: &Definition, cx: &mut Cx<'_>) {
        let moved = old.targets != cx.definition.targets || old.mode() != cx.definition.mode();
        if !moved {
            return self.current.reconfigured(cx);
        }
        for conn in self.held.matching(|held| held.attempt.is_some()) {
            self.give_up(conn, "its configuration has changed", cx);
        }
        let fresh = Generation::asleep(cx.definition, cx.ids);
        let mut replaced = std::mem::replace(&mut self.current, fresh);
        let deadline = cx.now.plus(cx.definition.policy.timeouts.drain);
        replaced.retire(
            Retire {
                keep: false,
                deadline,
                replaced: true,
            },
            cx,
        );
        self.old.push(replaced);
        self.back_off.clear();
    }

    pub(super) fn retire(&mut self, how: Retirement, cx: &mut Cx<'_>) {
        let keep = how == Retirement::Keep;
        let deadline = cx.now.plus(cx.definition.policy.timeouts.drain);
        self.retiring = Some(Retiring { keep, deadline });
        self.wanted = None;
        let replaced = Retire {
            keep: false,
            deadline,
            replaced: false,
        };
        for old in &mut self.old {
            old.retire(replaced, cx);
        }
        self.current.retire(
            Retire {
                keep,
                deadline,
                replaced: false,
            },
            cx,
        );
    }

    /// Lets go of the generations that are gone.
    pub(super) fn bury(&mut self) {
        self.old
            .retain(|generation| generation.state() != State::Gone);
    }

    pub(super) fn finish(&mut self, cx: &mut Cx<'_>) {
        let over = self.retiring.is_some()
            && self.current.state() == State::Gone
            && self.old.is_empty()
            && self.held.is_empty();
        if over && !self.finished {
            self.finished = true;
            cx.out.push(Output::Finished);
        }
    }
}
