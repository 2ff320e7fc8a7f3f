//! Everybody around a service: clients, commands, the backend, the clock, the administrator.
//!
//! | file | the idea in it |
//! | --- | --- |
//! | `mod` | the world, and one life in it |
//! | `definition` | the service, as it is configured |
//! | `random` | what is drawn: who comes, speaks and leaves, what breaks, what is changed |
//! | `daemon` | the daemon begins, crashes, is restarted, ends |
//! | `time` | what will happen, and when |
//! | `commands` | commands, and the backend that they start and stop |
//! | `processes` | COMMANDs, which live and end by themselves |
//! | `connections` | probes, connects, relays |
//! | `service` | the service is told, and its answers are carried out |
//! | `checks` | what must hold after each step |
//! | `when_all_is_well` | what must come about when nothing fails any more |

mod checks;
mod commands;
mod connections;
mod daemon;
mod definition;
mod processes;
mod random;
mod service;
mod time;
mod when_all_is_well;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use sleepingd::{
    model::{
        BackendId, CommandId, CommandRequest, ConnId, Definition, Destination, ProbeId, Timestamp,
    },
    service::{ProbeKind, Record, Service, lifecycle::Table},
};

use self::{
    definition::{random_definition, supervised, terms},
    processes::Process,
};
use crate::{
    choices::Choices,
    promises::{Account, Terms},
};

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
    BackendStarts(i32, u32),
    BackendFails(BackendId, u32),
    BackendExits(i32),
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
    /// COMMANDs, by their numbers.
    processes: BTreeMap<i32, Process>,
    next_pid: i32,
    /// The COMMAND that was last started, or found.
    current_backend: Option<BackendId>,
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

impl World {
    pub fn new(mut choices: Choices, table: Table, tell: bool) -> Self {
        let mut definition = random_definition(&mut choices);
        let now = Timestamp::since_boot(ms(1_000_000));
        let seed = choices.u64(0..u64::MAX);
        // Not drawn by itself: lives without a COMMAND stay as they have been.
        if seed % 3 == 1 && !definition.targets.is_empty() {
            supervised(&mut definition);
        }
        let definition = Arc::new(definition);
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
            processes: BTreeMap::new(),
            next_pid: 100,
            current_backend: None,
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
        self.hung_processes_end()?;
        self.run_for(ms(120_000), |_| false)?;
        self.nobody_waits()?;
        self.a_fresh_client_is_served()?;
        self.idle_ends_in_sleep()?;
        if self.chance(50) {
            self.a_fresh_client_is_served()?;
        }
        self.end()
    }

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
