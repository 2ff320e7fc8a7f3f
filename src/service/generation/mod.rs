//! One generation of a backend: its state, what it does on entering one, and what ends it.

mod backend;
mod clients;
mod ending;
mod idling;
mod waking;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

pub(super) use self::backend::Backend;
use super::{
    cx::{Cx, Ids},
    hold::Held,
    idle::{self, Inquiry, Uptime, Verdict},
    lifecycle::{Event, State},
    port::{Output, ProbeVerdict, Report},
    record::Record,
    stop::Stop,
    wake::{Beginning, Wake},
};
use crate::model::{
    CommandId, CommandOutcome, ConnId, ConnMap, Definition, Destination, GenerationId, Mode,
    ProbeId, Recipe, Timestamp,
};

/// One step follows a handful of arrows; a table that leads in circles must not hang the daemon.
const MOST_ARROWS: usize = 64;

/// One generation.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) id: GenerationId,
    pub(super) mode: Mode,
    /// TARGET, as it was when this generation came to be.
    pub(super) targets: Vec<Destination>,
    /// What woke it; what puts it to sleep.
    pub(super) recipe: Arc<Recipe>,
    /// Where it is, while it is awake.
    pub(super) destinations: Vec<Destination>,
    /// While it is awake, or may have left something running.
    pub(super) uptime: Option<Uptime>,
    /// COMMAND, while it runs.
    pub(super) backend: Option<Backend>,
    /// Whether a connection has been made since its START: until then a backend that accepts and
    /// closes is taken for one that is not ready.
    pub(super) settled: bool,
    /// Clients that are being connected; they are held again if no destination can be reached.
    pub(super) connecting: BTreeMap<ConnId, Box<Held>>,
    /// Open relays.
    pub(super) relays: ConnMap<Relay>,
    /// How many of both keep it awake (monitors do not): counted, for there may be thousands.
    counted: usize,
    /// Whether it is to end, once it is Asleep or Awake.
    pub(super) retire: Option<Retire>,
    /// Why the last wake failed; taken by the service.
    pub(super) failure: Option<WakeFailure>,
    /// What the next wake begins from.
    next_wake: Option<Beginning>,
    phase: Phase,
}

/// An open relay.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) destination: Destination,
    ignored: bool,
}

/// How a generation is to end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retire {
    /// The backend is to survive.
    pub(super) keep: bool,
    /// Until when open relays, and a wake under way, may take.
    pub(super) deadline: Option<Timestamp>,
    /// Whether another generation waits for this one's backend to be gone.
    pub(super) replaced: bool,
    /// There is no time left: COMMAND is killed.
    pub(super) hurried: bool,
    /// The deadline has passed: what it finds open when it comes to drain is cut at once.
    pub(super) expired: bool,
}

/// Why a wake failed.
#[derive(Debug)]
pub(super) struct WakeFailure {
    pub(super) why: String,
    /// It was only looked for.
    pub(super) adopting: bool,
    /// Whether trying again would run a command.
    pub(super) started: bool,
    /// Its COMMAND goes on running.
    pub(super) runs_on: bool,
}

/// A state with what belongs to it.
#[derive(Debug)]
enum Phase {
    Asleep,
    /// `None`: START decides for each connection, and each held client has a wake of its own.
    Waking(Option<Wake>),
    Awake(Inquiry),
    Stopping(Stop),
    Draining,
    Ending(Stop),
    Gone,
}

// === impl Generation ===

impl Generation {
    pub(super) fn asleep(definition: &Definition, ids: &mut Ids) -> Self {
        Self {
            id: ids.next_generation(),
            mode: definition.mode(),
            targets: definition.targets.clone(),
            recipe: Arc::clone(&definition.recipe),
            destinations: definition.targets.clone(),
            uptime: None,
            backend: None,
            settled: true,
            connecting: BTreeMap::new(),
            relays: ConnMap::default(),
            counted: 0,
            retire: None,
            failure: None,
            next_wake: None,
            phase: Phase::Asleep,
        }
    }

    /// As the last daemon left it.
    pub(super) fn restored(
        definition: &Definition,
        ids: &mut Ids,
        record: &Record,
        now: Timestamp,
    ) -> Self {
        let mut generation = Self::asleep(definition, ids);
        generation.uptime = Some(Uptime {
            since: record.since,
            last_use: if record.in_use { now } else { record.last_use },
        });
        generation.backend = record
            .backend
            .as_ref()
            .map(|backend| Backend::restored(backend, ids.next_backend()));
        if generation.mode != Mode::Fixed {
            generation.destinations.clone_from(&record.destinations);
        }
        generation.phase = Phase::Awake(generation.next_inquiry(definition, now));
        generation
    }

    /// Of targets that are no longer those of the section: it ends, and another takes its place.
    pub(super) fn replaced(
        mut self,
        targets: Vec<Destination>,
        deadline: Option<Timestamp>,
    ) -> Self {
        self.destinations.clone_from(&targets);
        self.targets = targets;
        self.retire = Some(Retire {
            keep: false,
            deadline,
            replaced: true,
            expired: false,
            hurried: false,
        });
        self
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Asleep => State::Asleep,
            Phase::Waking(_) => State::Waking,
            Phase::Awake(_) => State::Awake,
            Phase::Stopping(_) => State::Stopping,
            Phase::Draining => State::Draining,
            Phase::Ending(_) => State::Ending,
            Phase::Gone => State::Gone,
        }
    }

    /// Whether an open relay, or a connect that is to become one, keeps it awake.
    pub(super) fn in_use(&self) -> bool {
        self.counted > 0
    }

    /// Follows the arrow of this event, and does what the state it leads to does on entry.
    pub(super) fn fire(&mut self, event: Event, cx: &mut Cx<'_>) {
        let from = self.state();
        cx.followed += 1;
        match cx.table.next(from, event) {
            Some(to) if cx.followed <= MOST_ARROWS => {
                // Its answer would be about a state that is no more; and it may hang.
                if let Phase::Awake(Inquiry::Running(id)) = self.phase {
                    cx.out.push(Output::CancelCommand(id));
                }
                self.enter(to, cx);
            }
            _ => cx.report(Report::NoArrow(from, event)),
        }
    }

    fn enter(&mut self, state: State, cx: &mut Cx<'_>) {
        match state {
            State::Asleep => self.phase = Phase::Asleep,
            State::Waking => self.enter_waking(cx),
            State::Awake => {
                if self.uptime.is_none() {
                    self.uptime = Some(Uptime::fresh(cx.now));
                }
                self.phase = Phase::Awake(self.next_inquiry(cx.definition, cx.now));
            }
            State::Stopping => {
                let (stop, progress) = self.begin_stop(true, cx);
                self.phase = Phase::Stopping(stop);
                self.stop_progress(progress, cx);
            }
            State::Draining => {
                self.phase = Phase::Draining;
                if self.retire.is_some_and(|retire| retire.expired) {
                    self.cut_drained(cx);
                }
                self.check_drained(cx);
            }
            State::Ending => {
                let thorough = self.retire.is_some_and(|retire| retire.replaced);
                let (stop, progress) = self.begin_stop(thorough, cx);
                self.phase = Phase::Ending(stop);
                // Nothing of it runs: there is nothing to stop.
                if self.uptime.is_none() {
                    self.fire(Event::Stopped, cx);
                } else {
                    self.stop_progress(progress, cx);
                }
            }
            State::Gone => self.phase = Phase::Gone,
        }
    }

    // === inputs ===

    pub(super) fn owns_command(&self, id: CommandId) -> bool {
        match &self.phase {
            Phase::Waking(Some(wake)) => wake.owns_command(id),
            Phase::Awake(Inquiry::Running(own)) => *own == id,
            Phase::Stopping(stop) | Phase::Ending(stop) => stop.owns_command(id),
            _ => false,
        }
    }

    pub(super) fn owns_probe(&self, id: ProbeId) -> bool {
        match &self.phase {
            Phase::Waking(Some(wake)) => wake.owns_probe(id),
            Phase::Stopping(stop) | Phase::Ending(stop) => stop.owns_probe(id),
            _ => false,
        }
    }

    pub(super) fn on_command(&mut self, outcome: &CommandOutcome, held: bool, cx: &mut Cx<'_>) {
        match &mut self.phase {
            Phase::Waking(Some(wake)) => {
                let progress = wake.on_command(outcome, cx);
                self.wake_progress(progress, cx);
            }
            Phase::Awake(_) => self.inquired(outcome, held, cx),
            Phase::Stopping(stop) | Phase::Ending(stop) => {
                let progress = stop.on_command(outcome, cx);
                self.stop_progress(progress, cx);
            }
            _ => {}
        }
    }

    pub(super) fn on_probe(&mut self, verdict: ProbeVerdict, cx: &mut Cx<'_>) {
        match &mut self.phase {
            Phase::Waking(Some(wake)) => {
                let progress = wake.on_probe(verdict, cx);
                self.wake_progress(progress, cx);
            }
            Phase::Stopping(stop) | Phase::Ending(stop) => {
                let progress = stop.on_probe(&verdict, cx);
                self.stop_progress(progress, cx);
            }
            _ => {}
        }
    }

    /// The next moment at which [`Self::on_tick`] has something to do.
    pub(super) fn due(&self, definition: &Definition, held: bool) -> Option<Timestamp> {
        let drain = self.retire.and_then(|retire| retire.deadline);
        match &self.phase {
            Phase::Waking(wake) => [wake.as_ref().and_then(Wake::due), drain]
                .into_iter()
                .flatten()
                .min(),
            Phase::Stopping(stop) | Phase::Ending(stop) => stop.due(),
            Phase::Draining => drain,
            Phase::Awake(_) | Phase::Asleep => {
                let facts = self.facts(definition, held)?;
                match idle::judge(&definition.policy.idle, facts, Timestamp::BOOT) {
                    Verdict::Later(at) => at,
                    // Judged at boot, everything is later but what is due from the beginning.
                    Verdict::Expired | Verdict::Ask => Some(Timestamp::BOOT),
                }
            }
            Phase::Gone => None,
        }
    }

    pub(super) fn on_tick(&mut self, held: bool, cx: &mut Cx<'_>) {
        let out_of_time = self
            .retire
            .and_then(|retire| retire.deadline)
            .is_some_and(|deadline| deadline <= cx.now);
        if let Some(retire) = self.retire.as_mut().filter(|_| out_of_time) {
            // What follows from it happens once: now, or when it comes to drain.
            retire.deadline = None;
            retire.expired = true;
        }
        match &mut self.phase {
            Phase::Waking(Some(wake)) => {
                let progress = if out_of_time {
                    wake.give_up("DRAIN_TIMEOUT has passed", cx)
                } else {
                    wake.on_tick(cx)
                };
                self.wake_progress(progress, cx);
            }
            Phase::Stopping(stop) | Phase::Ending(stop) => {
                let progress = stop.on_tick(cx);
                self.stop_progress(progress, cx);
            }
            Phase::Draining if out_of_time => self.cut_drained(cx),
            Phase::Awake(_) | Phase::Asleep => self.judge_idle(held, false, cx),
            _ => {}
        }
    }

    /// SETTLE_TIME, until a connection of this wake has been made.
    pub(super) fn settle(&self, definition: &Definition) -> Duration {
        if self.settled {
            Duration::ZERO
        } else {
            definition.policy.timeouts.settle
        }
    }
}
