//! System calls of the daemon that fail, from one moment to another.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::process::Daemon;

/// While it lives, these calls fail.
pub struct Faults(Child);

impl Faults {
    /// Each as strace(1) has it: `accept4:error=EMFILE`. Returns when they are in force, for every
    /// thread there is and will be.
    #[track_caller]
    pub fn inject(daemon: &Daemon, faults: &[&str]) -> Self {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", "/dev/null", "-p", &daemon.pid().to_string()]);
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
        Self(child)
    }
}

impl Drop for Faults {
    /// From here on they succeed again.
    fn drop(&mut self) {
        // It detaches when it is told to end; killed, it would take the daemon with it.
        let _ = kill(
            Pid::from_raw(i32::try_from(self.0.id()).unwrap()),
            Signal::SIGTERM,
        );
        let _ = self.0.wait();
    }
}
