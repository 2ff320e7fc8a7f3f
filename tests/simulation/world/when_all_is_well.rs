//! What must come about when nothing fails any more.

use sleepingd::{
    model::ConnId,
    service::{Input, lifecycle::State},
};

use super::{Step, World, group, ms};
use crate::promises::{Stage, promise};

impl World {
    pub(super) fn nobody_waits(&mut self) -> Step {
        let held = self.account.held();
        promise!(held == 0, "2: {held} clients wait for ever");
        Ok(())
    }

    pub(super) fn a_fresh_client_is_served(&mut self) -> Step {
        self.client_arrives(Some(7))?;
        let conn = ConnId(self.next_conn);
        if let Some(client) = self.account.clients.get_mut(&conn) {
            client.spoke = true;
        }
        self.tell_service(Input::ClientSpoke(conn))?;
        let served = |world: &Self| {
            world
                .account
                .clients
                .get(&conn)
                .is_some_and(|client| client.stage == Stage::Relayed)
        };
        let mut seen = served(self);
        self.run_for(ms(50_000), |world| {
            seen |= served(world);
            seen
        })?;
        let ours = group(self.definition.targets.first());
        let recipe = &self.definition.recipe;
        let starts = recipe.start.is_some() || recipe.command.is_some();
        let wakeable = starts || self.runs(ours);
        promise!(
            seen || !wakeable,
            "2: a client of a service that can be woken is not served"
        );
        Ok(())
    }

    pub(super) fn idle_ends_in_sleep(&mut self) -> Step {
        let supervised = !self.processes.is_empty();
        self.run_for(ms(200_000), |_| false)?;
        let seen = self.service.snapshot(self.now);
        let (recipe, idle) = (&self.definition.recipe, &self.definition.policy.idle);
        let asked = recipe.idle.is_none() || idle.check_interval.is_some();
        if (recipe.stop.is_some() || supervised) && idle.after.is_some() && asked {
            promise!(seen.state == State::Asleep, "5: idle, but {:?}", seen.state);
            promise!(
                self.service.deadline().is_none(),
                "8: asleep, but it wants to be woken at {:?}",
                self.service.deadline()
            );
        }
        Ok(())
    }
}
