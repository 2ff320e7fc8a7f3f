//! What stands between clients and the backend: sleepingd, its rivals, or nothing.
//!
//! Each is one [`Candidate`] with its own `configure`, all with logging off and limits that nothing
//! here reaches, otherwise as it comes from its makers; `benches/README.md` says what is set.

// This thread is nobody's runtime.
#![allow(clippy::disallowed_methods)]

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{
    Result,
    backend::{self, Purpose},
    common::{clock::now, ports::free_addresses},
    order::LIMIT,
    roles,
};

pub use program::{Missing, Program};

mod haproxy;
mod nginx;
mod program;
mod proxyd;
mod sleepingd;
mod socat;

/// Kept in memory, as /run is: nobody must wait for a disk.
const MEMORY: &str = "/dev/shm";

/// How long one may take to end when it is told to.
const GRACE: Duration = Duration::from_secs(5);

/// Something that can be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// As it is called in the table.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// What a candidate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: clients connect to the backend.
    Direct,
    /// Ours.
    Sleepingd {
        /// Which binary.
        program: PathBuf,
        /// Lines before its first section.
        head: Vec<String>,
        /// Whom it runs as, if not as us.
        user: Option<u32>,
    },
    /// HAProxy.
    Haproxy(Threads),
    /// nginx's stream module.
    Nginx(Threads),
    /// systemd-socket-proxyd.
    SocketProxyd,
    /// socat.
    Socat,
}

/// Which rivals a figure is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// No rival.
    None,
    /// HAProxy, with however many threads.
    Haproxy,
    /// nginx, with however many workers.
    Nginx,
    /// Any other rival.
    Other,
}

/// How many of the processors a relay uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// As many as it takes of its own accord.
    Its,
    /// One.
    One,
}

/// How many connections a relay is told to be ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It is told nothing: some set memory aside for what they are told.
    Usual,
    /// More than come.
    Crowd,
}

/// One that runs, or nothing. Ends with this.
pub struct Relay {
    /// Where clients connect to.
    pub front: SocketAddr,
    process: Option<Running>,
}

/// A process of ours. Ends with this.
pub struct Running {
    child: Child,
    directory: TempDir,
}

/// How one is started.
struct Plan {
    program: PathBuf,
    arguments: Vec<OsString>,
    /// Given to it, as systemd would.
    socket: Option<OwnedFd>,
}

/// Between which addresses, and where there is room for files.
struct Place<'a> {
    front: SocketAddr,
    backend: SocketAddr,
    room: Room,
    directory: &'a Path,
}

// === impl Candidate ===

impl Candidate {
    /// One with this name.
    pub fn new(name: &str, kind: Kind) -> Self {
        let name = name.to_owned();
        Self { name, kind }
    }

    /// Whose it is.
    pub fn family(&self) -> Family {
        match self.kind {
            Kind::Direct | Kind::Sleepingd { .. } => Family::None,
            Kind::Haproxy(_) => Family::Haproxy,
            Kind::Nginx(_) => Family::Nginx,
            Kind::SocketProxyd | Kind::Socat => Family::Other,
        }
    }

    /// The program that it is, if it needs one.
    pub fn program(&self) -> std::result::Result<Option<Program>, Missing> {
        match &self.kind {
            Kind::Direct | Kind::Sleepingd { .. } => Ok(None),
            Kind::Haproxy(_) => haproxy::find().map(Some),
            Kind::Nginx(_) => nginx::find().map(Some),
            Kind::SocketProxyd => proxyd::find().map(Some),
            Kind::Socat => socat::find().map(Some),
        }
    }

    /// Starts it before this backend; when this returns, it has relayed a byte.
    pub fn start(&self, backend: SocketAddr, room: Room) -> Result<Relay> {
        if self.kind == Kind::Direct {
            let (front, process) = (backend, None);
            return Ok(Relay { front, process });
        }
        let directory = directory()?;
        let front = free_addresses(1)?[0];
        let place = Place {
            front,
            backend,
            room,
            directory: directory.path(),
        };
        let plan = match &self.kind {
            Kind::Direct => return Err("there is nothing to start".into()),
            Kind::Sleepingd {
                program,
                head,
                user,
            } => sleepingd::plan(program, head, *user, &place)?,
            Kind::Haproxy(threads) => haproxy::plan(*threads, &place)?,
            Kind::Nginx(threads) => nginx::plan(*threads, &place)?,
            Kind::SocketProxyd => proxyd::plan(&place)?,
            Kind::Socat => socat::plan(&place)?,
        };
        let mut running = plan.start(directory)?;
        running.until_it_relays(front)?;
        let process = Some(running);
        Ok(Relay { front, process })
    }
}

// === impl Relay ===

impl Relay {
    /// The process, whose descendants belong to it.
    pub fn process(&self) -> Option<u32> {
        self.process.as_ref().map(Running::id)
    }

    /// What has become of it: for when something is wrong.
    pub fn state(&mut self) -> String {
        self.process.as_mut().map_or(String::new(), Running::state)
    }
}

// === impl Plan ===

impl Plan {
    fn new(program: impl Into<PathBuf>, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.iter().map(|a| a.as_ref().into()).collect(),
            socket: None,
        }
    }

    fn start(self, directory: TempDir) -> Result<Running> {
        let role = match self.socket {
            Some(_) => roles::ACTIVATED,
            None => roles::RELAY,
        };
        let mut command = roles::command(role)?;
        command.arg(self.program).args(self.arguments);
        if let Some(socket) = self.socket {
            command.stdin(socket);
        }
        Running::start(command, directory)
    }
}

// === impl Running ===

impl Running {
    /// Our backend, at these addresses.
    pub fn backend(at: &[SocketAddr]) -> Result<Self> {
        let mut command = roles::command(backend::ROLE)?;
        command.args(at.iter().map(SocketAddr::to_string));
        let mut running = Self::start(command, directory()?)?;
        for address in at {
            running.until_it_relays(*address)?;
        }
        Ok(running)
    }

    fn start(mut command: Command, directory: TempDir) -> Result<Self> {
        let log = File::create(directory.path().join("log"))?;
        let child = command
            .stdout(Stdio::null())
            .stderr(log)
            .current_dir(directory.path())
            .spawn()?;
        Ok(Self { child, directory })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs, and what it has said: for when something is wrong.
    fn state(&mut self) -> String {
        let state = match self.child.try_wait() {
            Ok(None) => "it runs".to_owned(),
            Ok(Some(status)) => format!("it has ended, {status}"),
            Err(e) => format!("nobody knows whether it runs: {e}"),
        };
        let log = fs::read_to_string(self.directory.path().join("log"));
        let log = log.unwrap_or_else(|e| format!("its log cannot be read: {e}"));
        format!("; {state}\n{log}")
    }

    fn until_it_relays(&mut self, front: SocketAddr) -> Result<()> {
        let begun = now();
        loop {
            let Err(why) = relays(front) else {
                return Ok(());
            };
            if self.child.try_wait()?.is_some() || now() - begun > LIMIT {
                return Err(format!("no byte comes through: {why}{}", self.state()).into());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Ok(id) = i32::try_from(self.child.id()) else {
            return;
        };
        // It may have ended already; the wait tells.
        let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        let told = now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if now() - told > GRACE {
                // Nothing is left to be asked for.
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn relays(front: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&front, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(&[Purpose::Echo as u8])?;
    Ok(stream.read_exact(&mut [0])?)
}

fn directory() -> Result<TempDir> {
    let parent = if Path::new(MEMORY).is_dir() {
        MEMORY
    } else {
        "/tmp"
    };
    Ok(TempDir::new_in(parent)?)
}
