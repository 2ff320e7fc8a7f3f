//! `sleepingd container`: the commands that CONTAINER stands for, by the command line of docker or
//! podman. A person can run them to see what the daemon sees.
//!
//! | file | what |
//! | --- | --- |
//! | `engine` | running docker or podman |
//! | `inspect` | what they say of a container: is it up, and where is it? |
//!
//! Nothing here has a deadline of its own: whoever runs it has one (EXEC_CMD_TIMEOUT), and kills
//! the engine's command with it.

use std::{io, net::SocketAddr, process::ExitStatus};

mod engine;
mod inspect;

pub use crate::model::ContainerRef;
use engine::Installed;
pub use inspect::NoAddress;
use inspect::State;

/// Why it did not work. What the engine itself says goes to standard error before.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// There is no engine.
    #[error("neither docker nor podman is installed, or not in PATH ({0})")]
    NoEngine(String),
    /// Its command cannot be run.
    #[error("{command} cannot be run: {source}; is it installed, and in PATH?")]
    Run {
        /// Which.
        command: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// Its command fails.
    #[error("`{command}` failed: {status}")]
    Failed {
        /// The command with its arguments.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// It says what we do not understand.
    #[error("what `{command}` says is not understood: {why}")]
    Odd {
        /// The command with its arguments.
        command: String,
        /// What of it.
        why: String,
    },
    /// Clients cannot be led to it.
    #[error("container {container}: {why}")]
    NoAddress {
        /// Which.
        container: ContainerRef,
        /// Why not.
        why: NoAddress,
    },
}

/// Whether a container is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// It runs; where it is, if that was asked for.
    Up(Option<SocketAddr>),
    /// It does not run, or is paused.
    Down,
}

/// Starts a container, or resumes it where it is paused. Does nothing to one that runs. With
/// `address`, says where it is then.
///
/// # Errors
/// Where the engine cannot be run or fails, or the container has no address.
pub fn start(
    container: &ContainerRef,
    address: bool,
) -> Result<Option<SocketAddr>, ContainerError> {
    let engine = Installed::of(container.engine)?;
    match engine.inspect(container)?.state() {
        State::Up => {}
        State::Paused => engine.run("unpause", container)?,
        State::Down => engine.run("start", container)?,
    }
    if !address {
        return Ok(None);
    }
    // Not what was said before: with each start it may have another one.
    engine.inspect(container)?.address(container).map(Some)
}

/// Stops a container. One that does not run is stopped already.
///
/// # Errors
/// Where the engine cannot be run or fails.
pub fn stop(container: &ContainerRef) -> Result<(), ContainerError> {
    Installed::of(container.engine)?.run("stop", container)
}

/// Whether a container is up; with `address`, where.
///
/// # Errors
/// Where the engine cannot be run or fails, or the container has no address.
pub fn check(container: &ContainerRef, address: bool) -> Result<Check, ContainerError> {
    let inspected = Installed::of(container.engine)?.inspect(container)?;
    match inspected.state() {
        State::Down | State::Paused => Ok(Check::Down),
        State::Up if address => inspected.address(container).map(|at| Check::Up(Some(at))),
        State::Up => Ok(Check::Up(None)),
    }
}
