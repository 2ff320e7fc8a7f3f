//! Time: what will happen, and when.

use std::time::Duration;

use sleepingd::{model::Timestamp, service::Input};

use super::{Event, Step, World, ms};
use crate::promises::promise;

impl World {
    pub(super) fn schedule(&mut self, at: Timestamp, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    pub(super) fn soon(&mut self, most: u64) -> Timestamp {
        self.now + ms(self.choices.u64(0..most))
    }

    /// Lets time pass, and all that happens in it.
    pub(super) fn run_for(
        &mut self,
        span: Duration,
        mut enough: impl FnMut(&Self) -> bool,
    ) -> Step {
        let end = self.now + span;
        let mut ticks_now = 0;
        for _ in 0..200_000 {
            if enough(self) {
                return Ok(());
            }
            let event = self.events.keys().next().copied();
            let deadline = self.service.deadline();
            let next = match (event, deadline) {
                (Some((at, _)), Some(due)) => at.min(due),
                (Some((at, _)), None) => at,
                (None, Some(due)) => due,
                (None, None) => break,
            };
            if next > end {
                break;
            }
            if next > self.now {
                self.now = next;
                ticks_now = 0;
            }
            match event.filter(|(at, _)| *at <= self.now) {
                Some(key) => {
                    if let Some(event) = self.events.remove(&key) {
                        self.happen(event)?;
                    }
                }
                None => {
                    ticks_now += 1;
                    promise!(ticks_now < 50, "8: it ticks without end at {}", self.now);
                    self.tell_service(Input::Tick)?;
                }
            }
        }
        // A world that waits for its own end is not moved beyond it.
        if !enough(self) {
            self.now = self.now.max(end);
        }
        Ok(())
    }

    pub(super) fn happen(&mut self, event: Event) -> Step {
        match event {
            Event::Command(id, request, life) => self.command_ends(id, &request, life),
            Event::Probe(id, kind, destinations, life) => {
                self.probe_answers(id, kind, destinations, life)
            }
            Event::Connect(conn, candidates) => self.connect_ends(conn, &candidates),
            Event::RelayEnds(conn) => self.relay_ends(conn),
            Event::Leaves(conn) => self.leaves(conn),
            Event::BackendStarts(pid, life) => self.backend_starts(pid, life),
            Event::BackendFails(id, life) => self.backend_fails(id, life),
            Event::BackendExits(pid) => self.backend_exits(pid),
        }
    }
}
