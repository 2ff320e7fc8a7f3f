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
    /// Be the backend.
    Command,
}

/// A command: as the file writes it, or as one that is ready-made.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommandLine {
    /// What a person would type.
    text: String,
    made: Made,
}

/// What a command is made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Made {
    /// Of what the file says.
    Written,
    /// Of these words; the first is found by PATH.
    Words(Vec<String>),
    /// Of this very program, with these arguments.
    Ourselves(Vec<String>),
}

/// How a command is executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Execution<'a> {
    /// By the shell.
    Shell(&'a str),
    /// Directly: a program, and its arguments.
    Program(Vec<&'a str>),
    /// By this very program, with these arguments.
    Ourselves(Vec<&'a str>),
}

/// What means something to a shell, and so needs one.
const SHELL: &[char] = &[
    '|', '&', ';', '<', '>', '(', ')', '$', '`', '\\', '"', '\'', '*', '?', '[', ']', '#', '~',
    '=', '%', '!', '{', '}', '^', '\n',
];

/// What this program is called, in what a person would type.
const OURSELVES: &str = "sleepingd";

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
            Self::Command => "command",
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
            Self::Command => "COMMAND",
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
        (!text.is_empty()).then(|| Self {
            text: text.to_owned(),
            made: Made::Written,
        })
    }

    /// A command of these words, whatever is in them: no shell sees it.
    #[must_use]
    pub fn words(words: &[&str]) -> Self {
        Self {
            text: shown(words),
            made: Made::Words(owned(words)),
        }
    }

    /// This very program with these arguments.
    #[must_use]
    pub fn ourselves(arguments: &[&str]) -> Self {
        Self {
            text: format!("{OURSELVES} {}", shown(arguments)),
            made: Made::Ourselves(owned(arguments)),
        }
    }

    /// The text as a person would type it into the shell.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How it is executed.
    #[must_use]
    pub fn execution(&self) -> Execution<'_> {
        match &self.made {
            Made::Written => match self.direct() {
                Some(words) => Execution::Program(words),
                None => Execution::Shell(&self.text),
            },
            Made::Words(words) => Execution::Program(borrowed(words)),
            Made::Ourselves(arguments) => Execution::Ourselves(borrowed(arguments)),
        }
    }

    /// The words, where no shell is needed: the first is an absolute path, and nothing in the
    /// text means anything to a shell.
    fn direct(&self) -> Option<Vec<&str>> {
        if !self.text.starts_with('/') || self.text.contains(SHELL) {
            return None;
        }
        Some(self.text.split_ascii_whitespace().collect())
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// Words with quotes around those that a shell would change.
fn shown(words: &[&str]) -> String {
    let quoted = words.iter().map(|&word| {
        if word.is_empty() || word.contains(SHELL) || word.contains(char::is_whitespace) {
            format!("'{}'", word.replace('\'', "'\\''"))
        } else {
            word.to_owned()
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
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
        let direct = |text: &str| match CommandLine::new(text).unwrap().execution() {
            Execution::Program(words) => Some(words.join(" ")),
            Execution::Shell(_) | Execution::Ourselves(_) => None,
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

    #[test]
    fn what_is_ready_made_needs_no_shell_and_can_be_typed_into_one() {
        let words = ["systemctl", "stop", "--", r"a\x2db.service", "it's"];
        let ready = CommandLine::words(&words);
        assert_eq!(ready.execution(), Execution::Program(words.to_vec()));
        assert_eq!(
            ready.to_string(),
            r"systemctl stop -- 'a\x2db.service' 'it'\''s'"
        );
        let own = CommandLine::ourselves(&["container", "stop", "web"]);
        assert_eq!(
            own.execution(),
            Execution::Ourselves(vec!["container", "stop", "web"])
        );
        assert_eq!(own.to_string(), "sleepingd container stop web");
        assert_ne!(CommandLine::new(own.as_str()), Some(own));
    }
}
