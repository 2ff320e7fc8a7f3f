//! The daemon and other programs: what they say, and how they end.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashSet},
    fs,
    os::{
        fd::OwnedFd,
        unix::{fs::OpenOptionsExt, net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, fcntl},
    libc,
    sys::{
        signal::{Signal, kill, killpg},
        stat::fstat,
    },
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

use super::{
    PATIENCE,
    log::{Journal, Log},
};

const SLEEPINGCTL: &str = env!("CARGO_BIN_EXE_sleepingctl");

/// A running daemon. Dropped, it is killed, and all that it started.
pub struct Daemon {
    child: Child,
    log: Arc<Log>,
    /// Lines before this one have been waited for.
    seen: RefCell<usize>,
    runtime: PathBuf,
    marker: String,
}

// === impl Daemon ===

impl Daemon {
    /// Runs this command, until the daemon says that it is ready.
    #[track_caller]
    pub fn start(mut command: Command, runtime: PathBuf, marker: String) -> Self {
        let mut child = spawn(command.stderr(Stdio::piped()));
        let log = Log::follow(child.stderr.take().unwrap());
        Self::ready(child, log, runtime, marker)
    }

    /// The same, with the journal for its log, and us for journald.
    #[track_caller]
    pub fn start_with_journal(mut command: Command, runtime: PathBuf, marker: String) -> Self {
        let journal = Journal::bound();
        // That its standard error is this stream is how it knows (systemd.exec(5)).
        let (stream, of_daemon) = UnixStream::pair().unwrap();
        let stat = fstat(&of_daemon).unwrap();
        command.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
        let child = spawn(command.stderr(OwnedFd::from(of_daemon)));
        // Ours of the daemon's end: else the stream would never end.
        drop(command);
        let log = Log::follow_journal(journal, stream);
        Self::ready(child, log, runtime, marker)
    }

    #[track_caller]
    fn ready(child: Child, log: Arc<Log>, runtime: PathBuf, marker: String) -> Self {
        let daemon = Self {
            child,
            log,
            seen: RefCell::new(0),
            runtime,
            marker,
        };
        daemon.says("ready: ");
        daemon
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits until it says this, in a line after those that were waited for before.
    #[track_caller]
    pub fn says(&self, text: &str) -> String {
        let mut seen = self.seen.borrow_mut();
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.log.state.lock().unwrap();
        loop {
            let new = state.lines.get(*seen..).unwrap_or_default();
            if let Some(at) = new.iter().position(|line| line.contains(text)) {
                let line = new[at].clone();
                *seen += at + 1;
                return line;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                drop(state);
                panic!("the daemon does not say '{text}'");
            }
            state = self.log.news.wait_timeout(state, left).unwrap().0;
        }
    }

    /// How many lines with this text there are by now.
    pub fn said(&self, text: &str) -> usize {
        let state = self.log.state.lock().unwrap();
        state
            .lines
            .iter()
            .filter(|line| line.contains(text))
            .count()
    }

    /// All lines by now.
    pub fn lines(&self) -> Vec<String> {
        self.log.state.lock().unwrap().lines.clone()
    }

    /// Waits for its end; says its exit code.
    #[track_caller]
    pub fn ends(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.log.state.lock().unwrap();
        while !state.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                panic!("the daemon does not end");
            }
            state = self.log.news.wait_timeout(state, left).unwrap().0;
        }
        drop(state);
        self.child.wait().unwrap().code()
    }

    /// SIGTERM, to its end.
    #[track_caller]
    pub fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.ends()
    }

    /// SIGHUP, until it has been heard.
    #[track_caller]
    pub fn reload(&self) {
        self.signal(Signal::SIGHUP);
        self.says("reloaded: ");
    }

    /// `sleepingctl` with these arguments.
    pub fn ctl(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new(SLEEPINGCTL);
        command
            .env_clear()
            .arg("--socket")
            .arg(self.runtime.join("control.sock"));
        run(command.args(arguments))
    }

    /// What `sleepingctl status --json` says of the service.
    pub fn status(&self, service: &str) -> serde_json::Value {
        let ended = self.ctl(&["status", "--json", service]);
        let status: serde_json::Value = serde_json::from_str(&ended.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}{}", ended.stdout, ended.stderr));
        status["services"][0].clone()
    }

    /// What it is doing: `awake`, `asleep`, ...
    pub fn state(&self, service: &str) -> String {
        self.status(service)["state"].as_str().unwrap().to_owned()
    }

    /// What it has counted since it started.
    pub fn counters(&self) -> serde_json::Value {
        let ended = self.ctl(&["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&ended.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}{}", ended.stdout, ended.stderr));
        status["counters"].clone()
    }

    /// The numbers of its open descriptors.
    pub fn descriptors(&self) -> HashSet<usize> {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .map(|entry| {
                entry
                    .unwrap()
                    .file_name()
                    .to_str()
                    .unwrap()
                    .parse()
                    .unwrap()
            })
            .collect()
    }

    /// How large the pipes are that it holds, in bytes, each once.
    pub fn pipes(&self) -> Vec<usize> {
        let mut pipes = BTreeMap::new();
        for number in self.descriptors() {
            let path = format!("/proc/{}/fd/{number}", self.pid());
            // It may be closed meanwhile.
            let Ok(target) = fs::read_link(&path) else {
                continue;
            };
            if !target.as_os_str().as_encoded_bytes().starts_with(b"pipe:") {
                continue;
            }
            // Opening it again gives the same pipe.
            let mut options = fs::OpenOptions::new();
            options.read(true).custom_flags(libc::O_NONBLOCK);
            let Ok(pipe) = options.open(&path) else {
                continue;
            };
            let size = fcntl(&pipe, FcntlArg::F_GETPIPE_SZ).unwrap();
            pipes.insert(target, usize::try_from(size).unwrap());
        }
        pipes.into_values().collect()
    }

    /// The memory that is its own, in bytes: neither program text nor files.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:"));
        let kilobytes = line.unwrap().split_ascii_whitespace().nth(1).unwrap();
        kilobytes.parse::<u64>().unwrap() << 10
    }

    /// Children of it that have ended and were not waited for.
    pub fn zombies(&self) -> usize {
        let stats = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            // It may end meanwhile.
            fs::read_to_string(entry.ok()?.path().join("stat")).ok()
        });
        let own = format!("Z {} ", self.pid());
        stats
            .filter(|stat| {
                stat.rsplit_once(") ")
                    .is_some_and(|(_, rest)| rest.starts_with(&own))
            })
            .count()
    }

    /// How many descriptors are open for its services and their clients: without those of the
    /// relay threads, which are started when they are needed, and stay, and without those of who
    /// has just asked it something: an answer is read before the daemon has closed behind it.
    pub fn descriptors_in_use(&self) -> usize {
        // Its epoll instance twice, an eventfd, and the end of a pipe that tells of signals.
        const OF_A_THREAD: usize = 4;
        self.what_is_open().len() - OF_A_THREAD * self.relay_threads()
    }

    /// Its descriptors, by what they are, without those of who has just asked it something.
    pub fn what_is_open(&self) -> Vec<PathBuf> {
        // First of all: a connection may go meanwhile, and none comes.
        let asking = self.connections_that_ask();
        self.descriptors()
            .into_iter()
            // One that is closed by now is not open.
            .filter_map(|number| fs::read_link(format!("/proc/{}/fd/{number}", self.pid())).ok())
            .filter(|link| !asking.contains(link))
            .collect()
    }

    /// What its open control connections are called in /proc/PID/fd.
    fn connections_that_ask(&self) -> HashSet<PathBuf> {
        const CONNECTED: &str = "03";
        let control = self.runtime.join("control.sock");
        let table = fs::read_to_string("/proc/net/unix").unwrap();
        table
            .lines()
            .filter_map(|line| {
                // Num, RefCount, Protocol, Flags, Type, St, Inode, Path: proc(5).
                let words: Vec<&str> = line.split_ascii_whitespace().collect();
                let (state, inode, path) = (words.get(5)?, words.get(6)?, words.get(7)?);
                (*state == CONNECTED && Path::new(path) == control)
                    .then(|| PathBuf::from(format!("socket:[{inode}]")))
            })
            .collect()
    }

    /// How many threads were started for relaying.
    pub fn relay_threads(&self) -> usize {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")));
        names
            .filter(|name| name.as_ref().is_ok_and(|name| name.starts_with("relay-")))
            .count()
    }

    /// The processor time that it has used, to the nanosecond: in /proc it is cut off to 10 ms,
    /// twice.
    pub fn cpu(&self) -> Duration {
        let clock = clock_getcpuclockid(self.pid()).unwrap();
        clock_gettime(clock).unwrap().into()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if thread::panicking() {
            let state = self.log.state.lock().unwrap();
            let last = &state.lines[state.lines.len().saturating_sub(50)..];
            eprintln!("--- the daemon said at last:\n{}\n---", last.join("\n"));
        }
        // It may have ended, and its group with it.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
        // What one of them starts while the others are killed is found in the next round.
        for _ in 0..100 {
            let left = with_marker(&self.marker);
            if left.is_empty() {
                return;
            }
            for (pid, _) in left {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
    }
}

/// In a group of its own.
#[track_caller]
fn spawn(command: &mut Command) -> Child {
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Processes with this in their environment, zombies aside, with what they run.
pub fn with_marker(marker: &str) -> Vec<(Pid, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        // It may end meanwhile; a zombie's is empty.
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment
            .windows(marker.len())
            .any(|window| window == marker.as_bytes())
        {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            found.push((Pid::from_raw(pid), command));
        }
    }
    found
}

// === programs that end ===

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs it to its end; kills it after `PATIENCE`.
#[track_caller]
pub fn run(command: &mut Command) -> Ended {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let (to, ended) = mpsc::channel();
    thread::spawn(move || to.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(PATIENCE) else {
        let _ = kill(pid, Signal::SIGKILL);
        panic!("{command:?} does not end");
    };
    let Output {
        status,
        stdout,
        stderr,
    } = output.unwrap();
    Ended {
        code: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}
