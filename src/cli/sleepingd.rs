//! The command line of `sleepingd`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

/// Keeps TCP services asleep until somebody connects.
#[derive(Debug, Parser)]
#[command(name = "sleepingd", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What is to be done; without it, the daemon is run.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How it is run, where that is what is to be done.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run in the foreground (the default)
    Run(RunArgs),
    /// Forward to one service, with no file; the command at the end is the backend
    Forward(Box<ForwardArgs>),
    /// Check the configuration and explain what it does
    Check(CheckArgs),
    /// Start, stop or check a container, as CONTAINER= does
    Container(ContainerArgs),
    /// Have systemd start the daemon; prints a line for each section
    Start(ManagerArgs),
    /// Have systemd stop the daemon, and close its ports; prints a line for each section
    Stop(ManagerArgs),
    /// Print a line for each section; exits 0 if the daemon runs, 3 if it does not
    Status(StatusArgs),
    /// For ExecStopPost= of the unit: what a daemon that was killed could not do
    #[command(hide = true)]
    AfterStop(AfterStopArgs),
}

/// How the daemon is run.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Read this file instead of those under /etc/sleepingd
    #[arg(short = 'f', long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config_file: Option<PathBuf>,
    /// A user's daemon: read the files under ~/.config/sleepingd, wake the user's own units
    #[arg(long)]
    pub user: bool,
    /// Keep the control socket and what is awake here
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub runtime_directory: Option<PathBuf>,
    /// Log every connection and every step
    #[arg(long, alias = "verbose", short_alias = 'v')]
    pub debug: bool,
}

/// Between where, and what is run. Each option is a key of a section.
#[derive(Debug, Args)]
pub struct ForwardArgs {
    /// Where to listen (PORT); by default the sockets that were inherited
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,
    /// Where the backend is (TARGET)
    #[arg(long, value_name = "ADDRESS")]
    pub target: Vec<String>,
    /// Pairs of where to listen and where that leads, "LISTEN TARGET [LISTEN TARGET...]" (PROXY); not yet
    #[arg(long, value_name = "PAIRS")]
    pub proxy: Vec<String>,
    /// What separates the addresses of --proxy, beside blanks
    #[arg(long, value_name = "TEXT")]
    pub proxy_sep: Option<String>,
    /// Start the command at once (AUTO_START)
    #[arg(long)]
    pub auto_start: bool,
    /// Stop the command when nobody has used it for so long (IDLE_TIME); by default never
    #[arg(long, alias = "stop-after", value_name = "DURATION")]
    pub idle_time: Option<String>,
    /// By which signal it is stopped (STOP_SIGNAL)
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,
    /// Kill it if it has not ended by then (STOP_TIMEOUT)
    #[arg(long, value_name = "DURATION")]
    pub stop_timeout: Option<String>,
    /// How long a client waits for it (WAKE_TIMEOUT)
    #[arg(long, alias = "timeout", value_name = "DURATION")]
    pub wake_timeout: Option<String>,
    /// An extra pause after it listens (WAIT_AFTER_START)
    #[arg(long, value_name = "DURATION")]
    pub wait_after_start: Option<String>,
    /// As whom it runs (USER)
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Exit when nothing has happened for so long, under systemd with its sockets (EXIT_IDLE_TIME)
    #[arg(long, value_name = "DURATION")]
    pub exit_idle_time: Option<String>,
    /// So many connections at once (MAX_CONNECTIONS)
    #[arg(long, alias = "connections-max", value_name = "NUMBER")]
    pub max_connections: Option<String>,
    /// Log every connection and every step
    #[arg(long, alias = "verbose", short_alias = 'v')]
    pub debug: bool,
    /// The backend and its arguments, run without a shell
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// What is checked.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Check this file instead of those under /etc/sleepingd
    #[arg(short = 'f', long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config_file: Option<PathBuf>,
    /// Check for a user's daemon: the files under ~/.config/sleepingd, the user's own units
    #[arg(long)]
    pub user: bool,
    /// Check as if systemd handed over a socket of this name (FileDescriptorName=); may be repeated
    #[arg(long = "socket", value_name = "NAME")]
    pub sockets: Vec<String>,
}

/// What is done with which container.
#[derive(Debug, Args)]
pub struct ContainerArgs {
    /// What to do with it: check exits with 0 if it is up, else with 1
    #[arg(value_enum)]
    pub action: ContainerAction,
    /// Print where it is, as IP PORT
    #[arg(long)]
    pub address: bool,
    /// The container, as CONTAINER= says it: NAME, docker:NAME or podman:NAME, with :PORT behind it
    /// where it exposes several
    #[arg(value_name = "CONTAINER")]
    pub container: String,
}

/// What can be done with a container.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ContainerAction {
    /// Start it, unless it runs
    Start,
    /// Stop it
    Stop,
    /// Say whether it is up
    Check,
}

/// Whose daemon is meant.
#[derive(Debug, Args)]
pub struct ManagerArgs {
    /// The user's own daemon, by the user's systemd
    #[arg(long)]
    pub user: bool,
}

/// Which daemon has ended.
#[derive(Debug, Args)]
pub struct AfterStopArgs {
    /// It was run with this file
    #[arg(short = 'f', long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config_file: Option<PathBuf>,
    /// It was a user's
    #[arg(long)]
    pub user: bool,
}

/// Whose status is meant, and of which sections.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The user's own daemon
    #[arg(long)]
    pub user: bool,
    /// Only these, by name or slug; exits 4 if one of them is unknown
    #[arg(value_name = "SECTION")]
    pub sections: Vec<String>,
}
