//! A sleepingd of our own, and what /proc says of it.

// This thread is nobody's runtime.
#![allow(clippy::disallowed_methods)]

use std::{
    fmt::Write as _,
    fs::{self, File},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sleepingd::control::{Client, Status, api::State};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    Result, backend,
    common::{
        clock::now,
        ports::free_addresses,
        process::{self, Weight},
    },
    script::{LIMIT, Stage},
};

/// Kept in memory, as /run is: what the daemon writes down must not wait for a disk.
const MEMORY: &str = "/dev/shm";

/// One sleepingd. Ends with this.
pub struct Daemon {
    process: Child,
    directory: TempDir,
    client: Client,
    runtime: Runtime,
    /// Its services, in the order of its configuration.
    pub services: Vec<Service>,
}

/// One service of it.
pub struct Service {
    name: String,
    /// Where its clients come to.
    pub front: SocketAddr,
    /// Where its backend belongs.
    pub target: SocketAddr,
    /// Where its STARTs report.
    pub stage: Stage,
}

// === impl Daemon ===

impl Daemon {
    /// Starts one with so many sleeping services, each with these lines in its section, and waits
    /// until it serves.
    pub fn start(sleepingd: &Path, services: usize, lines: &str) -> Result<Self> {
        let directory = TempDir::new_in(if Path::new(MEMORY).is_dir() {
            MEMORY
        } else {
            "/tmp"
        })?;
        let program = backend::program()?;
        let mut sections = Vec::new();
        let mut text = String::new();
        let addresses = free_addresses(2 * services)?;
        for (number, pair) in addresses.chunks_exact(2).enumerate() {
            let service = Service {
                name: format!("service {number}"),
                front: pair[0],
                target: pair[1],
                stage: Stage::open(directory.path().join(format!("{number}.sock")))?,
            };
            writeln!(
                text,
                "[{}]\nPORT={}\nTARGET={}\nSTART_CMD={program} {} {}\n{lines}",
                service.name,
                service.front,
                service.target,
                backend::START,
                service.stage.path().display(),
            )?;
            sections.push(service);
        }
        let file = directory.path().join("sleepingd.conf");
        fs::write(&file, text)?;
        let process = Command::new(sleepingd)
            .arg("--config-file")
            .arg(&file)
            .arg("--runtime-directory")
            .arg(directory.path())
            .stdin(Stdio::null())
            .stderr(File::create(directory.path().join("log"))?)
            .spawn()?;
        let daemon = Self {
            process,
            client: Client::new(directory.path().join("control.sock"), LIMIT),
            directory,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            services: sections,
        };
        daemon.until("it serves", |status| status.is_some())?;
        Ok(daemon)
    }

    /// Waits until this service sleeps.
    pub fn until_asleep(&self, service: &Service) -> Result<()> {
        self.until("it sleeps", |status| {
            status.is_some_and(|status| {
                let found = status.services.iter().find(|one| one.name == service.name);
                found.is_some_and(|one| one.state == State::Asleep)
            })
        })
    }

    fn until(&self, what: &str, done: impl Fn(Option<&Status>) -> bool) -> Result<()> {
        let begun = now();
        while !done(self.runtime.block_on(self.client.status()).ok().as_ref()) {
            if now() - begun > LIMIT {
                let log = self.log();
                return Err(format!("waited {LIMIT:?} in vain until {what}:\n{log}").into());
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// What it has said.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("log"));
        log.unwrap_or_else(|e| format!("its log cannot be read: {e}"))
    }

    // === what it costs ===

    /// What it weighs now.
    pub fn weight(&self) -> Result<Weight> {
        Weight::of(self.process.id())
    }

    /// The processor time of all its threads, those that have ended too.
    pub fn cpu(&self) -> Result<Duration> {
        process::cpu(self.process.id())
    }

    /// Its threads now, and how often they have been switched away from: each time one waits, and
    /// each time another takes its place. A process that never wakes up has no new ones.
    pub fn threads(&self) -> Result<(u64, u64)> {
        let (mut threads, mut switches) = (0, 0);
        for task in fs::read_dir(self.proc("task"))? {
            let status = fs::read_to_string(task?.path().join("status"))?;
            threads += 1;
            for line in status
                .lines()
                .filter(|line| line.contains("_ctxt_switches"))
            {
                let count = line.rsplit('\t').next().ok_or("no count")?;
                switches += count.parse::<u64>()?;
            }
        }
        Ok((threads, switches))
    }

    fn proc(&self, file: &str) -> String {
        format!("/proc/{}/{file}", self.process.id())
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(self.process.id().try_into()?))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already; the wait tells.
        if let Ok(pid) = self.pid() {
            let _ = kill(pid, Signal::SIGTERM);
        }
        let _ = self.process.wait();
    }
}
