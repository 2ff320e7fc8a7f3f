//! The control socket's file.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, PermissionsExt, chown},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind as bind_to, connect, listen,
            socket,
        },
        stat::{Mode, fchmod},
    },
};

/// Clients that may wait to be accepted.
const BACKLOG: i32 = 128;

/// Who may use the socket: its owner and its group.
const MODE: u32 = 0o660;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon answers there.
    #[error("another daemon listens at {}; stop it first", .0.display())]
    Live(PathBuf),
    /// Something else is there.
    #[error("{} exists and is not a socket; remove it, or use another path", .0.display())]
    NotASocket(PathBuf),
    /// A step of making it failed.
    #[error("control socket {}: cannot {step}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Which step.
        step: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// Listens at `path`, for its owner and, if there is one, `group`. What a dead daemon left there
/// is replaced; a living one is refused. The directory must exist.
///
/// The caller holds the lock of the runtime directory that `path` is in: of two daemons that start
/// at once, each could take the other's socket, bound but not yet listening, for a dead one's.
/// There is no second lock here. One on the directory itself would be for anybody to take, because
/// flock(2) asks for no more than a descriptor to read from.
///
/// At no moment may anybody connect who may not later: the file is born with mode 0600 (bind(2)
/// takes the mode of the socket, whatever the umask), and is opened to the group only after it
/// belongs to the right one. The listener is nonblocking and CLOEXEC.
///
/// # Errors
/// See [`BindError`].
pub fn bind(path: &Path, group: Option<u32>) -> Result<UnixListener, BindError> {
    let failed = |step| {
        move |source: io::Error| BindError::Io {
            path: path.to_path_buf(),
            step,
            source,
        }
    };
    clear(path)?;

    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let listener = socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .map_err(|errno| failed("make a socket")(errno.into()))?;
    fchmod(&listener, Mode::S_IRUSR | Mode::S_IWUSR)
        .map_err(|errno| failed("set its mode")(errno.into()))?;
    UnixAddr::new(path)
        .and_then(|address| {
            use std::os::fd::AsRawFd;
            bind_to(listener.as_raw_fd(), &address)
        })
        .map_err(|errno| failed("bind it")(errno.into()))?;
    if group.is_some() {
        chown(path, None, group).map_err(failed("give it to its group"))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))
        .map_err(failed("open it to its group"))?;
    Backlog::new(BACKLOG)
        .and_then(|backlog| listen(&listener, backlog))
        .map_err(|errno| failed("listen at it")(errno.into()))?;
    Ok(UnixListener::from(listener))
}

/// Removes what a dead daemon left.
fn clear(path: &Path) -> Result<(), BindError> {
    let failed = |step, source| BindError::Io {
        path: path.to_path_buf(),
        step,
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("examine what is there", error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket(path.to_path_buf()));
        }
        Ok(_) => {}
    }
    match is_dead(path) {
        Ok(true) => fs::remove_file(path).map_err(|e| failed("remove the old one", e)),
        Ok(false) => Err(BindError::Live(path.to_path_buf())),
        Err(errno) => Err(failed("see whether the old one lives", errno.into())),
    }
}

/// Nobody listens: connecting is refused. A full backlog (EAGAIN) is a sign of life.
fn is_dead(path: &Path) -> nix::Result<bool> {
    use std::os::fd::AsRawFd;

    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(probe.as_raw_fd(), &UnixAddr::new(path)?) {
        Ok(()) | Err(Errno::EAGAIN) => Ok(false),
        Err(Errno::ECONNREFUSED) => Ok(true),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_file_is_for_owner_and_group_whatever_the_umask() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let group = nix::unistd::getegid().as_raw();
        let _listener = bind(&path, Some(group)).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!(metadata.mode() & 0o7777, 0o660);
        assert_eq!(metadata.gid(), group);
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_living_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let listener = bind(&path, None).unwrap();
        assert!(matches!(bind(&path, None), Err(BindError::Live(_))));
        drop(listener);
        assert!(path.exists(), "closing does not remove the file");
        bind(&path, None).unwrap();
    }

    #[test]
    fn who_can_read_the_directory_cannot_keep_the_daemon_from_starting() {
        use nix::fcntl::{Flock, FlockArg};

        let directory = tempfile::tempdir().unwrap();
        let readable = fs::File::open(directory.path()).unwrap();
        let _held = Flock::lock(readable, FlockArg::LockExclusiveNonblock).unwrap();
        bind(&directory.path().join("control.sock"), None).unwrap();
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(bind(&path, None), Err(BindError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
        let long = directory.path().join("x".repeat(120));
        let error = bind(&long, None).unwrap_err().to_string();
        assert!(error.contains("cannot bind it: "), "{error}");
    }
}
