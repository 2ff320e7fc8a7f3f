//! COMMAND: a backend that is a process of ours, from its start to its end.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use nix::{libc, sys::signal::Signal};
use serde::{Deserialize, Serialize};

use super::{CommandExit, CommandLine};

/// COMMAND, and how it is ended. Part of the recipe: what runs is ended as it was meant when it was
/// started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supervised {
    /// What is run.
    pub command: CommandLine,
    /// How it is ended.
    pub stop: StopPlan,
}

/// How a backend of ours is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopPlan {
    /// STOP_SIGNAL, to all of it.
    pub signal: StopSignal,
    /// STOP_TIMEOUT: SIGKILL to what is left then; `None` is never.
    pub timeout: Option<Duration>,
}

/// A signal, by its number: realtime signals have no other name to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i32", into = "i32")]
pub struct StopSignal(i32);

/// Not a signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not a signal; known are {}, RTMIN+N, RTMAX-N, and the numbers 1 to {LAST}",
    known()
)]
pub struct StopSignalError;

/// Which process: ids are used again, but never with the same time of start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// Its number, which is that of its process group as well.
    pub pid: i32,
    /// When it was started, in the kernel's ticks since boot (proc_pid_stat(5)).
    pub started: u64,
}

/// A backend that runs, for the next daemon to find it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendProcess {
    /// Which process it is.
    pub id: ProcessId,
    /// The control group that it was given, if one could be had.
    #[serde(default)]
    pub cgroup: Option<PathBuf>,
}

/// A backend that has ended, with all that it had started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendEnd {
    /// How; `None` where an earlier daemon had started it, since only a parent is told.
    pub exit: Option<CommandExit>,
    /// The last lines of its standard error, at most 10.
    pub stderr_tail: Vec<String>,
}

/// The kernel's last signal, signal(7).
const LAST: i32 = 64;

// === impl StopPlan ===

impl Default for StopPlan {
    fn default() -> Self {
        Self {
            signal: StopSignal(Signal::SIGTERM as i32),
            timeout: super::Timeouts::default().stop,
        }
    }
}

// === impl StopSignal ===

impl StopSignal {
    /// SIGHUP: whose terminal has gone.
    pub const HUP: Self = Self(libc::SIGHUP);
    /// SIGINT: Ctrl-C.
    pub const INT: Self = Self(libc::SIGINT);
    /// SIGTSTP: Ctrl-Z.
    pub const TSTP: Self = Self(libc::SIGTSTP);
    /// SIGCONT: it goes on.
    pub const CONT: Self = Self(libc::SIGCONT);
    /// SIGTERM.
    pub const TERM: Self = Self(libc::SIGTERM);

    /// Its number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }
}

impl TryFrom<i32> for StopSignal {
    type Error = StopSignalError;

    fn try_from(number: i32) -> Result<Self, StopSignalError> {
        let named = Signal::try_from(number).is_ok();
        let realtime = (libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number);
        if named || realtime {
            Ok(Self(number))
        } else {
            Err(StopSignalError)
        }
    }
}

impl From<StopSignal> for i32 {
    fn from(signal: StopSignal) -> Self {
        signal.0
    }
}

/// `TERM`, `SIGTERM`, `15`, `RTMIN+3`; in any case.
impl FromStr for StopSignal {
    type Err = StopSignalError;

    fn from_str(text: &str) -> Result<Self, StopSignalError> {
        let name = text.to_ascii_uppercase();
        if !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) {
            let number: Result<i32, _> = name.parse();
            return number.map_or(Err(StopSignalError), Self::try_from);
        }
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        if let Ok(signal) = Signal::from_str(&format!("SIG{name}")) {
            return Ok(Self(signal as i32));
        }
        realtime(name).map_or(Err(StopSignalError), Self::try_from)
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Signal::try_from(self.0) {
            Ok(signal) => f.write_str(signal.as_str()),
            Err(_) => write!(f, "SIGRTMIN+{}", self.0 - libc::SIGRTMIN()),
        }
    }
}

/// `RTMIN`, `RTMIN+3`, `RTMAX-1`: what they are called depends on the C library, which keeps some
/// for itself.
fn realtime(name: &str) -> Option<i32> {
    let steps = |rest: &str, sign: char| match rest {
        "" => Some(0),
        rest => rest.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from),
    };
    let number = match name.strip_prefix("RTMIN") {
        Some(rest) => libc::SIGRTMIN() + steps(rest, '+')?,
        None => libc::SIGRTMAX() - steps(name.strip_prefix("RTMAX")?, '-')?,
    };
    (number >= libc::SIGRTMIN()).then_some(number)
}

fn known() -> String {
    let names = Signal::iterator().map(|signal| signal.as_str().trim_start_matches("SIG"));
    names.collect::<Vec<_>>().join(" ")
}

// === impl BackendEnd ===

impl fmt::Display for BackendEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.exit {
            Some(exit) => exit.fmt(f),
            None => f.write_str(
                "has ended (its exit status is not known: an earlier daemon had started it)",
            ),
        }
    }
}

impl BackendEnd {
    /// Whether it ended otherwise than by its own will, as far as that is known.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.exit.as_ref().is_some_and(|exit| !exit.success())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_known_by_its_name_and_by_its_number() {
        let number = |text: &str| text.parse::<StopSignal>().map(StopSignal::number);
        for text in ["TERM", "SIGTERM", "sigterm", "15"] {
            assert_eq!(number(text), Ok(15), "{text}");
        }
        assert_eq!(number("RTMIN+3"), Ok(libc::SIGRTMIN() + 3));
        assert_eq!(number("SIGRTMAX-1"), Ok(libc::SIGRTMAX() - 1));
        for text in [
            "",
            "0",
            "-1",
            "65",
            "TERMINATE",
            "SIGSIGTERM",
            "RTMIN-1",
            "RTMIN+99",
            "RTMAX-99",
            "99999999999",
            "32",
        ] {
            assert_eq!(number(text), Err(StopSignalError), "{text}");
        }
        let said = StopSignalError.to_string();
        assert!(said.contains("HUP INT QUIT"), "{said}");
    }

    #[test]
    fn what_is_shown_of_a_signal_reads_back_as_the_same() {
        for number in 1..=LAST {
            let Ok(signal) = StopSignal::try_from(number) else {
                continue;
            };
            assert_eq!(signal.to_string().parse(), Ok(signal));
        }
    }
}
