//! The service: admits clients, holds them, wakes a generation, has them relayed, puts it to
//! sleep.

mod attempts;
mod backends;
mod clients;
mod connects;
mod ending;
mod memory;
mod pump;

use crate::service::port::Refusal;
use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use super::{
    backoff::BackOff,
    cx::{Cx, Ids},
    generation::Generation,
    hold::HoldQueue,
    lifecycle::{State, Table},
    port::{Cause, Input, Output, ProbeVerdict},
    record::Record,
};
use crate::model::{
    ClientAddr, CommandId, CommandOutcome, ConnMap, Definition, Destination, Mode, ProbeId,
    Timestamp,
};

/// STARTs of a START-per-connection service that run at once; the clients beyond are held.
const MAX_STARTS: usize = 16;

/// Between two connects of one client to a backend that was said to be ready.
const RECONNECT: Duration = Duration::from_millis(100);

/// How long a backend that was started, and was never reached, may refuse before it is taken for
/// dead.
const GRACE: Duration = Duration::from_secs(2);

/// A use that ends is written down this much later, unless another has begun by then: a service
/// with many short connections does not write twice for each. A crash within it errs on the side
/// of "in use".
const PERSIST_DELAY: Duration = Duration::from_secs(1);

/// One service.
#[derive(Debug)]
pub struct Service {
    definition: Arc<Definition>,
    table: Table,
    current: Generation,
    /// Those that drain, or stop, because their target was changed.
    old: Vec<Generation>,
    held: HoldQueue,
    back_off: BackOff,
    /// Somebody other than a client wants it awake.
    wanted: Option<Cause>,
    /// Every client that is held or relayed.
    clients: ConnMap<ClientAddr>,
    per_source: HashMap<IpAddr, usize>,
    retiring: Option<Retiring>,
    persisted: Option<Record>,
    finished: bool,
    turn: usize,
    rng: fastrand::Rng,
    ids: Ids,
}

#[derive(Debug, Clone, Copy)]
struct Retiring {
    keep: bool,
    deadline: Option<Timestamp>,
}

/// What a service looks like from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The state of the current generation.
    pub state: State,
    /// Since when it is awake.
    pub since: Option<Timestamp>,
    /// When it was last used.
    pub last_use: Option<Timestamp>,
    /// When it will be put to sleep, if nobody uses it until then.
    pub sleeps_at: Option<Timestamp>,
    /// Held clients.
    pub held: usize,
    /// Open relays, of all generations.
    pub relays: usize,
    /// Where the backend is.
    pub destinations: Vec<Destination>,
    /// Wakes that failed since the last that did not.
    pub failures: u32,
    /// No wake before this moment.
    pub back_off_until: Option<Timestamp>,
    /// Whether a COMMAND of ours runs, in whatever state.
    pub supervised: bool,
    /// The generations that drain.
    pub draining: Vec<DrainingSnapshot>,
}

/// What a generation that drains looks like from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainingSnapshot {
    /// Which one.
    pub generation: u64,
    /// Where its backend is.
    pub destinations: Vec<Destination>,
    /// Its open relays.
    pub relays: usize,
    /// When those are cut.
    pub ends_at: Option<Timestamp>,
}

impl Service {
    /// A service as it is at the start of the daemon. `record` is what the last daemon wrote
    /// down; `seed` makes random balancing repeatable.
    #[must_use]
    pub fn new(
        definition: Arc<Definition>,
        table: Table,
        record: Option<Record>,
        seed: u64,
        now: Timestamp,
    ) -> Self {
        let mut ids = Ids::default();
        let mut old = Vec::new();
        let current = match &record {
            Some(record) => {
                let restored = Generation::restored(&definition, &mut ids, record, now);
                let moved = record.destinations != definition.targets;
                if restored.backend.is_some() && moved {
                    // Its TARGET was changed while no daemon ran, as if it was now.
                    let deadline = now.plus(definition.policy.timeouts.drain);
                    old.push(restored.replaced(record.destinations.clone(), deadline));
                    Generation::asleep(&definition, &mut ids)
                } else {
                    restored
                }
            }
            None => Generation::asleep(&definition, &mut ids),
        };
        Self {
            wanted: definition.auto_start.then_some(Cause::AutoStart),
            definition,
            table,
            current,
            old,
            held: HoldQueue::default(),
            back_off: BackOff::default(),
            clients: ConnMap::default(),
            per_source: HashMap::new(),
            retiring: None,
            persisted: record,
            finished: false,
            turn: 0,
            rng: fastrand::Rng::with_seed(seed),
            ids,
        }
    }

    /// What is to be done at the start of the daemon: a look whether a backend already runs.
    pub fn start(&mut self, now: Timestamp) -> Vec<Output> {
        self.step(now, |service, cx| {
            // START alone knows where it is: there is nothing to look at.
            if service.current.mode != Mode::PerConnection {
                service.current.wake(Cause::Adoption, None, None, cx);
            }
        })
    }

    /// Takes in what happened; says what is to be done, in this order.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Vec<Output> {
        if let Input::Configured(definition) = input {
            let old = std::mem::replace(&mut self.definition, definition);
            return self.step(now, |service, cx| service.configured(&old, cx));
        }
        self.step(now, |service, cx| service.take(input, cx))
    }

    /// The moment at which [`Input::Tick`] is to be given; `None`: not until something happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.finished {
            return None;
        }
        let held = self.in_use_by_held();
        let generations = std::iter::once(&self.current)
            .chain(&self.old)
            .filter_map(|generation| generation.due(&self.definition, held));
        // A client that waits for the back-off is woken for at its end.
        let back_off = self.back_off_end().filter(|_| self.wake_cause().is_some());
        let connecting = std::iter::once(&self.current)
            .chain(&self.old)
            .flat_map(|generation| generation.connecting.values())
            .filter_map(|held| held.deadline);
        let retiring = self.retiring.and_then(|retiring| retiring.deadline);
        generations
            .chain(connecting)
            .chain(self.held.due())
            .chain(back_off)
            .chain(retiring.filter(|_| !self.held.is_empty()))
            .chain(self.persist_due())
            .min()
    }

    /// Whether another client may be accepted now. The excess waits in the listen backlog.
    #[must_use]
    pub fn accepting(&self) -> bool {
        let limits = &self.definition.policy.limits;
        self.retiring.is_none()
            && limits
                .connections
                .is_none_or(|max| self.clients.len() < max)
            && limits.waiting.is_none_or(|max| self.held.present() < max)
    }

    /// The configuration that it has.
    #[must_use]
    pub fn definition(&self) -> &Arc<Definition> {
        &self.definition
    }

    /// The state of the current generation.
    #[must_use]
    pub fn state(&self) -> State {
        self.current.state()
    }

    /// Open relays, of all generations.
    #[must_use]
    pub fn relays(&self) -> usize {
        self.current.relays.len() + self.old.iter().map(|old| old.relays.len()).sum::<usize>()
    }

    /// What it looks like from outside.
    #[must_use]
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        let all = || std::iter::once(&self.current).chain(&self.old);
        Snapshot {
            state: self.current.state(),
            since: self.current.uptime.map(|uptime| uptime.since),
            last_use: self.current.uptime.map(|uptime| uptime.last_use),
            sleeps_at: self
                .current
                .sleeps_at(&self.definition, self.in_use_by_held()),
            held: self.held.present() + all().map(|g| g.connecting.len()).sum::<usize>(),
            relays: self.relays(),
            destinations: self.current.destinations.clone(),
            // A COMMAND that is up is on trial, and no failure.
            failures: match self.current.state() {
                State::Awake => 0,
                _ => self.back_off.failures(),
            },
            back_off_until: self.back_off.until(now),
            supervised: all().any(|generation| generation.backend.is_some()),
            draining: self.old.iter().map(draining).collect(),
        }
    }

    // === one step ===

    fn step(&mut self, now: Timestamp, action: impl FnOnce(&mut Self, &mut Cx<'_>)) -> Vec<Output> {
        if self.finished {
            return Vec::new();
        }
        let mut out = Vec::new();
        let mut ids = std::mem::take(&mut self.ids);
        let definition = Arc::clone(&self.definition);
        let table = self.table.clone();
        let mut cx = Cx {
            now,
            definition: &definition,
            table: &table,
            ids: &mut ids,
            out: &mut out,
            followed: 0,
        };
        action(self, &mut cx);
        self.settle_accounts(&mut cx);
        self.pump(&mut cx);
        self.persist(&mut cx);
        self.finish(&mut cx);
        self.ids = ids;
        out
    }

    fn take(&mut self, input: Input, cx: &mut Cx<'_>) {
        match input {
            Input::ClientArrived {
                conn,
                client,
                local,
                at,
            } => self.arrived(conn, client, local, at, cx),
            Input::ClientSpoke(conn) => self.spoke(conn),
            Input::ClientGone(conn) => self.gone(conn, cx),
            Input::ClientLost(conn, why) => self.refuse(conn, Refusal::NoRoom(why), cx),
            Input::Connected(conn, destination) => self.connected(conn, destination, cx),
            Input::ConnectFailed(conn, failure) => self.connect_failed(conn, failure, cx),
            // The last that is heard of a client, in whatever state it was.
            Input::RelayEnded(conn) => {
                self.forget(conn);
                self.drop_held(conn);
                for generation in self.generations() {
                    generation.relay_ended(conn, cx);
                    generation.not_connected(conn, cx);
                }
            }
            Input::CommandDone(id, outcome) => self.command_done(id, &outcome, cx),
            Input::BackendStarted(id, process) => {
                for generation in self.generations() {
                    generation.backend_started(id, process.clone(), cx);
                }
            }
            Input::BackendEnded(id, end) => self.backend_ended(id, end, cx),
            Input::ProbeDone(id, verdict) => self.probe_done(id, verdict, cx),
            Input::Activity(id, last) => {
                let held = self.in_use_by_held();
                if self.current.id == id {
                    self.current.on_activity(last, held, cx);
                }
            }
            Input::Tick => self.tick(cx),
            Input::WakeWanted(cause) => self.wanted = Some(cause),
            Input::Retire(how) => self.retire(how, cx),
            Input::Hurry => self.hurry(cx),
            // Taken apart in `handle`, for the old definition is needed beside the new.
            Input::Configured(_) => {}
        }
    }

    fn generations(&mut self) -> impl Iterator<Item = &mut Generation> {
        std::iter::once(&mut self.current).chain(&mut self.old)
    }

    // === commands and probes ===

    fn command_done(&mut self, id: CommandId, outcome: &CommandOutcome, cx: &mut Cx<'_>) {
        let held = self.in_use_by_held();
        if let Some(generation) = self.generations().find(|g| g.owns_command(id)) {
            return generation.on_command(outcome, held, cx);
        }
        if let Some(conn) = self.held.owner_of_command(id) {
            self.advance(conn, |wake, cx| wake.on_command(outcome, cx), cx);
        }
    }

    fn probe_done(&mut self, id: ProbeId, verdict: ProbeVerdict, cx: &mut Cx<'_>) {
        if let Some(generation) = self.generations().find(|g| g.owns_probe(id)) {
            return generation.on_probe(verdict, cx);
        }
        if let Some(conn) = self.held.owner_of_probe(id) {
            self.advance(conn, |wake, cx| wake.on_probe(verdict, cx), cx);
        }
    }
}

fn draining(generation: &Generation) -> DrainingSnapshot {
    DrainingSnapshot {
        generation: generation.id.0,
        destinations: generation.destinations.clone(),
        relays: generation.relays.len(),
        ends_at: generation.retire.and_then(|retire| retire.deadline),
    }
}
