//! What is there before the first client: a runtime directory of our own, limits, what systemd
//! handed over, the configuration.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use tracing::warn;

use super::configuration::ConfigurationError;
use crate::{
    sys,
    systemd::{notify::Notifier, sockets::Inherited},
};

/// Without a limit that is known, that of a bare shell.
const NOFILE_FALLBACK: u64 = 1024;

/// What the daemon is started with.
#[derive(Debug)]
pub struct Options {
    /// `-f FILE`: instead of the files under /etc.
    pub config_file: Option<PathBuf>,
    /// `--runtime-directory DIR`: instead of the one that systemd made or the user has.
    pub runtime_directory: Option<PathBuf>,
    /// What was inherited, taken before any thread existed.
    pub inherited: Inherited,
    /// Where systemd is told how we are, taken at the same time.
    pub notifier: Notifier,
}

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has errors (exit 78).
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// There is no service in it (exit 78).
    #[error("no service is configured; write a section into {0}, or give a file with -f")]
    NoService(String),
    /// Some port could not be had.
    #[error("{}", .0.join("\n"))]
    Listen(Vec<String>),
    /// Another daemon has the runtime directory.
    #[error("another sleepingd uses {}; stop it, or give --runtime-directory", .0.display())]
    AlreadyRunning(PathBuf),
    /// The runtime directory cannot be used.
    #[error("the runtime directory {}: {source}", path.display())]
    Runtime {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The control socket cannot be had.
    #[error(transparent)]
    Control(#[from] crate::control::socket::BindError),
    /// Signals cannot be waited for.
    #[error("signals cannot be waited for: {0}")]
    Signals(#[source] io::Error),
}

/// The runtime directory, locked for as long as this lives.
#[derive(Debug)]
pub(super) struct Runtime {
    pub(super) path: PathBuf,
    _lock: Flock<File>,
}

/// Where `sleepingctl` looks for the control socket too: the directory that systemd made, else
/// the user's, else, as root, the system's.
#[must_use]
pub fn runtime_directory() -> Option<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    if let Some(made) = variable("RUNTIME_DIRECTORY") {
        return Some(made);
    }
    if nix::unistd::geteuid().is_root() {
        return Some(PathBuf::from("/run/sleepingd"));
    }
    variable("XDG_RUNTIME_DIR").map(|user| user.join("sleepingd"))
}

impl Runtime {
    /// Makes it, if it is not there, and makes sure that nobody else uses it. `None` where there
    /// is no place for one: nothing is remembered over a restart then, and nobody can ask.
    pub(super) fn claim(explicit: Option<&Path>) -> Result<Option<Self>, StartError> {
        let Some(path) = explicit.map(Path::to_owned).or_else(runtime_directory) else {
            warn!(
                "there is no runtime directory (XDG_RUNTIME_DIR is not set): what is awake is \
                 forgotten at a restart, and sleepingctl cannot reach this daemon"
            );
            return Ok(None);
        };
        let failed = |source| StartError::Runtime {
            path: path.clone(),
            source,
        };
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&path);
        made.map_err(failed)?;
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self { path, _lock: lock })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(StartError::AlreadyRunning(path)),
            Err((_, errno)) => Err(failed(errno.into())),
        }
    }
}

/// As many descriptors as may be had; says how many.
pub(super) fn raise_limits() -> u64 {
    match sys::fd::raise_nofile_limit() {
        Ok(limit) => limit.soft,
        Err(e) => {
            warn!("the limit of open files stays as it is: {e}");
            NOFILE_FALLBACK
        }
    }
}
