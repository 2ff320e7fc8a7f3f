//! The command line of `sleepingctl`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};

/// Talks to the running sleepingd.
#[derive(Debug, Parser)]
#[command(name = "sleepingctl", version)]
pub struct Cli {
    /// The daemon's control socket
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub socket: Option<PathBuf>,
    /// Talk to the user's own daemon, and to the user's systemd
    #[arg(long, global = true)]
    pub user: bool,
    /// What is asked for; without it, the status.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the services (the default); with SERVICE exits 0 awake, 3 asleep, 4 unknown
    Status(StatusArgs),
    /// Have the configuration read again; fails, and says why, if it has errors
    Reload,
    /// After a change of the files: check them, then open and close sockets and reload the daemon
    Apply(ApplyArgs),
    /// Write the sections that do what ynetd does: of its file, its command line, or both
    Import(ImportArgs),
}

/// Which status, and how it is shown.
#[derive(Debug, Default, Args)]
pub struct StatusArgs {
    /// Only this one, by name or slug
    pub service: Option<String>,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

/// Whether anything is changed.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Say what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// What ynetd is told.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// ynetd's YAML file, in place of the one that -config names
    #[arg(value_hint = ValueHint::FilePath, required_unless_present = "argument")]
    pub file: Option<PathBuf>,
    /// What follows its name on ynetd's command line
    #[arg(last = true, value_name = "ARGUMENT")]
    pub argument: Vec<String>,
}
