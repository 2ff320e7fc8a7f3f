//! A request to run a command, and what came of it: plain data, so that the runner can move to a
//! process of its own.

use std::{fmt, sync::Arc, time::Duration};

use super::{ClientAddr, Destination, LocalAddr, Recipe, ServiceName, Slug};

/// What a command is run for; SLEEPINGD_ACTION says so to the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Wake the backend.
    Start,
    /// Put it to sleep.
    Stop,
    /// Is it up?
    Check,
    /// Does nobody use it?
    Idle,
    /// Is it ready?
    Ready,
}

/// A command as the file writes it, for the shell or to be executed directly.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommandLine(String);

/// Run this.
#[derive(Debug, Clone)]
pub struct CommandRequest {
    /// The service it is for.
    pub service: ServiceName,
    /// The same, made safe for names.
    pub slug: Slug,
    /// What for.
    pub action: Action,
    /// What to run.
    pub command: CommandLine,
    /// As whom, with which shell, in which environment.
    pub recipe: Arc<Recipe>,
    /// How long it may run; `None` is without limit.
    pub timeout: Option<Duration>,
    /// The destination, where it is known.
    pub destination: Option<Destination>,
    /// The client that caused it, and the address it connected to.
    pub client: Option<(ClientAddr, LocalAddr)>,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandExit {
    /// It exited with this status.
    Exited(i32),
    /// A signal that was not ours ended it.
    Signalled(i32),
    /// It ran longer than it may, and was killed with all its children.
    TimedOut(Duration),
    /// We no longer wanted it, and it was killed with all its children.
    Cancelled,
    /// START alone: its first line is complete, and it goes on running.
    Running,
    /// It could not be started; why.
    NotStarted(String),
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutcome {
    /// How it ended.
    pub exit: CommandExit,
    /// The first line of its standard output, without the newline; at most 4 KiB of it.
    pub first_line: Option<String>,
    /// The last lines of its standard error, at most 10.
    pub stderr_tail: Vec<String>,
    /// How long it ran.
    pub took: Duration,
}

// === impl Action ===

impl Action {
    /// The name as SLEEPINGD_ACTION has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Check => "check",
            Self::Idle => "idle",
            Self::Ready => "ready",
        }
    }

    /// The key of the file that the command comes from.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Start => "START_CMD",
            Self::Stop => "STOP_CMD",
            Self::Check => "CHECK_CMD",
            Self::Idle => "IDLE_CMD",
            Self::Ready => "READY_CMD",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl CommandLine ===

impl CommandLine {
    /// A command; `None` where the text is blank, which is no command.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// The text as the shell gets it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The words, where no shell is needed: the first is an absolute path, and nothing in the
    /// text means anything to a shell.
    #[must_use]
    pub fn direct(&self) -> Option<Vec<&str>> {
        const SHELL: &[char] = &[
            '|', '&', ';', '<', '>', '(', ')', '$', '`', '\\', '"', '\'', '*', '?', '[', ']', '#',
            '~', '=', '%', '!', '{', '}', '^', '\n',
        ];
        if !self.0.starts_with('/') || self.0.contains(SHELL) {
            return None;
        }
        Some(self.0.split_ascii_whitespace().collect())
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl CommandExit ===

impl CommandExit {
    /// Exit status 0.
    #[must_use]
    pub fn success(&self) -> bool {
        matches!(self, Self::Exited(0))
    }
}

impl fmt::Display for CommandExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(127) => f.write_str("exited with status 127 (command not found)"),
            Self::Exited(126) => f.write_str("exited with status 126 (command not executable)"),
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Signalled(signal) => match nix::sys::signal::Signal::try_from(*signal) {
                Ok(name) => write!(f, "was killed by {name}"),
                Err(_) => write!(f, "was killed by signal {signal}"),
            },
            Self::TimedOut(limit) => {
                write!(
                    f,
                    "did not end within {} and was killed",
                    super::duration::show(*limit)
                )
            }
            Self::Cancelled => f.write_str("was cancelled"),
            Self::Running => f.write_str("is running"),
            Self::NotStarted(why) => write!(f, "could not be started: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_absolute_commands_run_without_a_shell() {
        let direct = |text: &str| {
            CommandLine::new(text)
                .unwrap()
                .direct()
                .map(|w| w.join(" "))
        };
        assert_eq!(direct("/bin/echo  a b").as_deref(), Some("/bin/echo a b"));
        for shell in [
            "echo a",
            "/bin/echo $X",
            "/bin/a; /bin/b",
            "/bin/echo 'a'",
            "A=1 /bin/x",
        ] {
            assert_eq!(direct(shell), None, "{shell}");
        }
        assert_eq!(CommandLine::new("  "), None);
    }
}
