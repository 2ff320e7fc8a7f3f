//! What must hold after each step, seen from outside.

use sleepingd::service::{Report, lifecycle::State};

use super::{Step, World};
use crate::promises::{Stage, promise};

impl World {
    /// What a report announces has been done by the end of the step.
    pub(super) fn follows(&self, report: &Report, stops_before: usize) -> Step {
        let seen = self.service.snapshot(self.now).state;
        match report {
            Report::Sleeping { .. } => {
                promise!(
                    self.account.stops > stops_before,
                    "5: put to sleep without STOP"
                );
            }
            // Awake; or asked again where it is, for nobody has said.
            Report::StillUp(_) if self.account.retiring.is_none() && self.old_ones == 0 => {
                promise!(
                    matches!(seen, State::Awake | State::Waking),
                    "STOP did not take, and it is {seen:?}"
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// Promise 2: whoever waits is waited for by something.
    pub(super) fn nobody_is_forgotten(&self) -> Step {
        let seen = self.service.snapshot(self.now);
        let idle = seen.state == State::Asleep
            && seen.draining.is_empty()
            && seen.back_off_until.is_none()
            && self.account.retiring.is_none();
        let waiting = self.account.clients.iter().find(|(_, client)| {
            client.stage == Stage::Held
                && !client.ignored
                && !client.denied
                && (client.spoke || !self.terms.on_data)
        });
        promise!(
            !idle || waiting.is_none(),
            "2: nothing is done for {waiting:?}"
        );
        Ok(())
    }

    /// Promise 6: what is awake is written down at each change.
    pub(super) fn written_down(&self) -> Step {
        let seen = self.service.snapshot(self.now);
        if seen.state != State::Awake || self.finished {
            return Ok(());
        }
        let Some(record) = &self.record else {
            return Err("6: awake, but not written down".into());
        };
        promise!(
            Some(record.since) == seen.since && record.destinations == seen.destinations,
            "6: since when, or where, it is awake is written down wrong"
        );
        let used = self.account.clients.values().any(|client| {
            !client.ignored && matches!(client.stage, Stage::Relayed | Stage::Connecting)
        });
        promise!(
            !used || record.in_use,
            "6: it is in use, and not written down so"
        );
        Ok(())
    }
}
