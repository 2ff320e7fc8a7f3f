//! Time passes, the configuration changes, the service ends.

use super::{Retiring, Service};
use crate::model::{ConnId, Definition};
use crate::service::cx::Cx;
use crate::service::generation::{Generation, Retire};
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
        let now = cx.now;
        let overdue = move |held: &Held| held.present && held.deadline.is_some_and(|at| at <= now);
        let due = self.held.due_by(now);
        for conn in &due {
            self.advance(*conn, Wake::on_tick, cx);
        }
        for conn in due {
            self.held.change(conn, |held| {
                held.not_before = held.not_before.filter(|at| *at > now);
            });
            if self.held.get(conn).is_some_and(overdue) {
                self.refuse(conn, Refusal::HeldTooLong, cx);
            }
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
        for conn in self.held.attempts() {
            self.give_up(conn, "DRAIN_TIMEOUT has passed", cx);
        }
    }

    // === configuration and end ===

    pub(super) fn configured(&mut self, old: &Definition, cx: &mut Cx<'_>) {
        let moved = old.targets != cx.definition.targets || old.mode() != cx.definition.mode();
        if !moved {
            return self.current.reconfigured(cx);
        }
        for conn in self.held.attempts() {
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
                expired: false,
                hurried: false,
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
            expired: false,
            hurried: false,
        };
        for old in &mut self.old {
            old.retire(replaced, cx);
        }
        self.current.retire(
            Retire {
                keep,
                deadline,
                replaced: false,
                expired: false,
                hurried: false,
            },
            cx,
        );
    }

    /// There is no more time: what drains is cut, and what runs is killed.
    pub(super) fn hurry(&mut self, cx: &mut Cx<'_>) {
        let Some(retiring) = &mut self.retiring else {
            return;
        };
        retiring.deadline = Some(cx.now);
        for generation in self.generations() {
            generation.hurry(cx);
        }
        self.tick(cx);
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
