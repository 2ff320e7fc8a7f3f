//! What must be true at the end.

use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use crate::{
    backend,
    chaos::Service,
    harness::{Daemon, until},
};

/// What has happened.
#[derive(Default)]
pub struct Tally {
    pub clients: AtomicU64,
    /// Clients of a backend that was killed, which saw a reset.
    pub cut: AtomicU64,
    pub kills: AtomicU64,
    pub wrong: Mutex<Vec<String>>,
}

/// What the daemon had, asleep, after some cycles.
pub struct Books {
    opened: Instant,
    descriptors: usize,
    /// The daemon's own memory, from time to time.
    memory: Vec<u64>,
}

/// What memory may grow by, and what it may by the hour: freed memory lies in other places each
/// time.
const NOISE: u64 = 1 << 20;
const BY_THE_HOUR: f64 = 0.1 * 1024.0 * 1024.0;

impl Books {
    pub fn open(daemon: &Daemon, services: &[Service]) -> Self {
        rest(daemon, services);
        Self {
            opened: Instant::now(),
            descriptors: without_pipes(daemon),
            memory: vec![daemon.memory()],
        }
    }

    pub fn weigh(&mut self, daemon: &Daemon) {
        self.memory.push(daemon.memory());
    }

    /// Says what is wrong.
    pub fn close(mut self, daemon: &Daemon, services: &[Service], tally: &Tally) {
        rest(daemon, services);
        self.weigh(daemon);
        let counters = daemon.counters();
        let count = |name: &str| counters[name].as_u64().unwrap();
        let must = |holds: bool, what: String| {
            if !holds {
                tally.is_wrong(what);
            }
        };
        for service in services {
            let wrong = fs::read_to_string(service.records.join(backend::WRONG));
            // There is none where nothing was.
            for line in wrong.unwrap_or_default().lines() {
                tally.is_wrong(format!("{}: {line}", service.name));
            }
        }

        let starts: usize = services
            .iter()
            .map(|service| service.records.join(backend::STARTS))
            .map(|path| fs::read_to_string(path).unwrap_or_default().lines().count())
            .sum();
        let wakes = count("wakes");
        must(
            wakes == starts as u64,
            format!("{wakes} wakes, {starts} starts"),
        );
        let failed = count("failed_wakes");
        must(failed == 0, format!("{failed} wakes have failed"));

        let ended: u64 = counters["outcomes"]
            .as_object()
            .unwrap()
            .values()
            .map(|n| n.as_u64().unwrap())
            .sum();
        let clients = tally.clients.load(SeqCst);
        must(
            ended == clients,
            format!("{clients} clients, and {ended} have ended in one way: {counters}"),
        );

        let (before, now) = (self.descriptors, without_pipes(daemon));
        must(
            now == before,
            format!(
                "{before} descriptors at first, {now} at last: {:?}",
                daemon.what_is_open()
            ),
        );
        let pipes = count("pipes_open");
        must(pipes <= 16, format!("{pipes} pipes for nobody"));
        let zombies = daemon.zombies();
        must(zombies == 0, format!("{zombies} zombies"));

        let (first, last) = self.ends();
        let hours = self.opened.elapsed().as_secs_f64() / 3600.0;
        let may = NOISE + (BY_THE_HOUR * hours) as u64;
        must(
            last <= first + may,
            format!("{first} bytes of memory at first, {last} at last, in {hours:.2} h"),
        );
        println!(
            "soak: {clients} clients, {} killed backends, {} clients cut by that, {wakes} wakes, \
             {} MB spliced, {} MB copied, memory {} to {} KiB in {hours:.3} h",
            tally.kills.load(SeqCst),
            tally.cut.load(SeqCst),
            count("bytes_spliced") / 1_000_000,
            count("bytes_copied") / 1_000_000,
            first >> 10,
            last >> 10,
        );
    }

    /// The median of the first and of the last tenth.
    fn ends(&self) -> (u64, u64) {
        let tenth = self.memory.len().div_ceil(10);
        let median = |some: &[u64]| {
            let mut some = some.to_vec();
            some.sort_unstable();
            some[some.len() / 2]
        };
        let last = &self.memory[self.memory.len() - tenth..];
        (median(&self.memory[..tenth]), median(last))
    }
}

/// Waits until everything sleeps, and nothing is under way.
fn rest(daemon: &Daemon, services: &[Service]) {
    for service in services {
        until("it sleeps", || {
            let status = daemon.status(service.name);
            status["state"] == "asleep" && status["relays"] == 0 && status["held"] == 0
        });
    }
    // What STOP has left to be closed is closed.
    let mut before = 0;
    until("its descriptors stay the same", || {
        std::thread::sleep(Duration::from_millis(100));
        std::mem::replace(&mut before, without_pipes(daemon)) == before
    });
}

fn without_pipes(daemon: &Daemon) -> usize {
    // The spare pipes, which come and go, are counted for themselves.
    let spare = daemon.counters()["pipes_open"].as_u64().unwrap();
    daemon.descriptors_in_use() - 2 * usize::try_from(spare).unwrap()
}
