//! Everybody around a service: clients, commands, the backend, the clock, the administrator.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use sleepingd::{
    model::{
        Access, Action, Balance, Cidr, CidrList, ClientAddr, CommandExit, CommandId, CommandLine,
        CommandOutcome, CommandRequest, CommandTimeouts, ConnId, Definition, Destination, IdleOn,
        IdlePolicy, Limits, LocalAddr, Mode, Origin, Policy, ProbeId, ProxyProtocol, Recipe,
        ServiceName, Timeouts, Timestamp, WakeOn,
    },
    service::{
        Cause, ConnectFailure, Input, Output, ProbeKind, ProbeVerdict, Record, Report, Retirement,
        Service,
        lifecycle::{State, Table},
    },
};

use crate::choices::Choices;
use crate::promises::{Account, Client, Retiring, Running, Stage, Terms, promise};

/// A promise that was not kept, and what led to it.
#[derive(Debug)]
pub struct Broken {
    what: String,
    story: Vec<String>,
}

/// What the world will do, and when.
#[derive(Debug, Clone)]
enum Event {
    Command(CommandId, Box<CommandRequest>, u32),
    Probe(ProbeId, ProbeKind, Vec<Destination>, u32),
    Connect(ConnId, Vec<Destination>),
    RelayEnds(ConnId),
    Leaves(ConnId),
}

/// Whether a backend is really there.
#[derive(Debug, Clone, Copy, Default)]
struct Backend {
    up: bool,
    listens_at: Option<Timestamp>,
    gone_at: Option<Timestamp>,
}

pub struct World {
    choices: Choices,
    now: Timestamp,
    table: Table,
    definition: Arc<Definition>,
    service: Service,
    terms: Terms,
    account: Account,
    events: BTreeMap<(Timestamp, u64), Event>,
    sequence: u64,
    next_conn: u64,
    backends: BTreeMap<u16, Backend>,
    record: Option<Record>,
    /// Which daemon it is: what a former one began is not answered.
    life: u32,
    benign: bool,
    /// STOP never works.
    stubborn: bool,
    /// Generations that were replaced.
    old_ones: usize,
    finished: bool,
    remote: bool,
    tell: bool,
    story: VecDeque<String>,
}

type Step = Result<(), String>;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "promise {}", self.what)?;
        for line in &self.story {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Where the clients of a balancer come from, which have to say first who they are.
const BEHIND_A_BALANCER: u8 = 6;

/// Destinations of one backend share their hundred: 101 and 102 are one, 201 another.
fn group(destination: Option<&Destination>) -> u16 {
    match destination {
        Some(Destination::Tcp(addr)) => addr.port() / 100,
        _ => 80,
    }
}

fn target(version: u16, index: u16) -> Destination {
    Destination::Tcp(SocketAddr::new(
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        version * 100 + index,
    ))
}

fn random_definition(choices: &mut Choices) -> Definition {
    let command = |name: &str| CommandLine::new(name);
    let mut chance = |percent: u32| choices.chance(percent);
    let fixed = chance(50);
    let check = if fixed { chance(40) } else { chance(60) };
    let start = !fixed || chance(85);
    let idle_cmd = chance(35);
    let recipe = Recipe {
        start: start.then(|| command("start")).flatten(),
        stop: chance(80).then(|| command("stop")).flatten(),
        check: check.then(|| command("check")).flatten(),
        idle: idle_cmd.then(|| command("idle")).flatten(),
        ready: chance(20).then(|| command("ready")).flatten(),
        ready_url: chance(10).then(|| "http://localhost/".to_owned()),
        ..Recipe::default()
    };
    let two = chance(30);
    let on = match choices.u32(0..4) {
        0 => IdleOn::Bytes,
        1 if idle_cmd => IdleOn::Command,
        _ => IdleOn::Connections,
    };
    let mut chance = |percent: u32| choices.chance(percent);
    let policy = Policy {
        command_timeouts: CommandTimeouts::default(),
        idle: IdlePolicy {
            after: chance(85).then(|| ms(3_000)),
            check_interval: chance(85).then(|| ms(700)),
            on,
            min_uptime: if chance(30) {
                ms(5_000)
            } else {
                Duration::ZERO
            },
        },
        timeouts: Timeouts {
            wake: Some(if chance(50) { ms(2_000) } else { ms(60_000) }),
            settle: if chance(30) { ms(20) } else { Duration::ZERO },
            after_start: if chance(20) { ms(50) } else { Duration::ZERO },
            stop: Some(ms(2_000)),
            drain: Some(if chance(50) { ms(1_000) } else { ms(20_000) }),
            ..Timeouts::default()
        },
        limits: Limits {
            connections: chance(30).then_some(5),
            waiting: if chance(30) { Some(3) } else { Some(1024) },
            per_source: chance(30).then_some(2),
        },
        access: Access {
            deny: CidrList::new(vec!["10.0.0.9".parse::<Cidr>().expect("an address")]),
            ignore: CidrList::new(vec!["10.0.0.8".parse::<Cidr>().expect("an address")]),
            ..Access::default()
        },
        wake_on: if chance(25) {
            WakeOn::Data
        } else {
            WakeOn::Connect
        },
        proxy: ProxyProtocol::default(),
        balance: Balance::Random,
    };
    let targets = match (fixed, two) {
        (false, _) => vec![],
        (true, false) => vec![target(1, 1)],
        (true, true) => vec![target(1, 1), target(1, 2)],
    };
    let name = ServiceName::new("simulated");
    Definition {
        slug: name.slug().expect("it has letters"),
        name,
        origin: Origin {
            file: "simulation".into(),
            line: 1,
        },
        listen: vec![],
        sockets: vec![],
        targets,
        auto_start: chance(15),
        recipe: Arc::new(recipe),
        policy: Arc::new(policy),
    }
}

fn terms(definition: &Definition) -> Terms {
    let policy = &definition.policy;
    Terms {
        shared: definition.mode() != Mode::PerConnection,
        wake_timeout: policy.timeouts.wake,
        stop_timeout: policy.timeouts.stop,
        idle: policy.idle.after,
        idle_on: policy.idle.on,
        min_uptime: policy.idle.min_uptime,
        max_connections: policy.limits.connections,
        max_waiting: policy.limits.waiting,
        per_source: policy.limits.per_source,
        on_data: policy.wake_on == WakeOn::Data,
    }
}

impl World {
    pub fn new(mut choices: Choices, table: Table, tell: bool) -> Self {
        let definition = Arc::new(random_definition(&mut choices));
        let now = Timestamp::since_boot(ms(1_000_000));
        let seed = choices.u64(0..u64::MAX);
        let service = Service::new(Arc::clone(&definition), table.clone(), None, seed, now);
        let mut world = Self {
            remote: choices.chance(20),
            choices,
            now,
            table,
            terms: terms(&definition),
            definition,
            service,
            account: Account {
                evidence_down: true,
                ..Account::default()
            },
            events: BTreeMap::new(),
            sequence: 0,
            next_conn: 1,
            backends: BTreeMap::new(),
            record: None,
            life: 0,
            benign: false,
            stubborn: false,
            old_ones: 0,
            finished: false,
            tell,
            story: VecDeque::new(),
        };
        if world.chance(20) {
            // Somebody has started it before us.
            world.all_up();
        }
        world
    }

    /// One life, from the start of the daemon to its end.
    pub fn live(mut self) -> Result<(), Broken> {
        let told = self.try_live();
        told.map_err(|what| Broken {
            what,
            story: self.story.into_iter().collect(),
        })
    }

    fn try_live(&mut self) -> Step {
        let definition = Arc::clone(&self.definition);
        self.say(format_args!(
            "{:?} {:?}",
            definition.recipe, definition.policy
        ));
        self.begin()?;
        for _ in 0..self.choices.rounds(20..160) {
            if self.choices.is_spent() {
                break;
            }
            self.random_step()?;
        }
        self.benign = true;
        self.say(format_args!("--- from here on nothing fails"));
        self.run_for(ms(120_000), |_| false)?;
        self.nobody_waits()?;
        self.a_fresh_client_is_served()?;
        self.idle_ends_in_sleep()?;
        if self.chance(50) {
            self.a_fresh_client_is_served()?;
        }
        self.end()
    }

    // === the random part ===

    fn random_step(&mut self) -> Step {
        match self.choices.u32(0..100) {
            0..24 => self.client_arrives(None),
            24..32 => self.client_speaks(),
            32..38 => self.client_leaves(),
            38..80 => {
                let span = ms(match self.choices.u32(0..10) {
                    0..6 => self.choices.u64(0..60),
                    6..9 => self.choices.u64(60..1_500),
                    _ => self.choices.u64(1_500..40_000),
                });
                self.run_for(span, |_| false)
            }
            80..85 => {
                self.backend_crashes();
                Ok(())
            }
            85..88 => self.tell_service(Input::WakeWanted(Cause::Control)),
            88..91 => self.reload(),
            91..94 => self.daemon_crashes(),
            94..96 => self.daemon_restarts(),
            _ => {
                // A burst: many at once.
                for _ in 0..self.choices.usize(1..6) {
                    self.client_arrives(None)?;
                }
                Ok(())
            }
        }
    }

    fn client_arrives(&mut self, source: Option<u8>) -> Step {
        if !self.service.accepting() {
            return self.at_a_limit();
        }
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        let source = source.unwrap_or_else(|| self.choices.u8(1..10));
        let addr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, source)), 1000);
        let at = match source {
            BEHIND_A_BALANCER => self.now - ms(conn.0 * 379 % 2_500),
            _ => self.now,
        };
        self.account.clients.insert(
            conn,
            Client {
                arrived: at,
                ignored: source == 8,
                denied: source == 9,
                source,
                spoke: false,
                stage: Stage::Held,
            },
        );
        let input = Input::ClientArrived {
            conn,
            client: ClientAddr::Tcp(addr),
            local: LocalAddr::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 80)),
            at,
        };
        self.tell_service(input)?;
        if self.chance(30) && !self.benign {
            let at = self.now + ms(self.choices.u64(0..800));
            self.schedule(at, Event::Leaves(conn));
        }
        Ok(())
    }

    /// Promise 7: accepting stops at the limit, and only there.
    fn at_a_limit(&self) -> Step {
        let full = self
            .terms
            .max_connections
            .is_some_and(|max| self.account.open() >= max)
            || self
                .terms
                .max_waiting
                .is_some_and(|max| self.account.held() >= max)
            || self.account.retiring.is_some();
        promise!(full, "7: it does not accept, and is not at a limit");
        Ok(())
    }

    fn client_speaks(&mut self) -> Step {
        let Some(conn) = self.random_client(Stage::Held) else {
            return Ok(());
        };
        if let Some(client) = self.account.clients.get_mut(&conn) {
            client.spoke = true;
        }
        self.tell_service(Input::ClientSpoke(conn))
    }

    fn client_leaves(&mut self) -> Step {
        match self.random_client(Stage::Held) {
            Some(conn) => self.leaves(conn),
            None => Ok(()),
        }
    }

    fn leaves(&mut self, conn: ConnId) -> Step {
        let Some(client) = self.account.clients.get(&conn) else {
            return Ok(());
        };
        if client.stage != Stage::Held {
            return Ok(());
        }
        self.account.has_ended(conn, self.now);
        self.tell_service(Input::ClientGone(conn))
    }

    fn random_client(&mut self, stage: Stage) -> Option<ConnId> {
        let all: Vec<_> = self
            .account
            .clients
            .iter()
            .filter(|(_, c)| c.stage == stage)
            .map(|(id, _)| *id)
            .collect();
        (!all.is_empty()).then(|| all[self.choices.usize(0..all.len())])
    }

    fn backend_crashes(&mut self) {
        self.say(format_args!("the backend crashes"));
        for backend in self.backends.values_mut() {
            *backend = Backend::default();
        }
        if self.chance(70) {
            for conn in self.relayed() {
                self.schedule(self.now, Event::RelayEnds(conn));
            }
        }
    }

    fn relayed(&self) -> Vec<ConnId> {
        let relayed = self
            .account
            .clients
            .iter()
            .filter(|(_, c)| c.stage == Stage::Relayed);
        relayed.map(|(conn, _)| *conn).collect()
    }

    fn reload(&mut self) -> Step {
        let mut definition = (*self.definition).clone();
        let mut policy = (*definition.policy).clone();
        policy.idle.after = Some(ms(self.choices.u64(1_000..6_000)));
        policy.timeouts.drain = Some(ms(self.choices.u64(0..5_000)));
        definition.policy = Arc::new(policy);
        if definition.mode() == Mode::Fixed && self.chance(60) {
            let version = group(definition.targets.first()) % 50 + 1;
            definition.targets = vec![target(version, 1)];
            self.old_ones += 1;
            self.account.evidence_down = true;
            self.account.awake_since = None;
            self.account.last_use = None;
            self.account.not_before = None;
            // The old generation drains within the new DRAIN_TIMEOUT.
            self.account
                .replaced_until
                .extend(self.now.plus(definition.policy.timeouts.drain));
        }
        self.definition = Arc::new(definition);
        self.terms = terms(&self.definition);
        self.tell_service(Input::Configured(Arc::clone(&self.definition)))
    }

    // === the daemon ===

    fn begin(&mut self) -> Step {
        let outputs = self.service.start(self.now);
        self.carry_out(outputs)
    }

    /// SIGKILL: what was written down is all that the next daemon knows.
    fn daemon_crashes(&mut self) -> Step {
        self.say(format_args!("the daemon crashes"));
        self.next_daemon()
    }

    fn next_daemon(&mut self) -> Step {
        for client in self.account.clients.values_mut() {
            client.stage = Stage::Over;
        }
        self.life += 1;
        self.finished = false;
        let seed = self.choices.u64(0..u64::MAX);
        self.service = Service::new(
            Arc::clone(&self.definition),
            self.table.clone(),
            self.record.clone(),
            seed,
            self.now,
        );
        let seen = self.service.snapshot(self.now);
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

    fn daemon_restarts(&mut self) -> Step {
        self.say(format_args!("the daemon is restarted"));
        let was_awake = self.service.snapshot(self.now).state == State::Awake;
        self.retire(Retirement::Keep)?;
        promise!(
            !was_awake || self.record.is_some(),
            "6: a restart forgets what is awake"
        );
        self.next_daemon()
    }

    fn end(&mut self) -> Step {
        self.say(format_args!("the daemon is stopped"));
        let seen = self.service.snapshot(self.now);
        let (stops, awake) = (self.account.stops, seen.state == State::Awake);
        let has_stop = self.definition.recipe.stop.is_some();
        self.stubborn = self.chance(30);
        self.retire(Retirement::Stop)?;
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

    fn retire(&mut self, how: Retirement) -> Step {
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

    // === what must come about when nothing fails ===

    fn nobody_waits(&mut self) -> Step {
        let held = self.account.held();
        promise!(held == 0, "2: {held} clients wait for ever");
        Ok(())
    }

    fn a_fresh_client_is_served(&mut self) -> Step {
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
        let wakeable = self.definition.recipe.start.is_some() || self.runs(ours);
        promise!(
            seen || !wakeable,
            "2: a client of a service that can be woken is not served"
        );
        Ok(())
    }

    fn idle_ends_in_sleep(&mut self) -> Step {
        self.run_for(ms(200_000), |_| false)?;
        let seen = self.service.snapshot(self.now);
        let (recipe, idle) = (&self.definition.recipe, &self.definition.policy.idle);
        let asked = recipe.idle.is_none() || idle.check_interval.is_some();
        if recipe.stop.is_some() && idle.after.is_some() && asked {
            promise!(seen.state == State::Asleep, "5: idle, but {:?}", seen.state);
            promise!(
                self.service.deadline().is_none(),
                "8: asleep, but it wants to be woken at {:?}",
                self.service.deadline()
            );
        }
        Ok(())
    }

    // === time ===

    fn schedule(&mut self, at: Timestamp, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    fn soon(&mut self, most: u64) -> Timestamp {
        self.now + ms(self.choices.u64(0..most))
    }

    /// Lets time pass, and all that happens in it.
    fn run_for(&mut self, span: Duration, mut enough: impl FnMut(&Self) -> bool) -> Step {
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

    // === the backend ===

    fn all_up(&mut self) {
        let groups: Vec<u16> = if self.definition.targets.is_empty() {
            vec![80]
        } else {
            vec![group(self.definition.targets.first())]
        };
        for group in groups {
            let backend = Backend {
                up: true,
                listens_at: Some(self.now),
                gone_at: None,
            };
            self.backends.insert(group, backend);
        }
    }

    fn listens(&mut self, group: u16) -> bool {
        let now = self.now;
        let Some(backend) = self.backends.get_mut(&group) else {
            return false;
        };
        if backend.gone_at.is_some_and(|at| at <= now) {
            *backend = Backend::default();
        }
        backend.up && backend.listens_at.is_some_and(|at| at <= now)
    }

    fn runs(&mut self, group: u16) -> bool {
        self.listens(group);
        self.backends.get(&group).is_some_and(|backend| backend.up)
    }

    // === events ===

    fn happen(&mut self, event: Event) -> Step {
        match event {
            Event::Command(id, request, life) => self.command_ends(id, &request, life),
            Event::Probe(id, kind, destinations, life) => {
                self.probe_answers(id, kind, destinations, life)
            }
            Event::Connect(conn, candidates) => self.connect_ends(conn, &candidates),
            Event::RelayEnds(conn) => self.relay_ends(conn),
            Event::Leaves(conn) => self.leaves(conn),
        }
    }

    fn command_ends(&mut self, id: CommandId, request: &CommandRequest, life: u32) -> Step {
        let cancelled = life == self.life
            && self
                .account
                .running
                .get(&id)
                .is_some_and(|running| running.cancelled);
        let group = group(request.destination.as_ref());
        let mut outcome = match request.action {
            Action::Start => self.start_ends(request, group, cancelled),
            Action::Stop => self.stop_ends(group),
            Action::Check => self.check_ends(group),
            Action::Idle => {
                let idle = self.benign || self.chance(60);
                if !idle && !cancelled && life == self.life {
                    self.account.last_use = Some(self.now);
                }
                exit(i32::from(!idle))
            }
            Action::Ready => {
                let ready = self.benign || self.chance(70);
                exit(i32::from(!ready))
            }
        };
        if cancelled {
            outcome.exit = CommandExit::Cancelled;
        }
        if life != self.life {
            return Ok(());
        }
        self.account.running.remove(&id);
        if request.action == Action::Stop {
            self.account.stop_ended = Some(self.now);
        }
        self.tell_service(Input::CommandDone(id, outcome))
    }

    fn start_ends(
        &mut self,
        request: &CommandRequest,
        group: u16,
        cancelled: bool,
    ) -> CommandOutcome {
        let mut outcome = exit(0);
        if cancelled {
            return outcome;
        }
        let failure = if self.benign {
            9
        } else {
            self.choices.u32(0..14)
        };
        match failure {
            0 => outcome.exit = CommandExit::Exited(1),
            1 => outcome.exit = CommandExit::NotStarted("no such user".to_owned()),
            2 => outcome.exit = CommandExit::TimedOut(ms(100)),
            _ => {
                let listens_at = Some(self.now + ms(self.choices.u64(0..300)));
                self.backends.insert(
                    group,
                    Backend {
                        up: true,
                        listens_at,
                        gone_at: None,
                    },
                );
                outcome.first_line = request
                    .destination
                    .is_none()
                    .then(|| "127.0.0.1 8001".to_owned());
                match failure {
                    3 => outcome.first_line = Some("rubbish".to_owned()),
                    4 => outcome.exit = CommandExit::Running,
                    _ => {}
                }
                // Where START alone says the place, and a place is known already, it says it too.
                if outcome.first_line.is_none() && self.definition.mode() != Mode::Fixed {
                    outcome.first_line = Some("127.0.0.1 8001".to_owned());
                }
            }
        }
        outcome
    }

    fn stop_ends(&mut self, group: u16) -> CommandOutcome {
        if self.stubborn {
            return exit(1);
        }
        let how = if self.benign {
            9
        } else {
            self.choices.u32(0..10)
        };
        let gone_at = Some(self.now + ms(self.choices.u64(0..400)));
        match how {
            0 => return exit(1),
            // Says yes, does nothing.
            1 => {}
            // Says no, for nothing was left to stop.
            2 => {
                self.backends.insert(group, Backend::default());
                return exit(1);
            }
            _ => {
                if let Some(backend) = self.backends.get_mut(&group) {
                    backend.gone_at = gone_at;
                }
            }
        }
        exit(0)
    }

    fn check_ends(&mut self, group: u16) -> CommandOutcome {
        if !self.benign && self.chance(5) {
            self.account.evidence_down = true;
            return CommandOutcome {
                exit: CommandExit::TimedOut(ms(100)),
                ..exit(0)
            };
        }
        let up = self.runs(group);
        let mut outcome = exit(i32::from(!up));
        if up && self.chance(50) {
            outcome.first_line = Some("127.0.0.1 8001".to_owned());
        } else {
            // It is down; or it is up and nobody may have said where.
            self.account.evidence_down = true;
        }
        outcome
    }

    fn probe_answers(
        &mut self,
        id: ProbeId,
        kind: ProbeKind,
        destinations: Vec<Destination>,
        life: u32,
    ) -> Step {
        if life != self.life || self.account.cancelled_probes.contains(&id) {
            return Ok(());
        }
        let up = self.listens(group(destinations.first()));
        let verdict = match kind {
            _ if !self.benign && self.chance(1) => ProbeVerdict::Failed("no permission".to_owned()),
            ProbeKind::LookLocal if self.remote => ProbeVerdict::Unknown,
            ProbeKind::Wait if !up => {
                let at = self.now + ms(20);
                self.schedule(at, Event::Probe(id, kind, destinations, life));
                return Ok(());
            }
            ProbeKind::Url if !self.benign && self.chance(40) => {
                ProbeVerdict::Down("503".to_owned())
            }
            ProbeKind::Url => ProbeVerdict::Up,
            _ if up => ProbeVerdict::Up,
            _ => {
                self.account.evidence_down = true;
                ProbeVerdict::Down("nobody listens".to_owned())
            }
        };
        self.tell_service(Input::ProbeDone(id, verdict))
    }

    fn connect_ends(&mut self, conn: ConnId, candidates: &[Destination]) -> Step {
        let Some(client) = self.account.clients.get(&conn) else {
            return Ok(());
        };
        if client.stage != Stage::Connecting {
            return Ok(());
        }
        let ignored = client.ignored;
        if !self.benign && self.chance(3) {
            // It had left already when it was decided that it be connected.
            self.account.has_ended(conn, self.now);
            if !ignored {
                self.account.last_use = self.account.last_use.map(|_| self.now);
            }
            self.tell_service(Input::ClientGone(conn))?;
            return self.tell_service(Input::RelayEnded(conn));
        }
        let reached = candidates.iter().find(|_| !candidates.is_empty()).cloned();
        if let Some(destination) = reached.filter(|d| self.listens(group(Some(d)))) {
            self.set_stage(conn, Stage::Relayed);
            if !ignored {
                self.account.last_use = Some(self.now);
            }
            let length = match self.choices.u32(0..10) {
                0..6 => self.choices.u64(0..500),
                6..9 => self.choices.u64(500..10_000),
                _ => self.choices.u64(10_000..60_000),
            };
            self.schedule(self.now + ms(length), Event::RelayEnds(conn));
            return self.tell_service(Input::Connected(conn, destination));
        }
        self.set_stage(conn, Stage::Held);
        let failure = if !self.benign && self.chance(3) {
            ConnectFailure::Failed("permission denied".to_owned())
        } else {
            self.account.evidence_down = true;
            ConnectFailure::NotUp("connection refused".to_owned())
        };
        if !ignored {
            self.account.last_use = self.account.last_use.map(|_| self.now);
        }
        self.tell_service(Input::ConnectFailed(conn, failure))
    }

    fn relay_ends(&mut self, conn: ConnId) -> Step {
        let Some(client) = self.account.clients.get(&conn) else {
            return Ok(());
        };
        if client.stage != Stage::Relayed {
            return Ok(());
        }
        if !client.ignored {
            self.account.last_use = Some(self.now);
        }
        self.set_stage(conn, Stage::Over);
        self.tell_service(Input::RelayEnded(conn))
    }

    fn set_stage(&mut self, conn: ConnId, stage: Stage) {
        if let Some(client) = self.account.clients.get_mut(&conn) {
            client.stage = stage;
        }
    }

    // === the service ===

    fn tell_service(&mut self, input: Input) -> Step {
        self.say(format_args!("<- {input:?}"));
        let outputs = self.service.handle(self.now, input);
        self.carry_out(outputs)
    }

    fn carry_out(&mut self, outputs: Vec<Output>) -> Step {
        let failed_now = outputs.iter().any(|output| {
            matches!(
                output,
                Output::Report(Report::WakeFailed { .. } | Report::StartFailed { .. })
            )
        });
        let mut slept_now = false;
        let stops = self.account.stops;
        let mut asked = Vec::new();
        let mut reports = Vec::new();
        let looks = outputs
            .iter()
            .any(|output| matches!(output, Output::Probe(_, ProbeKind::Look, _)));
        for output in outputs {
            self.say(format_args!("   -> {output:?}"));
            match output {
                Output::Run(id, request) => self.command_begins(id, request)?,
                Output::CancelCommand(id) => {
                    self.account.may_cancel(id, &self.terms, self.now)?;
                    if let Some(running) = self.account.running.get_mut(&id) {
                        running.cancelled = true;
                    }
                }
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
                        .may_refuse(conn, &why, failed_now, &self.terms, self.now)?;
                    self.account.has_ended(conn, self.now);
                }
                Output::Cut(conn, _) => {
                    self.account.may_cut(conn, slept_now, self.now)?;
                    self.schedule(self.now, Event::RelayEnds(conn));
                }
                Output::SampleActivity(id) => asked.push(id),
                Output::Persist(record) => self.record = record.map(|record| *record),
                Output::Report(report) => {
                    slept_now |= matches!(report, Report::Asleep { .. });
                    self.reported(&report)?;
                    reports.push(report);
                }
                Output::Finished => {
                    promise!(!self.finished, "it ends twice");
                    self.finished = true;
                    promise!(
                        self.relayed().is_empty(),
                        "relays are left behind at the end"
                    );
                }
            }
        }
        for report in &reports {
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
        for id in asked {
            let last = self.last_byte();
            self.tell_service(Input::Activity(id, last))?;
        }
        Ok(())
    }

    fn last_byte(&mut self) -> Option<Timestamp> {
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

    fn command_begins(&mut self, id: CommandId, request: Box<CommandRequest>) -> Step {
        let replaced = self.definition.mode() == Mode::Fixed
            && group(request.destination.as_ref()) != group(self.definition.targets.first());
        self.account
            .may_run(request.action, replaced, &self.terms, self.now)?;
        match request.action {
            Action::Start => self.account.starts += 1,
            Action::Stop => {
                self.account.stops += 1;
                self.account.stopping = true;
            }
            _ => {}
        }
        let running = Running {
            action: request.action,
            began: self.now,
            cancelled: false,
        };
        self.account.running.insert(id, running);
        let long = !self.benign && self.chance(10);
        let at = self.soon(if long { 4_000 } else { 150 });
        self.schedule(at, Event::Command(id, request, self.life));
        Ok(())
    }

    fn reported(&mut self, report: &Report) -> Step {
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

    /// What a report announces has been done by the end of the step.
    fn follows(&self, report: &Report, stops_before: usize) -> Step {
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
    fn nobody_is_forgotten(&self) -> Step {
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
    fn written_down(&self) -> Step {
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

    // === helpers ===

    fn chance(&mut self, percent: u32) -> bool {
        self.choices.chance(percent)
    }

    fn say(&mut self, what: fmt::Arguments<'_>) {
        if self.tell {
            if self.story.len() == 80 {
                self.story.pop_front();
            }
            self.story.push_back(format!("{} {what}", self.now));
        }
    }
}

fn exit(status: i32) -> CommandOutcome {
    CommandOutcome {
        exit: CommandExit::Exited(status),
        first_line: None,
        stderr_tail: vec![],
        took: Duration::ZERO,
    }
}
