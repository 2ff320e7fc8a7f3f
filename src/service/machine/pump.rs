//! After each step: what has failed is told, and whatever can be moved on is moved on.

use super::{MAX_STARTS, Service};
use crate::model::{ClientAddr, LocalAddr, Mode, Timestamp, WakeOn};
use crate::service::cx::Cx;
use crate::service::lifecycle::State;
use crate::service::port::{Cause, Refusal, Report};

impl Service {
    /// Wakes that have failed: their clients are reset now, not at the end of a timeout.
    pub(super) fn settle_accounts(&mut self, cx: &mut Cx<'_>) {
        if self.current.state() == State::Awake {
            match self.current.backend {
                Some(_) => self.back_off.on_trial(),
                None => self.back_off.clear(),
            }
            self.wanted = None;
        }
        let Some(failure) = self.current.failure.take() else {
            return;
        };
        if failure.adopting {
            if self.persisted.is_some() && !failure.runs_on {
                cx.report(Report::NotThere);
            }
            return;
        }
        self.wanted = None;
        let on_data = self.definition.policy.wake_on == WakeOn::Data;
        let waiting = self.held.matching(|held| held.wants_wake(on_data));
        // With nothing to start, trying again costs nothing.
        let back_off = failure.started.then(|| self.back_off.failed(cx.now));
        cx.report(Report::WakeFailed {
            why: if failure.runs_on {
                format!("{}; COMMAND goes on running", failure.why)
            } else {
                failure.why
            },
            refused: waiting.len(),
            back_off,
        });
        for conn in waiting {
            self.refuse(conn, Refusal::WakeFailed, cx);
        }
    }

    /// Moves on whatever can be moved on: connects held clients, begins wakes, ends generations.
    pub(super) fn pump(&mut self, cx: &mut Cx<'_>) {
        // Each round either changes the state or is the last; a bound turns a mistake into a
        // client that waits for its deadline instead of a daemon that hangs.
        for _ in 0..8 {
            self.bury();
            let before = (self.current.state(), self.old.len());
            match before.0 {
                State::Awake => self.release(cx),
                State::Waking => self.begin_first_attempts(cx),
                State::Asleep => self.begin_wake(cx),
                State::Stopping => {}
                State::Draining | State::Ending | State::Gone => self.refuse_held(cx),
            }
            for generation in self.generations() {
                generation.retire_if_due(cx);
            }
            self.settle_accounts(cx);
            // The last of the old may be what the new one waits for.
            self.bury();
            if (self.current.state(), self.old.len()) == before {
                break;
            }
        }
    }

    /// Awake: held clients are connected.
    pub(super) fn release(&mut self, cx: &mut Cx<'_>) {
        if self.current.mode == Mode::PerConnection {
            for conn in self
                .held
                .matching(|held| held.ignored && held.may_connect(cx.now))
            {
                let candidates = self.candidates(cx);
                self.connect(conn, candidates, cx);
            }
            return self.begin_attempts(cx);
        }
        for conn in self.held.matching(|held| held.may_connect(cx.now)) {
            if self.current.destinations.is_empty() {
                // It runs, but nobody has said where: START is asked.
                let Some(held) = self.held.get(conn) else {
                    return;
                };
                let client = (held.client, held.local.clone());
                return self
                    .current
                    .wake(Cause::Client(client.0), Some(client), None, cx);
            }
            let candidates = self.candidates(cx);
            self.connect(conn, candidates, cx);
        }
    }

    pub(super) fn begin_first_attempts(&mut self, cx: &mut Cx<'_>) {
        if self.current.mode != Mode::PerConnection || !self.current.wakes_by_attempts() {
            return;
        }
        self.begin_attempts(cx);
        // Who wanted it has left meanwhile.
        if !self.held.has_attempts() {
            self.current.attempts_failed(false, cx);
        }
    }

    pub(super) fn begin_attempts(&mut self, cx: &mut Cx<'_>) {
        if self.current.mode != Mode::PerConnection {
            return;
        }
        let on_data = self.definition.policy.wake_on == WakeOn::Data;
        let ready = self
            .held
            .matching(|held| held.may_connect(cx.now) && held.wants_wake(on_data));
        for conn in ready {
            if self.held.starting() >= MAX_STARTS {
                break;
            }
            self.attempt(conn, cx);
        }
    }

    /// Who a sleeping service would be woken for.
    pub(super) fn wake_cause(&self) -> Option<(Cause, Option<(ClientAddr, LocalAddr)>)> {
        let on_data = self.definition.policy.wake_on == WakeOn::Data;
        let client = self.held.iter().find(|(_, held)| held.wants_wake(on_data));
        match client {
            Some((_, held)) => Some((
                Cause::Client(held.client),
                Some((held.client, held.local.clone())),
            )),
            None => self.wanted.map(|cause| (cause, None)),
        }
    }

    /// The end of the back-off, while it is waited for.
    pub(super) fn back_off_end(&self) -> Option<Timestamp> {
        let waits = self.current.state() == State::Asleep && self.old.is_empty();
        waits.then(|| self.back_off.until(Timestamp::BOOT))?
    }

    pub(super) fn begin_wake(&mut self, cx: &mut Cx<'_>) {
        if self.retiring.is_some() {
            return self.refuse_held(cx);
        }
        // The old backend must be gone before the new one comes.
        if !self.old.is_empty() || self.back_off.until(cx.now).is_some() {
            return;
        }
        if let Some((cause, client)) = self.wake_cause() {
            self.current.wake(cause, client, None, cx);
        }
    }

    pub(super) fn refuse_held(&mut self, cx: &mut Cx<'_>) {
        for conn in self.held.matching(|held| held.present) {
            self.refuse(conn, Refusal::Ending, cx);
        }
    }

    /// Whether held clients keep it awake.
    pub(super) fn in_use_by_held(&self) -> bool {
        self.held.iter().any(|(_, held)| !held.ignored)
    }
}
