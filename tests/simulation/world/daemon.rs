//! The daemon that the service lives in: it begins, crashes, is restarted, and ends.

use std::sync::Arc;

use sleepingd::service::{Input, Retirement, Service, lifecycle::State};

use super::{Step, World, ms};
use crate::promises::{Retiring, Stage, promise};

impl World {
    pub(super) fn begin(&mut self) -> Step {
        let outputs = self.service.start(self.now);
        self.carry_out(outputs)
    }

    /// SIGKILL: what was written down is all that the next daemon knows.
    pub(super) fn daemon_crashes(&mut self) -> Step {
        self.say(format_args!("the daemon crashes"));
        self.next_daemon()
    }

    pub(super) fn next_daemon(&mut self) -> Step {
        for client in self.account.clients.values_mut() {
            client.stage = Stage::Over;
        }
        self.life += 1;
        self.finished = false;
        self.processes_are_found();
        let seed = self.choices.u64(0..u64::MAX);
        self.service = Service::new(
            Arc::clone(&self.definition),
            self.table.clone(),
            self.record.clone(),
            seed,
            self.now,
        );
        let seen = self.service.snapshot(self.now);
        self.processes_are_adopted()?;
        let account = std::mem::take(&mut self.account);
        self.account.clients = account.clients;
        self.account.evidence_down = self.record.is_none();
        self.account.replaced_until = account.replaced_until;
        if let Some(record) = &self.record {
            promise!(
                seen.state == State::Awake,
                "6: what was awake is {:?}",
                seen.state
            );
            let last_use = if record.in_use {
                self.now
            } else {
                record.last_use
            };
            promise!(
                seen.last_use == Some(last_use),
                "6: the idle clock starts at a restart"
            );
            promise!(
                seen.since == Some(record.since),
                "6: since when it is awake was forgotten"
            );
            self.account.last_use = Some(last_use);
            self.account.awake_since = Some(record.since);
        }
        self.begin()
    }

    pub(super) fn daemon_restarts(&mut self) -> Step {
        self.say(format_args!("the daemon is restarted"));
        let was_awake = self.service.snapshot(self.now).state == State::Awake;
        let began = self.now;
        self.retire(Retirement::Keep)?;
        let has_ended = self.account.backend_ended.is_some_and(|at| at >= began);
        promise!(
            !was_awake || has_ended || self.record.is_some(),
            "6: a restart forgets what is awake"
        );
        self.none_is_lost()?;
        self.next_daemon()
    }

    pub(super) fn end(&mut self) -> Step {
        self.say(format_args!("the daemon is stopped"));
        let seen = self.service.snapshot(self.now);
        let (stops, awake) = (self.account.stops, seen.state == State::Awake);
        let has_stop = self.definition.recipe.stop.is_some() || !self.processes.is_empty();
        self.stubborn = self.chance(30);
        self.retire(Retirement::Stop)?;
        self.nothing_runs()?;
        promise!(
            !awake || !has_stop || self.account.stops > stops,
            "STOP did not run at the end, for a service that was awake"
        );
        promise!(
            self.stubborn || self.account.hurried || self.record.is_none(),
            "what was stopped is still written down as awake"
        );
        Ok(())
    }

    pub(super) fn retire(&mut self, how: Retirement) -> Step {
        let keep = how == Retirement::Keep;
        self.account.retiring = Some(Retiring {
            keep,
            deadline: self.now.plus(self.definition.policy.timeouts.drain),
        });
        self.tell_service(Input::Retire(how))?;
        if self.chance(20) {
            let pause = ms(self.choices.u64(0..2_000));
            self.run_for(pause, |world| world.finished)?;
            self.account.hurried = true;
            self.tell_service(Input::Hurry)?;
            self.run_for(ms(30_000), |world| world.finished)?;
            promise!(self.finished, "it was told to end at once, and does not");
        }
        self.run_for(ms(400_000), |world| world.finished)?;
        promise!(self.finished, "the service never ends");
        promise!(
            self.account.open() == 0,
            "clients are left at the end: {:?}",
            self.account.clients
        );
        Ok(())
    }
}
