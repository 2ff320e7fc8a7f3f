//! Cycles of bursts, kills and sleep.

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    backend,
    books::{Books, Tally},
    client::{self, Fared},
    harness::{Daemon, Stage},
    turns::Turns,
};

/// Clients of each service at once.
const CROWD: usize = 12;

/// One in so many cycles loses a backend.
const KILLS: u32 = 6;

/// A service, and what its backends write down.
pub struct Service {
    pub name: &'static str,
    front: SocketAddr,
    pub records: PathBuf,
    /// Its backend is reached over TCP, so it may be killed, and resets are seen.
    tcp: bool,
}

/// Kills, so that a client can say whether there was one in its life.
#[derive(Default)]
struct Kills {
    begun: AtomicU64,
    done: AtomicU64,
}

/// All that is wrong.
pub fn run(time: Duration, seed: u64) -> Vec<String> {
    let mut rng = Rng::with_seed(seed);
    let stage = Stage::new();
    let services = [service(&stage, "tcp", true), service(&stage, "unix", false)];
    let configuration: String = services.iter().map(|s| section(&stage, s)).collect();
    stage.configure(&configuration);
    let turns = Turns::new(&stage);
    let mut command = stage.command(program());
    turns.measure(&mut command);
    let daemon = stage.daemon_quietly_by(command);
    let tally = Tally::default();
    let mut books: Option<Books> = None;
    let begun = Instant::now();
    let mut cycles = 0;
    while begun.elapsed() < time || books.is_none() {
        cycle(&services, &tally, &mut rng);
        cycles += 1;
        // Some find it awake still, some as it is stopped, most asleep.
        thread::sleep(Duration::from_millis(rng.u64(0..60)));
        match &mut books {
            // Whatever is opened once, and what memory is kept, is so after some cycles.
            None if cycles == 20 => books = Some(Books::open(&daemon, &services)),
            Some(books) if cycles % 20 == 0 => books.weigh(&daemon),
            _ => {}
        }
        if !tally.wrong.lock().unwrap().is_empty() {
            break;
        }
    }
    println!("soak: {cycles} cycles in {:.1?}", begun.elapsed());
    let seen = turns.seen();
    println!("soak: {}", seen.words());
    if let Some(wrong) = seen.wrong() {
        tally.is_wrong(wrong);
    }
    close(daemon, &services, books, &tally)
}

fn close(daemon: Daemon, services: &[Service], books: Option<Books>, tally: &Tally) -> Vec<String> {
    if let Some(books) = books {
        books.close(&daemon, services, tally);
    }
    drop(daemon);
    tally.wrong.lock().unwrap().clone()
}

/// Where the daemon is.
fn program() -> PathBuf {
    match env::var_os("SLEEPINGD_TEST_BIN") {
        Some(directory) => Path::new(&directory).join("sleepingd"),
        None => env!("CARGO_BIN_EXE_sleepingd").into(),
    }
}

fn service(stage: &Stage, name: &'static str, tcp: bool) -> Service {
    let records = stage.path(name);
    fs::create_dir(&records).unwrap();
    Service {
        name,
        front: stage.address(),
        records,
        tcp,
    }
}

fn section(stage: &Stage, service: &Service) -> String {
    let target = if service.tcp {
        stage.address().to_string()
    } else {
        stage.path("backend.sock").display().to_string()
    };
    let records = service.records.display();
    let this = env::current_exe().unwrap();
    format!(
        "[{}]\nPORT={}\nTARGET={target}\nIDLE_TIME=15ms\n\
         START_CMD={} {} {target} {records} &\n\
         STOP_CMD=kill $(cat {records}/pid)\n",
        service.name,
        service.front,
        this.display(),
        backend::ROLE,
    )
}

/// A burst of clients, in which a backend may be killed; over when each of them is.
fn cycle(services: &[Service], tally: &Tally, rng: &mut Rng) {
    let kills = Kills::default();
    let over = AtomicBool::new(false);
    thread::scope(|threads| {
        let mut clients = Vec::new();
        for service in services {
            for _ in 0..rng.usize(1..=CROWD) {
                let (rng, kills) = (rng.fork(), &kills);
                clients.push(threads.spawn(move || {
                    visits(service, rng, kills, tally);
                }));
            }
        }
        if rng.u32(0..KILLS) == 0 {
            let delay = Duration::from_micros(rng.u64(0..30_000));
            let (kills, over) = (&kills, &over);
            threads.spawn(move || kill_one(&services[0], delay, kills, over, tally));
        }
        for client in clients {
            client.join().unwrap();
        }
        over.store(true, SeqCst);
    });
}

/// Some clients, one after the other.
fn visits(service: &Service, mut rng: Rng, kills: &Kills, tally: &Tally) {
    for _ in 0..rng.u32(1..6) {
        thread::sleep(Duration::from_micros(rng.u64(0..5_000)));
        let before = kills.done.load(SeqCst);
        let fared = client::connect_once(service.front, service.tcp, &mut rng);
        tally.clients.fetch_add(1, SeqCst);
        let killed = kills.begun.load(SeqCst) > before;
        match fared {
            Ok(Fared::Well) => {}
            Ok(Fared::Reset(_)) if killed && service.tcp => {
                tally.cut.fetch_add(1, SeqCst);
            }
            Ok(Fared::Reset(what)) => {
                tally.is_wrong(format!("{}: a reset out of nothing: {what}", service.name));
            }
            Err(what) => tally.is_wrong(format!("{}: {what}", service.name)),
        }
    }
}

/// Kills the backend that is there, if it has served somebody: of one that has not, the daemon does
/// not know yet, and would wait for it.
fn kill_one(service: &Service, delay: Duration, kills: &Kills, over: &AtomicBool, tally: &Tally) {
    thread::sleep(delay);
    let pid = loop {
        if over.load(SeqCst) {
            return;
        }
        if let Some(pid) = serving(service) {
            break pid;
        }
        thread::sleep(Duration::from_micros(500));
    };
    kills.begun.fetch_add(1, SeqCst);
    // It may have been stopped in this moment.
    if kill(pid, Signal::SIGKILL).is_ok() {
        tally.kills.fetch_add(1, SeqCst);
        // Until its connections are reset, which its last thread does.
        while threads_of(pid) > 1 || is_alive(pid) {
            thread::sleep(Duration::from_micros(200));
        }
    }
    kills.done.fetch_add(1, SeqCst);
}

fn serving(service: &Service) -> Option<Pid> {
    let pid = fs::read_to_string(service.records.join(backend::SERVING)).ok()?;
    // Its number may be another process's by now.
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let records = service.records.to_str()?.as_bytes();
    command
        .windows(records.len())
        .any(|words| words == records)
        .then_some(())?;
    Some(Pid::from_raw(pid.parse().ok()?))
}

fn threads_of(pid: Pid) -> usize {
    // None, when it is gone.
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

impl Tally {
    pub fn is_wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }
}
