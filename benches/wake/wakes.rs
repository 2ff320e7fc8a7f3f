//! Latency: from the backend's listen() to the client that is held, and from the client's
//! connect() to START.

// These threads are nobody's runtime.
#![allow(clippy::disallowed_methods)]

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    Result, backend,
    common::{clock::now, ports::free_addresses},
    daemon::{Daemon, Service},
    figures::Figures,
    script::{LIMIT, MESSAGE, Part, Stage, Stamps},
};

/// The bars, in microseconds.
const P50_BAR: f64 = 1000.0;
const P99_BAR: f64 = 3000.0;

/// The service sleeps as soon as its client has left.
const LINES: &str = "STOP_CMD=/bin/true\nIDLE_TIME=1ms\n";

/// How long backends take: any time between these, all orders of magnitude alike.
struct Band {
    name: &'static str,
    from: Duration,
    to: Duration,
    /// Services that wake side by side, where one after the other would take too long.
    lanes: u32,
}

const BANDS: [Band; 3] = [
    Band {
        name: "5 to 50 ms",
        from: Duration::from_millis(5),
        to: Duration::from_millis(50),
        lanes: 1,
    },
    Band {
        name: "50 ms to 1 s",
        from: Duration::from_millis(50),
        to: Duration::from_secs(1),
        lanes: 1,
    },
    Band {
        name: "1 to 10 s",
        from: Duration::from_secs(1),
        to: Duration::from_secs(10),
        lanes: 8,
    },
];

/// What was seen of one wake.
struct Wake {
    connecting: Duration,
    start: Duration,
    stamps: Stamps,
    answered: Duration,
}

/// Every band; in the first two each wake alternates with the floor.
pub fn wakes(figures: &mut Figures, program: &Path, count: u32) -> Result<()> {
    let mut floor = Floor::new()?;
    let mut begun = Vec::new();
    for band in &BANDS {
        eprintln!("wakes, backend listens after {}", band.name);
        let daemon = Daemon::start(program, band.lanes as usize, LINES)?;
        let mut seen = Vec::new();
        if band.lanes == 1 {
            for _ in 0..count {
                seen.push(wake(&daemon, &daemon.services[0], band)?);
                floor.step()?;
            }
            begun.extend(seen.iter().map(|w| w.start.saturating_sub(w.connecting)));
        } else {
            seen = side_by_side(&daemon, band, count)?;
        }
        report(figures, band, &seen);
    }
    floor.report(figures);
    figures.many("connect() to START begun", &begun, None);
    Ok(())
}

fn report(figures: &mut Figures, band: &Band, seen: &[Wake]) {
    let row = |figures: &mut Figures, what: &str, bar, until: fn(&Wake) -> Duration| {
        let times: Vec<Duration> = seen
            .iter()
            .map(|wake| until(wake).saturating_sub(wake.stamps.before_listen))
            .collect();
        let name = format!("listen() after {}: {what}", band.name);
        figures.many(&name, &times, bar);
    };
    let bar = Some((P50_BAR, P99_BAR));
    row(figures, "to accept()", bar, |w| w.stamps.accepted);
    row(figures, "to first byte", None, |w| w.stamps.first_byte);
    row(figures, "to answer", None, |w| w.answered);
}

fn side_by_side(daemon: &Daemon, band: &Band, count: u32) -> Result<Vec<Wake>> {
    let seen = Mutex::new(Vec::new());
    // The daemon is asked through a runtime that one thread at a time may use.
    let services = &daemon.services;
    let each = count.div_ceil(band.lanes);
    thread::scope(|scope| {
        let lanes: Vec<_> = services
            .iter()
            .map(|service| {
                let seen = &seen;
                scope.spawn(move || -> Result<()> {
                    for _ in 0..each {
                        let wake = one_wake(service, band)?;
                        if let Ok(mut seen) = seen.lock() {
                            seen.push(wake);
                        }
                        daemon.until_asleep(service)?;
                    }
                    Ok(())
                })
            })
            .collect();
        for lane in lanes {
            lane.join().map_err(|_| "a lane panicked")??;
        }
        Result::Ok(())
    })?;
    Ok(seen.into_inner()?)
}

fn wake(daemon: &Daemon, service: &Service, band: &Band) -> Result<Wake> {
    let wake = one_wake(service, band)?;
    daemon.until_asleep(service)?;
    Ok(wake)
}

/// One client, which leaves when it has been answered; its backend ends with it.
fn one_wake(service: &Service, band: &Band) -> Result<Wake> {
    let connecting = now();
    let mut client = TcpStream::connect(service.front)?;
    client.write_all(&[1; MESSAGE])?;
    let mut start = service.stage.start()?;
    start.play(Part {
        at: service.target,
        pause: band.any(),
        clients: 1,
    })?;
    let answered = answer(&mut client)?;
    let stamps = start.stamps()?;
    drop(client);
    let begun = start.begun;
    start.ended()?;
    Ok(Wake {
        connecting,
        start: begun,
        stamps,
        answered,
    })
}

fn answer(client: &mut TcpStream) -> Result<Duration> {
    client.set_read_timeout(Some(LIMIT))?;
    client.read_exact(&mut [0; MESSAGE])?;
    Ok(now())
}

// === impl Band ===

impl Band {
    fn any(&self) -> Duration {
        let ratio = self.to.as_secs_f64() / self.from.as_secs_f64();
        self.from.mul_f64(ratio.powf(fastrand::f64()))
    }
}

/// The same backend with no proxy before it, and a client that does nothing else than to connect
/// until it succeeds: what listen(), two wake-ups of processes and accept() take here and now.
struct Floor {
    program: String,
    target: SocketAddr,
    stage: Stage,
    _directory: TempDir,
    spawned: Vec<Duration>,
    accepted: Vec<Duration>,
    first_byte: Vec<Duration>,
    answered: Vec<Duration>,
}

// === impl Floor ===

impl Floor {
    fn new() -> Result<Self> {
        let directory = TempDir::new()?;
        Ok(Self {
            program: backend::program()?,
            target: free_addresses(1)?[0],
            stage: Stage::open(directory.path().join("floor.sock"))?,
            _directory: directory,
            spawned: Vec::new(),
            accepted: Vec::new(),
            first_byte: Vec::new(),
            answered: Vec::new(),
        })
    }

    fn step(&mut self) -> Result<()> {
        let spawning = now();
        let mut process = Command::new(&self.program)
            .arg(backend::START)
            .arg(self.stage.path())
            .stdin(Stdio::null())
            .spawn()?;
        let mut start = self.stage.start()?;
        start.play(Part {
            at: self.target,
            pause: BANDS[0].any(),
            clients: 1,
        })?;
        process.wait()?;
        let mut client = self.connect()?;
        client.write_all(&[1; MESSAGE])?;
        let answered = answer(&mut client)?;
        let stamps = start.stamps()?;
        let since = |moment: Duration| moment.saturating_sub(stamps.before_listen);
        self.spawned.push(start.begun.saturating_sub(spawning));
        self.accepted.push(since(stamps.accepted));
        self.first_byte.push(since(stamps.first_byte));
        self.answered.push(since(answered));
        drop(client);
        start.ended()
    }

    fn connect(&self) -> Result<TcpStream> {
        let begun = now();
        loop {
            match TcpStream::connect(self.target) {
                Ok(client) => return Ok(client),
                Err(e) if e.kind() != ErrorKind::ConnectionRefused => return Err(e.into()),
                Err(e) if now() - begun > LIMIT => return Err(e.into()),
                Err(_) => {}
            }
        }
    }

    fn report(&self, figures: &mut Figures) {
        figures.many("floor: listen() to accept()", &self.accepted, None);
        figures.many("floor: listen() to first byte", &self.first_byte, None);
        figures.many("floor: listen() to answer", &self.answered, None);
        figures.many("floor: spawn() to START begun", &self.spawned, None);
    }
}
