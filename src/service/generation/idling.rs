//! When a generation is idle: the last use, IDLE_CMD's rhythm, and what both say.

use std::sync::Arc;

use super::{Cx, Generation, Phase};
use crate::model::{Action, CommandOutcome, Definition, IdleOn, Timestamp};
use crate::service::idle;
use crate::service::idle::{Facts, Inquiry, Uptime, Verdict};
use crate::service::lifecycle::Event;
use crate::service::port::{Output, Report};

impl Generation {
    pub(super) fn next_inquiry(&self, definition: &Definition, now: Timestamp) -> Inquiry {
        match (&self.recipe.idle, idle::asks(&definition.policy.idle)) {
            (Some(_), Some(interval)) => Inquiry::At(now + interval),
            _ => Inquiry::None,
        }
    }

    /// The policy has changed under it.
    pub(in crate::service) fn reconfigured(&mut self, cx: &Cx<'_>) {
        if let Phase::Awake(inquiry @ (Inquiry::None | Inquiry::At(_))) = self.phase {
            let next = match (inquiry, self.next_inquiry(cx.definition, cx.now)) {
                // Reloads that come often must not put it off for ever.
                (Inquiry::At(before), Inquiry::At(anew)) => Inquiry::At(before.min(anew)),
                (_, next) => next,
            };
            self.phase = Phase::Awake(next);
        }
    }

    pub(super) fn facts(&self, definition: &Definition, held: bool) -> Option<Facts> {
        let inquiry = match self.phase {
            Phase::Awake(inquiry) => inquiry,
            Phase::Asleep => Inquiry::None,
            _ => return None,
        };
        let policy = &definition.policy.idle;
        // IDLE_CMD is set but never asked: idle sleep is off, as in sleeping-beauty.
        let mute = self.recipe.idle.is_some() && idle::asks(policy).is_none();
        let open = match policy.on {
            IdleOn::Connections => self.in_use(),
            IdleOn::Bytes | IdleOn::Command => self.connecting.values().any(|held| !held.ignored),
        };
        Some(Facts {
            uptime: self.uptime?,
            in_use: held || open,
            has_stop: self.can_stop() && !mute && self.retire.is_none(),
            inquiry,
        })
    }

    /// When it will be put to sleep if nobody uses it, as far as that is known.
    pub(in crate::service) fn sleeps_at(
        &self,
        definition: &Definition,
        held: bool,
    ) -> Option<Timestamp> {
        let facts = self.facts(definition, held)?;
        if !facts.has_stop || facts.in_use {
            return None;
        }
        idle::expiry(&definition.policy.idle, facts.uptime)
    }

    pub(super) fn judge_idle(&mut self, held: bool, sampled: bool, cx: &mut Cx<'_>) {
        let policy = cx.definition.policy.idle;
        let Some(facts) = self.facts(cx.definition, held) else {
            return;
        };
        match idle::judge(&policy, facts, cx.now) {
            Verdict::Later(_) => {}
            Verdict::Expired if policy.on == IdleOn::Bytes && !sampled && self.relays_open() => {
                cx.out.push(Output::SampleActivity(self.id));
            }
            Verdict::Expired => self.sleep(facts.uptime, cx),
            Verdict::Ask => {
                let Some(command) = self.recipe.idle.clone() else {
                    return;
                };
                let destination = self.destinations.first().cloned();
                let recipe = Arc::clone(&self.recipe);
                let id = cx.run(Action::Idle, &command, &recipe, destination, None);
                self.phase = Phase::Awake(Inquiry::Running(id));
            }
        }
    }

    pub(super) fn relays_open(&self) -> bool {
        self.relays.values().any(|relay| !relay.ignored)
    }

    pub(super) fn sleep(&mut self, uptime: Uptime, cx: &mut Cx<'_>) {
        cx.report(Report::Sleeping {
            idle: cx.now.since(uptime.last_use),
        });
        self.fire(Event::Idle, cx);
    }

    /// When the last byte moved. A relay that was busy is use; else it is time to sleep.
    pub(in crate::service) fn on_activity(
        &mut self,
        last: Option<Timestamp>,
        held: bool,
        cx: &mut Cx<'_>,
    ) {
        if let (Some(last), Some(uptime)) = (last, &mut self.uptime) {
            uptime.used(last);
        }
        let policy = cx.definition.policy.idle;
        let Some(facts) = self.facts(cx.definition, held) else {
            return;
        };
        let expired = idle::expiry(&policy, facts.uptime).is_some_and(|at| at <= cx.now);
        if expired && facts.has_stop && !facts.in_use {
            self.sleep(facts.uptime, cx);
        }
    }

    pub(super) fn inquired(&mut self, outcome: &CommandOutcome, held: bool, cx: &mut Cx<'_>) {
        self.phase = Phase::Awake(self.next_inquiry(cx.definition, cx.now));
        if !outcome.exit.success() {
            if !matches!(outcome.exit, crate::model::CommandExit::Exited(1..=125)) {
                cx.failed_command(Action::Idle, outcome, "taken for: somebody uses it");
            }
            self.used(cx.now, cx);
            return;
        }
        let policy = cx.definition.policy.idle;
        let Some(facts) = self.facts(cx.definition, held) else {
            return;
        };
        let expired = idle::expiry(&policy, facts.uptime).is_some_and(|at| at <= cx.now);
        if !expired || !facts.has_stop || facts.in_use {
            return;
        }
        if policy.on == IdleOn::Bytes && self.relays_open() {
            cx.out.push(Output::SampleActivity(self.id));
        } else {
            self.sleep(facts.uptime, cx);
        }
    }
}
