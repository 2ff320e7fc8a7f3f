//! What is there before the first client: a runtime directory of our own, limits, what systemd
//! handed over, the configuration.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use tracing::warn;

use super::{Scope, configuration::ConfigurationError};
use crate::{
    config::Loaded,
    model::CommandExit,
    sys,
    systemd::{notify::Notifier, sockets::Inherited},
};

/// Without a limit that is known, that of a bare shell.
const NOFILE_FALLBACK: usize = 1024;

/// Who may open the lock: its owner.
const LOCK_MODE: u32 = 0o600;

/// What the daemon is started with.
#[derive(Debug)]
pub struct Options {
    /// `-f FILE`: instead of the files under /etc.
    pub config_file: Option<PathBuf>,
    /// Whose files are read without `-f`.
    pub scope: Scope,
    /// `--runtime-directory DIR`: instead of the one that systemd made or the user has.
    pub runtime_directory: Option<PathBuf>,
    /// What `forward` was told: instead of files, with nothing remembered and nobody to be asked,
    /// and as a person runs a program: what ends us is passed on to what we run.
    pub given: Option<Loaded>,
    /// What was inherited, taken before any thread existed.
    pub inherited: Inherited,
    /// Where systemd is told how we are, taken at the same time.
    pub notifier: Notifier,
}

/// How the daemon has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ended {
    /// How the command of `forward` has, if it ran when we were told to end.
    pub command: Option<CommandExit>,
}

impl Ended {
    /// Our exit status: that of the command, as a shell has it, if there was one.
    #[must_use]
    pub fn status(&self) -> u8 {
        let status = match &self.command {
            None => 0,
            Some(CommandExit::Exited(status)) => *status,
            Some(CommandExit::Signalled(signal)) => 128 + signal,
            Some(_) => 1,
        };
        u8::try_from(status).unwrap_or(1)
    }
}

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration has errors (exit 78).
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// There is no service in it, and no systemd under which to wait for one (exit 78).
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
pub(super) fn runtime_directory() -> Option<PathBuf> {
    let scope = Scope::of(!nix::unistd::geteuid().is_root());
    made_by_systemd().or_else(|| scope.runtime())
}

/// RuntimeDirectory=.
fn made_by_systemd() -> Option<PathBuf> {
    std::env::var_os("RUNTIME_DIRECTORY")
        .filter(|made| !made.is_empty())
        .map(PathBuf::from)
}

impl Runtime {
    /// Makes it, if it is not there, and makes sure that nobody else uses it. `None` where there
    /// is no place for one: nothing is remembered over a restart then, and nobody can ask.
    pub(super) fn claim(explicit: Option<&Path>, scope: Scope) -> Result<Option<Self>, StartError> {
        let usual = || match scope {
            Scope::System => runtime_directory(),
            // Root's own is not the machine's.
            Scope::User => made_by_systemd().or_else(|| scope.runtime()),
        };
        let Some(path) = explicit.map(Path::to_owned).or_else(usual) else {
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
        let file = lock_file(&path.join("lock")).map_err(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self { path, _lock: lock })),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(StartError::AlreadyRunning(path)),
            Err((_, errno)) => Err(failed(errno.into())),
        }
    }
}

/// The file that is locked, for its owner alone. Whoever can open a file, be it to read, can lock
/// it (flock(2)), and keep the daemon from starting.
fn lock_file(path: &Path) -> io::Result<File> {
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(LOCK_MODE)
        // Neither another's file through a link, nor a wait for the reader of a FIFO.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        let why = "its 'lock' is not a regular file; remove it";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    // It may have been there, open to others.
    file.set_permissions(fs::Permissions::from_mode(LOCK_MODE))?;
    Ok(file)
}

/// As many descriptors as may be had; says how many.
pub(super) fn raise_limits() -> usize {
    match sys::fd::raise_nofile_limit() {
        Ok(limit) => usize::try_from(limit.soft).unwrap_or(usize::MAX),
        Err(e) => {
            warn!("the limit of open files stays as it is: {e}");
            NOFILE_FALLBACK
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, process::Command};

    use nix::sys::stat::Mode;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn only_its_owner_can_open_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let lock = directory.path().join("lock");
        drop(Runtime::claim(Some(directory.path()), Scope::System).unwrap());
        assert_eq!(mode(&lock), 0o600, "made");
        fs::set_permissions(&lock, fs::Permissions::from_mode(0o644)).unwrap();
        let held = Runtime::claim(Some(directory.path()), Scope::System).unwrap();
        assert_eq!(mode(&lock), 0o600, "found");
        assert!(matches!(
            Runtime::claim(Some(directory.path()), Scope::System),
            Err(StartError::AlreadyRunning(_))
        ));
        drop(held);
    }

    #[test]
    fn another_user_cannot_keep_the_daemon_from_starting() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: only root can be another user");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        drop(Runtime::claim(Some(directory.path()), Scope::System).unwrap());
        let mut nobody = Command::new("setpriv");
        nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        let locked = nobody
            .args(["flock", "--nonblock"])
            .arg(directory.path().join("lock"))
            .arg("true")
            .output();
        let locked = locked.expect("setpriv is part of util-linux");
        let said = String::from_utf8_lossy(&locked.stderr);
        assert!(said.contains("Permission denied"), "{said}");
    }

    #[test]
    fn what_is_no_file_of_ours_is_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let lock = directory.path().join("lock");
        let theirs = directory.path().join("theirs");
        fs::write(&theirs, "").unwrap();
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o644)).unwrap();
        symlink(&theirs, &lock).unwrap();
        assert!(
            Runtime::claim(Some(directory.path()), Scope::System).is_err(),
            "a link"
        );
        assert_eq!(mode(&theirs), 0o644);
        fs::remove_file(&lock).unwrap();
        nix::unistd::mkfifo(&lock, Mode::S_IRWXU).unwrap();
        assert!(
            Runtime::claim(Some(directory.path()), Scope::System).is_err(),
            "no reader"
        );
        let _reader = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&lock)
            .unwrap();
        let error = Runtime::claim(Some(directory.path()), Scope::System).unwrap_err();
        assert!(error.to_string().contains("not a regular file"), "{error}");
    }
}
