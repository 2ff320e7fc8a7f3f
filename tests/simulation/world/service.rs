//! The service: it is told, and what it answers is carried out.

use sleepingd::{
    model::{GenerationId, Timestamp},
    service::{Input, Output, ProbeKind, Report},
};

use super::{Event, Step, World, ms};
use crate::promises::{Stage, promise};

/// What one answer of the service has brought so far.
#[derive(Default)]
struct Turn {
    /// A wake failed, or a START did.
    failed: bool,
    /// It was put to sleep.
    slept: bool,
    reports: Vec<Report>,
    /// Of which generations it asks when they last moved a byte.
    asked: Vec<GenerationId>,
}

impl World {
    pub(super) fn tell_service(&mut self, input: Input) -> Step {
        self.say(format_args!("<- {input:?}"));
        let outputs = self.service.handle(self.now, input);
        self.carry_out(outputs)
    }

    pub(super) fn carry_out(&mut self, outputs: Vec<Output>) -> Step {
        let stops = self.account.stops;
        let looks = outputs
            .iter()
            .any(|output| matches!(output, Output::Probe(_, ProbeKind::Look, _)));
        let mut turn = Turn {
            failed: outputs.iter().any(is_failure),
            ..Turn::default()
        };
        for output in outputs {
            self.say(format_args!("   -> {output:?}"));
            self.carry_out_one(output, &mut turn)?;
        }
        for report in &turn.reports {
            self.account.all_were_told(report, &self.terms)?;
            self.follows(report, stops)?;
            promise!(
                !(looks && matches!(report, Report::Lost(_))),
                "a connect has just failed, and it is looked whether one would succeed"
            );
        }
        self.account.each_end_was_told_once()?;
        self.nobody_is_forgotten()?;
        self.written_down()?;
        self.processes_are_written_down()?;
        for id in turn.asked {
            let last = self.last_byte();
            self.tell_service(Input::Activity(id, last))?;
        }
        Ok(())
    }

    fn carry_out_one(&mut self, output: Output, turn: &mut Turn) -> Step {
        match output {
            Output::Run(id, request) => self.command_begins(id, request)?,
            Output::CancelCommand(id) => {
                self.account.may_cancel(id, &self.terms, self.now)?;
                if let Some(running) = self.account.running.get_mut(&id) {
                    running.cancelled = true;
                }
            }
            Output::StartBackend(id, request) => self.backend_begins(id, &request)?,
            Output::StopBackend(id, _) => self.backend_is_stopped(id, false)?,
            Output::KillBackend(id) => self.backend_is_stopped(id, true)?,
            Output::BackendGone(conn) => self.backend_is_gone(conn)?,
            Output::Probe(id, kind, destinations) => {
                let at = self.soon(20);
                self.schedule(at, Event::Probe(id, kind, destinations, self.life));
            }
            Output::CancelProbe(id) => {
                self.account.cancelled_probes.insert(id);
            }
            Output::Connect {
                conn, candidates, ..
            } => {
                self.account.may_connect(conn, &self.terms, self.now)?;
                promise!(!candidates.is_empty(), "a client is connected to nowhere");
                self.set_stage(conn, Stage::Connecting);
                let at = self.soon(10);
                self.schedule(at, Event::Connect(conn, candidates));
            }
            Output::Refuse(conn, why) => {
                self.account
                    .may_refuse(conn, &why, turn.failed, &self.terms, self.now)?;
                self.account.has_ended(conn, self.now);
            }
            Output::Cut(conn, _) => {
                self.account.may_cut(conn, turn.slept, self.now)?;
                self.schedule(self.now, Event::RelayEnds(conn));
            }
            Output::SampleActivity(id) => turn.asked.push(id),
            Output::Persist(record) => self.record = record.map(|record| *record),
            Output::Report(report) => {
                turn.slept |= matches!(report, Report::Asleep { .. });
                self.reported(&report)?;
                turn.reports.push(report);
            }
            Output::Finished => self.finishes()?,
        }
        Ok(())
    }

    pub(super) fn finishes(&mut self) -> Step {
        promise!(!self.finished, "it ends twice");
        self.finished = true;
        promise!(
            self.relayed().is_empty(),
            "relays are left behind at the end"
        );
        Ok(())
    }

    pub(super) fn last_byte(&mut self) -> Option<Timestamp> {
        if self.relayed().is_empty() {
            return None;
        }
        let ago = if self.chance(30) {
            ms(self.choices.u64(0..2_000))
        } else {
            ms(100_000)
        };
        let at = self.now - ago;
        self.account.last_use = self.account.last_use.map(|last| last.max(at));
        Some(at)
    }

    pub(super) fn reported(&mut self, report: &Report) -> Step {
        let seen = self.service.snapshot(self.now);
        let account = &mut self.account;
        match report {
            Report::Waking(cause) => {
                account.wake_began = Some(self.now);
                promise!(
                    account.not_before.is_none_or(|at| self.now >= at),
                    "3: a wake for {cause} within the back-off"
                );
            }
            Report::Woken { started, .. } => {
                account.last_use = Some(self.now);
                if *started || account.awake_since.is_none() {
                    account.awake_since = Some(self.now);
                }
                account.evidence_down = false;
                account.not_before = None;
                account.wake_began = None;
            }
            Report::Adopted(_) => {
                account.last_use = Some(self.now);
                account.awake_since = Some(self.now);
                account.evidence_down = false;
                account.not_before = None;
            }
            Report::WakeFailed { back_off, .. } => {
                account.not_before = back_off.map(|pause| self.now + pause);
                account.wake_began = None;
                // What START may have left is put to sleep like any other.
                account.awake_since = seen.since;
                account.last_use = seen.last_use;
            }
            Report::Refused { held, .. } | Report::GaveUp { held, .. } => {
                account.told.another(*held);
            }
            Report::BackendEnded { back_off, .. } => {
                account.not_before = back_off.map(|pause| self.now + pause);
                account.awake_since = None;
                account.last_use = None;
            }
            Report::NotThere => {
                account.awake_since = None;
                account.last_use = None;
            }
            Report::Sleeping { .. } => account.may_sleep(&self.terms, self.now)?,
            Report::Asleep { .. } => {
                account.stopping = false;
                account.awake_since = None;
                account.last_use = None;
                account.evidence_down = true;
            }
            Report::StillUp(_) => {
                account.stopping = false;
                account.last_use = Some(self.now);
            }
            _ => {}
        }
        Ok(())
    }
}

fn is_failure(output: &Output) -> bool {
    matches!(
        output,
        Output::Report(Report::WakeFailed { .. } | Report::StartFailed { .. })
    )
}
