//! What a section of the configuration file means, once it is known to be sound.
//!
//! Three parts, by when a change of them takes effect at a reload: the [`Policy`] at once, the
//! [`Recipe`] from the next wake, and the targets by draining the generation that has the old
//! ones.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use super::{
    CidrList, CommandLine, Destination, ListenAddr, ProxyProtocol, ServiceName, Slug, Supervised,
};

/// Where in the configuration something was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

/// What a message begins with: `FILE:LINE: `. Nothing, for what no file has said.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.as_os_str().is_empty() {
            return Ok(());
        }
        write!(f, "{}:{}: ", self.file.display(), self.line)
    }
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its name, as its section writes it.
    pub name: ServiceName,
    /// Its name, made safe.
    pub slug: Slug,
    /// Where its section begins.
    pub origin: Origin,
    /// Where it listens: PORT.
    pub listen: Vec<ListenAddr>,
    /// The names of the inherited sockets it takes: SOCKET. Empty: by slug, then by address.
    pub sockets: Vec<String>,
    /// Its destinations: TARGET. Empty: START or CHECK says.
    pub targets: Vec<Destination>,
    /// Wake at daemon start: AUTO_START.
    pub auto_start: bool,
    /// The commands and what they need.
    pub recipe: Arc<Recipe>,
    /// What may change under a running backend.
    pub policy: Arc<Policy>,
}

/// Who knows where the backend is?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// TARGET says so.
    Fixed,
    /// START or CHECK says so, and CHECK says for how long it holds.
    Told,
    /// START decides anew for every connection.
    PerConnection,
}

/// The commands of a service, and how they run. A backend is put to sleep with the recipe that
/// woke it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recipe {
    /// START_CMD.
    pub start: Option<CommandLine>,
    /// STOP_CMD.
    pub stop: Option<CommandLine>,
    /// CHECK_CMD.
    pub check: Option<CommandLine>,
    /// IDLE_CMD.
    pub idle: Option<CommandLine>,
    /// READY_CMD.
    pub ready: Option<CommandLine>,
    /// COMMAND, and how it is ended. Beside it there is neither START_CMD, STOP_CMD nor CHECK_CMD,
    /// and there is a TARGET.
    pub command: Option<Supervised>,
    /// READY_URL: `http://host[:port]/path`.
    pub ready_url: Option<String>,
    /// USER and GROUP, as names or numbers.
    pub account: Account,
    /// SHELL.
    pub shell: PathBuf,
    /// WORKING_DIRECTORY.
    pub working_directory: PathBuf,
    /// ENVIRONMENT and ENVIRONMENT_FILE.
    pub environment: Environment,
    /// COMMAND is what a person has put behind our own name (`sleepingd forward`): it has our
    /// environment, directory, standard output and standard error.
    pub attached: bool,
}

impl Recipe {
    /// Whether nothing of ours is ever woken by it, nor put to sleep: the bytes are forwarded, and
    /// that is all.
    #[must_use]
    pub fn wakes_nothing(&self) -> bool {
        self.start.is_none()
            && self.stop.is_none()
            && self.check.is_none()
            && self.command.is_none()
    }
}

/// Who commands run as. Both blank: as the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Account {
    /// USER.
    pub user: Option<String>,
    /// GROUP; the user's own where it is blank.
    pub group: Option<String>,
}

/// What commands find in their environment beside what we say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Environment {
    /// ENVIRONMENT: names and values, in the order of the file.
    pub variables: Vec<(String, String)>,
    /// ENVIRONMENT_FILE: read at each run; `true` where a missing file is no error (`-/path`).
    pub files: Vec<(PathBuf, bool)>,
}

/// What may change under a running backend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// How long commands may run.
    pub command_timeouts: CommandTimeouts,
    /// When the backend is put to sleep.
    pub idle: IdlePolicy,
    /// How long other things may take.
    pub timeouts: Timeouts,
    /// How many clients.
    pub limits: Limits,
    /// Which clients.
    pub access: Access,
    /// SEND_PROXY and ACCEPT_PROXY.
    pub proxy: ProxyProtocol,
    /// WAKE_ON.
    pub wake_on: WakeOn,
    /// BALANCE.
    pub balance: Balance,
}

/// How long commands may run; `None` is without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommandTimeouts {
    /// START_CMD_TIMEOUT.
    pub start: Option<Duration>,
    /// STOP_CMD_TIMEOUT.
    pub stop: Option<Duration>,
    /// CHECK_CMD_TIMEOUT.
    pub check: Option<Duration>,
    /// IDLE_CMD_TIMEOUT.
    pub idle: Option<Duration>,
    /// READY_CMD has the general EXEC_CMD_TIMEOUT.
    pub ready: Option<Duration>,
}

/// When the backend is put to sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IdlePolicy {
    /// IDLE_TIME; `None` is never.
    pub after: Option<Duration>,
    /// IDLE_CHECK_INTERVAL; `None` or zero with IDLE_CMD set switches idle sleep off.
    pub check_interval: Option<Duration>,
    /// IDLE_ON.
    pub on: IdleOn,
    /// MIN_UPTIME.
    pub min_uptime: Duration,
}

/// What counts as use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum IdleOn {
    /// An open connection.
    #[default]
    Connections,
    /// A connection that moved data within IDLE_TIME.
    Bytes,
    /// IDLE_CMD alone decides.
    Command,
}

/// How long things may take; `None` is without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// WAKE_TIMEOUT.
    pub wake: Option<Duration>,
    /// CONNECT_TIMEOUT.
    pub connect: Duration,
    /// WAIT_AFTER_START.
    pub after_start: Duration,
    /// SETTLE_TIME.
    pub settle: Duration,
    /// STOP_TIMEOUT.
    pub stop: Option<Duration>,
    /// CLIENT_TIMEOUT.
    pub client: Option<Duration>,
    /// HALF_CLOSE_TIMEOUT.
    pub half_close: Option<Duration>,
    /// USER_TIMEOUT.
    pub user: Option<Duration>,
    /// PROXY_TIMEOUT.
    pub proxy: Duration,
    /// DRAIN_TIMEOUT.
    pub drain: Option<Duration>,
}

/// How many clients; `None` is without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// MAX_CONNECTIONS: relays at once.
    pub connections: Option<usize>,
    /// MAX_WAITING: held clients at once.
    pub waiting: Option<usize>,
    /// MAX_CONNECTIONS_PER_SOURCE: both, per source address.
    pub per_source: Option<usize>,
}

/// Which clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Access {
    /// ALLOW; with any, all others are denied.
    pub allow: CidrList,
    /// DENY; beats ALLOW.
    pub deny: CidrList,
    /// IGNORE: served only if awake, and not counted as use.
    pub ignore: CidrList,
}

/// What a client must do to wake the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WakeOn {
    /// Connect.
    #[default]
    Connect,
    /// Send a byte.
    Data,
}

/// Which of several destinations is tried first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Balance {
    /// Any.
    #[default]
    Random,
    /// The first that was written.
    First,
    /// Each in turn.
    RoundRobin,
    /// The one with the fewest relays.
    LeastConn,
}

// === impl Definition ===

impl Definition {
    /// Who knows where the backend is.
    #[must_use]
    pub fn mode(&self) -> Mode {
        if !self.targets.is_empty() {
            Mode::Fixed
        } else if self.recipe.check.is_some() {
            Mode::Told
        } else {
            Mode::PerConnection
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            wake: Some(Duration::from_secs(300)),
            connect: Duration::from_secs(3),
            after_start: Duration::ZERO,
            settle: Duration::ZERO,
            stop: Some(Duration::from_secs(90)),
            client: None,
            half_close: Some(Duration::from_secs(60)),
            user: None,
            proxy: Duration::from_secs(3),
            drain: Some(Duration::from_secs(60)),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            waiting: Some(1024),
            per_source: None,
        }
    }
}

impl Access {
    /// Whether this client may connect. One without an address (unix) is always let in.
    #[must_use]
    pub fn admits(&self, client: &super::ClientAddr) -> bool {
        let Some(ip) = client.ip() else { return true };
        !self.deny.contains(ip) && (self.allow.is_empty() || self.allow.contains(ip))
    }

    /// Whether this client is served without waking anybody or keeping anybody awake.
    #[must_use]
    pub fn ignores(&self, client: &super::ClientAddr) -> bool {
        client.ip().is_some_and(|ip| self.ignore.contains(ip))
    }
}
