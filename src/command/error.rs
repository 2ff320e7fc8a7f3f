//! Why a command could not be started.

use std::{io, path::PathBuf};

use super::environment::EnvironmentFileError;
use crate::sys::user::AccountError;

/// Why a command was not started. Complete sentences are the caller's.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpawnError {
    /// It was given up before it was started.
    #[error("it was given up before it was started")]
    GivenUp,
    /// USER or GROUP.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// ENVIRONMENT_FILE.
    #[error(transparent)]
    Environment(#[from] EnvironmentFileError),
    /// Its outputs.
    #[error("no pipe can be made for its output: {0}")]
    Pipe(#[source] io::Error),
    /// The process.
    #[error("no process can be started: {0}")]
    Fork(#[source] io::Error),
    /// A COMMAND whose end would not be noticed.
    #[error("it cannot be watched, and is killed: {0}; COMMAND needs Linux 5.3 and /proc")]
    Watch(#[source] io::Error),
    /// The limit of descriptors.
    #[error("its limit of open files cannot be set back: {0}")]
    Limit(#[source] io::Error),
    /// The switch of user.
    #[error("it cannot become {who}: {source}; the daemon needs root's rights for USER and GROUP")]
    Become {
        /// Whom.
        who: String,
        /// Why not.
        source: io::Error,
    },
    /// The switch of user was not final.
    #[error("as {0} it could become root again, so it was not started")]
    StillRoot(String),
    /// WORKING_DIRECTORY.
    #[error("WORKING_DIRECTORY '{}' cannot be entered: {source}", .directory.display())]
    Directory {
        /// Where.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// SHELL.
    #[error("SHELL '{}' cannot be run: {source}; install it or correct SHELL", .shell.display())]
    Shell {
        /// Which.
        shell: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A command that needs no shell.
    #[error("'{}' cannot be run: {why}", .program.display())]
    Program {
        /// Which.
        program: PathBuf,
        /// Why not.
        why: String,
    },
}
