//! The service: admits clients, holds them, wakes a generation, has them relayed, puts it to
//! sleep.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use super::{
    backoff::BackOff,
    balance,
    generation::{Cx, Generation, Ids, Retire},
    hold::{Held, HoldQueue},
    idle::Uptime,
    lifecycle::{State, Table},
    port::{Cause, ConnectFailure, Input, Output, ProbeVerdict, Refusal, Report, Retirement},
    record::Record,
    wake::{self, Beginning, Wake},
};
use crate::model::{
    ClientAddr, CommandId, CommandOutcome, ConnId, Definition, Destination, LocalAddr, Mode,
    ProbeId, Timestamp, WakeOn,
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
    clients: HashMap<ConnId, ClientAddr>,
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
        let current = match &record {
            Some(record) => {
                let last_use = if record.in_use { now } else { record.last_use };
                let uptime = Uptime {
                    since: record.since,
                    last_use,
                };
                let at = record.destinations.clone();
                Generation::restored(&definition, &mut ids, uptime, at, now)
            }
            None => Generation::asleep(&definition, &mut ids),
        };
        Self {
            wanted: definition.auto_start.then_some(Cause::AutoStart),
            definition,
            table,
            current,
            old: Vec::new(),
            held: HoldQueue::default(),
            back_off: BackOff::default(),
            clients: HashMap::new(),
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
            failures: self.back_off.failures(),
            back_off_until: self.back_off.until(now),
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
            } => self.arrived(conn, client, local, cx),
            Input::ClientSpoke(conn) => {
                if let Some(held) = self.held.get_mut(conn) {
                    held.spoke = true;
                }
            }
            Input::ClientGone(conn) => self.gone(conn, cx),
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
            // Taken apart in `handle`, for the old definition is needed beside the new.
            Input::Configured(_) => {}
        }
    }

    fn generations(&mut self) -> impl Iterator<Item = &mut Generation> {
        std::iter::once(&mut self.current).chain(&mut self.old)
    }

    // === clients ===

    fn arrived(&mut self, conn: ConnId, client: ClientAddr, local: LocalAddr, cx: &mut Cx<'_>) {
        let policy = &cx.definition.policy;
        let ignored = policy.access.ignores(&client);
        let refusal = if !policy.access.admits(&client) {
            Some(Refusal::Denied)
        } else if self.source_is_full(&client) {
            Some(Refusal::TooManyFromSource)
        } else if self.retiring.is_some() {
            Some(Refusal::Ending)
        } else if ignored && !self.serves_ignored() {
            Some(Refusal::IgnoredAsleep)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            cx.out.push(Output::Refuse(conn, refusal.clone()));
            return cx.report(Report::Refused(client, refusal));
        }
        self.clients.insert(conn, client);
        if let Some(ip) = client.ip() {
            *self.per_source.entry(ip).or_default() += 1;
        }
        self.held.insert(
            conn,
            Held {
                client,
                local,
                ignored,
                spoke: false,
                deadline: cx.now.plus(policy.timeouts.wake),
                not_before: None,
                attempt: None,
                present: true,
            },
        );
    }

    fn source_is_full(&self, client: &ClientAddr) -> bool {
        match (self.definition.policy.limits.per_source, client.ip()) {
            (Some(max), Some(ip)) => self.per_source.get(&ip).is_some_and(|count| *count >= max),
            _ => false,
        }
    }

    /// Whether there is a known destination to relay a monitor to.
    fn serves_ignored(&self) -> bool {
        self.current.state() == State::Awake && !self.current.destinations.is_empty()
    }

    fn forget(&mut self, conn: ConnId) {
        let Some(ip) = self.clients.remove(&conn).and_then(|client| client.ip()) else {
            return;
        };
        if let Some(count) = self.per_source.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&ip);
            }
        }
    }

    fn refuse(&mut self, conn: ConnId, refusal: Refusal, cx: &mut Cx<'_>) {
        let Some(client) = self.clients.get(&conn).copied() else {
            return;
        };
        cx.out.push(Output::Refuse(conn, refusal.clone()));
        cx.report(Report::Refused(client, refusal));
        self.drop_held(conn);
        self.forget(conn);
    }

    /// The client is no more; its own START, if one runs, is still waited for.
    fn drop_held(&mut self, conn: ConnId) {
        if let Some(held) = self.held.get_mut(conn) {
            held.present = false;
            held.not_before = None;
            if held.attempt.is_none() {
                self.held.remove(conn);
            }
        }
    }

    fn gone(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        if self.held.get_mut(conn).is_some_and(|held| held.present) {
            if let Some(client) = self.clients.get(&conn) {
                cx.report(Report::ClientLeft(*client));
            }
            self.drop_held(conn);
            self.forget(conn);
        }
    }

    // === connects ===

    fn connect(&mut self, conn: ConnId, candidates: Vec<Destination>, cx: &mut Cx<'_>) {
        let Some(mut held) = self.held.remove(conn) else {
            return;
        };
        held.not_before = None;
        let settle = self.current.settle(cx.definition);
        self.current.connecting(conn, held);
        let generation = self.current.id;
        cx.out.push(Output::Connect {
            conn,
            generation,
            candidates,
            settle,
        });
    }

    fn candidates(&mut self, cx: &Cx<'_>) -> Vec<Destination> {
        self.turn = self.turn.wrapping_add(1);
        let relays = &self.current.relays;
        let busy = |destination: &Destination| {
            relays
                .values()
                .filter(|relay| relay.destination == *destination)
                .count()
        };
        let destinations = &self.current.destinations;
        balance::order(
            cx.definition.policy.balance,
            destinations,
            self.turn,
            &mut self.rng,
            busy,
        )
    }

    fn connected(&mut self, conn: ConnId, destination: Destination, cx: &mut Cx<'_>) {
        for generation in self.generations() {
            if generation.connected(conn, destination.clone(), cx) {
                return;
            }
        }
    }

    fn connect_failed(&mut self, conn: ConnId, failure: ConnectFailure, cx: &mut Cx<'_>) {
        let current = self.current.connecting.contains_key(&conn);
        let Some(mut held) = self.generations().find_map(|g| g.not_connected(conn, cx)) else {
            return;
        };
        held.not_before = Some(cx.now + RECONNECT);
        let (ignored, client, local) = (held.ignored, held.client, held.local.clone());
        self.held.insert(conn, held);
        match failure {
            ConnectFailure::Failed(why) => self.refuse(conn, Refusal::Unreachable(why), cx),
            _ if ignored => self.refuse(conn, Refusal::IgnoredAsleep, cx),
            // Tried again until WAKE_TIMEOUT: something is there, START would not help it.
            ConnectFailure::ClosedEarly | ConnectFailure::NoRoom(_) => {}
            ConnectFailure::NotUp(why) => {
                if current && self.is_lost(cx.now) {
                    cx.report(Report::Lost(why.clone()));
                    let cause = Cause::Client(client);
                    self.current
                        .wake(cause, Some((client, local)), Some(why), cx);
                }
            }
        }
    }

    /// Whether a backend that does not answer is down. One that has just been started may refuse
    /// for a moment (a listener that is set up twice), and is tried again.
    fn is_lost(&self, now: Timestamp) -> bool {
        let fresh = self
            .current
            .uptime
            .is_some_and(|uptime| now < uptime.since + GRACE);
        self.current.state() == State::Awake
            && self.current.mode != Mode::PerConnection
            && self.retiring.is_none()
            && (self.current.settled || !fresh)
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

    // === where START decides for each connection ===

    fn attempt(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        let Some(held) = self.held.get_mut(conn) else {
            return;
        };
        let (wake, progress) = Wake::begin(
            Beginning {
                cause: Cause::Client(held.client),
                client: Some((held.client, held.local.clone())),
                mode: Mode::PerConnection,
                recipe: Arc::clone(&cx.definition.recipe),
                destinations: Vec::new(),
                known_down: None,
                recorded: false,
            },
            cx,
        );
        held.attempt = Some(wake);
        self.attempt_progress(conn, progress, cx);
    }

    fn advance(
        &mut self,
        conn: ConnId,
        step: impl FnOnce(&mut Wake, &mut Cx<'_>) -> wake::Progress,
        cx: &mut Cx<'_>,
    ) {
        let Some(wake) = self
            .held
            .get_mut(conn)
            .and_then(|held| held.attempt.as_mut())
        else {
            return;
        };
        let progress = step(wake, cx);
        self.attempt_progress(conn, progress, cx);
    }

    fn give_up(&mut self, conn: ConnId, reason: &str, cx: &mut Cx<'_>) {
        self.advance(conn, |wake, cx| wake.give_up(reason, cx), cx);
    }

    fn attempt_progress(&mut self, conn: ConnId, progress: wake::Progress, cx: &mut Cx<'_>) {
        let why = match progress {
            wake::Progress::Going => return,
            wake::Progress::Ready => return self.attempt_succeeded(conn, cx),
            wake::Progress::Failed(why) => why,
        };
        let Some(held) = self.held.get_mut(conn) else {
            return;
        };
        let client = held.present.then_some(held.client);
        let left_something = held.attempt.take().is_some_and(|wake| wake.started);
        cx.report(Report::StartFailed { client, why });
        self.refuse(conn, Refusal::WakeFailed, cx);
        // A client that had left is only dropped now.
        self.held.remove(conn);
        if self.held.attempts() == 0 {
            self.current.attempts_failed(left_something, cx);
        }
    }

    fn attempt_succeeded(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        let Some(held) = self.held.get_mut(conn) else {
            return;
        };
        let Some(wake) = held.attempt.take() else {
            return;
        };
        let present = held.present;
        self.current.woken_by_attempt(&wake, cx);
        self.current.settled = !wake.started;
        if present {
            // In the order START named them: it has decided.
            self.connect(conn, wake.destinations, cx);
        } else {
            self.held.remove(conn);
        }
    }

    // === time ===

    fn tick(&mut self, cx: &mut Cx<'_>) {
        let held = self.in_use_by_held();
        for generation in self.generations() {
            generation.on_tick(held, cx);
        }
        for conn in self.held.matching(|held| held.attempt.is_some()) {
            self.advance(conn, Wake::on_tick, cx);
        }
        let now = cx.now;
        for (_, held) in self.held.iter_mut() {
            held.not_before = held.not_before.filter(|at| *at > now);
        }
        let overdue = move |held: &Held| held.present && held.deadline.is_some_and(|at| at <= now);
        for conn in self.held.matching(overdue) {
            self.refuse(conn, Refusal::HeldTooLong, cx);
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

    fn out_of_drain_time(&mut self, cx: &mut Cx<'_>) {
        if let Some(retiring) = &mut self.retiring {
            retiring.deadline = None;
        }
        for conn in self.held.matching(|held| held.present) {
            self.refuse(conn, Refusal::Ending, cx);
        }
        for conn in self.held.matching(|held| held.attempt.is_some()) {
            self.give_up(conn, "DRAIN_TIMEOUT has passed", cx);
        }
    }

    // === configuration and end ===

    fn configured(&mut self, old: &Definition, cx: &mut Cx<'_>) {
        let moved = old.targets != cx.definition.targets || old.mode() != cx.definition.mode();
        if !moved {
            return self.current.reconfigured(cx);
        }
        for conn in self.held.matching(|held| held.attempt.is_some()) {
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
            },
            cx,
        );
        self.old.push(replaced);
        self.back_off.clear();
    }

    fn retire(&mut self, how: Retirement, cx: &mut Cx<'_>) {
        let keep = how == Retirement::Keep;
        let deadline = cx.now.plus(cx.definition.policy.timeouts.drain);
        self.retiring = Some(Retiring { keep, deadline });
        self.wanted = None;
        let replaced = Retire {
            keep: false,
            deadline,
            replaced: false,
        };
        for old in &mut self.old {
            old.retire(replaced, cx);
        }
        self.current.retire(
            Retire {
                keep,
                deadline,
                replaced: false,
            },
            cx,
        );
    }

    fn bury(&mut self) {
        self.old
            .retain(|generation| generation.state() != State::Gone);
    }

    fn finish(&mut self, cx: &mut Cx<'_>) {
        let over = self.retiring.is_some()
            && self.current.state() == State::Gone
            && self.old.is_empty()
            && self.held.is_empty();
        if over && !self.finished {
            self.finished = true;
            cx.out.push(Output::Finished);
        }
    }

    // === after each step ===

    /// Wakes that have failed: their clients are reset now, not at the end of a timeout.
    fn settle_accounts(&mut self, cx: &mut Cx<'_>) {
        if self.current.state() == State::Awake {
            self.back_off.clear();
            self.wanted = None;
        }
        let Some(failure) = self.current.failure.take() else {
            return;
        };
        if failure.adopting {
            if self.persisted.is_some() {
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
            why: failure.why,
            refused: waiting.len(),
            back_off,
        });
        for conn in waiting {
            self.refuse(conn, Refusal::WakeFailed, cx);
        }
    }

    /// Moves on whatever can be moved on: connects held clients, begins wakes, ends generations.
    fn pump(&mut self, cx: &mut Cx<'_>) {
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
    fn release(&mut self, cx: &mut Cx<'_>) {
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
                let Some(held) = self.held.get_mut(conn) else {
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

    fn begin_first_attempts(&mut self, cx: &mut Cx<'_>) {
        if self.current.mode != Mode::PerConnection || !self.current.wakes_by_attempts() {
            return;
        }
        self.begin_attempts(cx);
        // Who wanted it has left meanwhile.
        if self.held.attempts() == 0 {
            self.current.attempts_failed(false, cx);
        }
    }

    fn begin_attempts(&mut self, cx: &mut Cx<'_>) {
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
    fn wake_cause(&self) -> Option<(Cause, Option<(ClientAddr, LocalAddr)>)> {
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
    fn back_off_end(&self) -> Option<Timestamp> {
        let waits = self.current.state() == State::Asleep && self.old.is_empty();
        waits.then(|| self.back_off.until(Timestamp::BOOT))?
    }

    fn begin_wake(&mut self, cx: &mut Cx<'_>) {
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

    fn refuse_held(&mut self, cx: &mut Cx<'_>) {
        for conn in self.held.matching(|held| held.present) {
            self.refuse(conn, Refusal::Ending, cx);
        }
    }

    /// Whether held clients keep it awake.
    fn in_use_by_held(&self) -> bool {
        self.held.iter().any(|(_, held)| !held.ignored)
    }

    // === the record ===

    fn record(&self) -> Option<Record> {
        let uptime = self.current.uptime?;
        Some(Record {
            service: self.definition.name.clone(),
            since: uptime.since,
            last_use: uptime.last_use,
            in_use: self.current.in_use() || self.in_use_by_held(),
            destinations: self.current.destinations.clone(),
        })
    }

    /// When a use that has ended is to be written down.
    fn persist_due(&self) -> Option<Timestamp> {
        let record = self.record()?;
        let written = self.persisted.as_ref()?;
        let stale = !record.in_use && (written.in_use || written.last_use != record.last_use);
        stale.then(|| record.last_use + PERSIST_DELAY)
    }

    fn persist(&mut self, cx: &mut Cx<'_>) {
        let record = self.record();
        if !self.worth_writing(record.as_ref(), cx.now) {
            return;
        }
        cx.out.push(Output::Persist(record.clone().map(Box::new)));
        self.persisted = record;
    }

    fn worth_writing(&self, record: Option<&Record>, now: Timestamp) -> bool {
        let (Some(record), Some(written)) = (record, &self.persisted) else {
            return record.is_some() != self.persisted.is_some();
        };
        let elsewhere =
            record.since != written.since || record.destinations != written.destinations;
        if elsewhere || (record.in_use && !written.in_use) {
            return true;
        }
        // The last one there will be is written at once.
        let last = self.retiring.is_some_and(|r| r.keep) && self.current.state() == State::Gone;
        !record.in_use
            && (written.in_use || record.last_use != written.last_use)
            && (last || now >= record.last_use + PERSIST_DELAY)
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
