//! System calls of the daemon that fail, from one moment to another.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use tempfile::NamedTempFile;

use super::{PATIENCE, process::Daemon};

/// While it lives, these calls fail.
pub struct Faults {
    strace: Child,
    /// What it says of the calls.
    log: NamedTempFile,
    daemon: Pid,
}

impl Faults {
    /// Each as strace(1) has it: `accept4:error=EMFILE`. Returns when they are in force, for every
    /// thread there is and will be.
    #[track_caller]
    pub fn inject(daemon: &Daemon, faults: &[&str]) -> Self {
        let mut strace = Command::new("strace");
        let log = NamedTempFile::new().unwrap();
        strace.args(["-f", "-p", &daemon.pid().to_string(), "-o"]);
        strace.arg(log.path());
        let calls: Vec<&str> = faults
            .iter()
            .map(|fault| fault.split(':').next().unwrap())
            .collect();
        strace.arg("-e").arg(format!("trace={}", calls.join(",")));
        for fault in faults {
            strace.arg("-e").arg(format!("inject={fault}"));
        }
        let mut child = strace
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // "strace: Process 123 attached", with " with 2 threads" where there are some.
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert!(line.contains("attached"), "{line}");
        // What it says later must find a reader.
        child.stderr = Some(said.into_inner());
        Self {
            strace: child,
            log,
            daemon: daemon.pid(),
        }
    }

    /// How many calls have failed.
    pub fn count(&self) -> usize {
        self.lines_with("(INJECTED)")
    }

    fn lines_with(&self, text: &str) -> usize {
        let log = fs::read_to_string(self.log.path()).unwrap_or_default();
        log.lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until each thread of the daemon has stopped. Says nothing if they do not: this is the
    /// end of a test that may have failed.
    fn wait_until_stopped(&self) {
        let deadline = Instant::now() + PATIENCE;
        let tasks = format!("/proc/{}/task", self.daemon);
        while Instant::now() < deadline {
            let threads = fs::read_dir(&tasks).map_or(0, Iterator::count);
            if self.lines_with("--- stopped by SIGSTOP ---") >= threads {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Faults {
    /// From here on they succeed again.
    fn drop(&mut self) {
        // Nobody may be within such a call now: to the kernel it is none, and until strace has put
        // its error in place it fails with ENOSYS.
        let _ = kill(self.daemon, Signal::SIGSTOP);
        self.wait_until_stopped();
        // It detaches when it is told to end; killed, it would take the daemon with it.
        let _ = kill(
            Pid::from_raw(i32::try_from(self.strace.id()).unwrap()),
            Signal::SIGTERM,
        );
        let _ = self.strace.wait();
        let _ = kill(self.daemon, Signal::SIGCONT);
    }
}
