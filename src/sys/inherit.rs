//! What a process is born with: environment variables to take away, descriptors to own.
//!
//! For the top of `main` alone, before any thread exists; each function checks that.

use std::{
    fs, io,
    os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd},
    sync::atomic::{AtomicBool, Ordering},
};

use listenfd::ListenFd;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Why something of our birth could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum InheritError {
    /// Other threads might read the environment meanwhile (setenv(3), "MT-Unsafe const:env").
    #[error("{0} threads run already; the environment can be changed only before the first")]
    Threads(usize),
    /// Without `/proc` nobody knows how many threads there are.
    #[error("cannot count our threads in /proc/self/task: {0}; mount /proc")]
    Count(#[source] io::Error),
    /// A descriptor that was announced is not there.
    #[error("descriptor {fd} was announced by LISTEN_FDS, but cannot be taken: {source}")]
    Descriptor {
        /// Its number.
        fd: RawFd,
        /// Why not.
        source: io::Error,
    },
    /// They have an owner already.
    #[error("the inherited descriptors were taken before")]
    Taken,
}

/// Removes these environment variables, so that no child sees them. Does nothing where none of
/// them is set.
///
/// # Errors
/// Where another thread exists, or that cannot be known.
#[allow(clippy::disallowed_methods)] // Before any thread, as the ban itself allows.
pub fn unset(names: &[&str]) -> Result<(), InheritError> {
    let present: Vec<_> = names
        .iter()
        .filter(|name| std::env::var_os(name).is_some())
        .collect();
    if present.is_empty() {
        return Ok(());
    }
    sole_thread()?;
    for name in present {
        // SAFETY: remove_var asks that no other thread reads or writes the environment; there is
        // no other thread, and none can appear while this one is here.
        unsafe { std::env::remove_var(name) };
    }
    Ok(())
}

/// Takes every descriptor that `LISTEN_FDS` announces (sd_listen_fds(3)), in order, each with
/// CLOEXEC set before anything else happens. `LISTEN_PID` and `LISTEN_FDS` are gone afterwards.
///
/// listenfd alone would accept a missing `LISTEN_PID` and a private first number; the caller has
/// read the variables and removed what must not count.
///
/// # Errors
/// At the second call, in company of threads, or where an announced descriptor is not open. What
/// was taken until then is closed.
pub fn take_listen_fds() -> Result<Vec<OwnedFd>, InheritError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);

    sole_thread()?;
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Err(InheritError::Taken);
    }
    let mut listed = ListenFd::from_env();
    let mut owned = Vec::new();
    for index in 0..listed.len() {
        // Raw, because stored pipes are among them and listenfd's typed takers are for sockets.
        let raw = listed.take_raw_fd(index).ok().flatten();
        let Some(raw) = raw else { continue };
        owned.push(adopt(raw).map_err(|source| InheritError::Descriptor { fd: raw, source })?);
    }
    Ok(owned)
}

fn adopt(raw: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: only used for the two calls below, which fail with EBADF if it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
    let flags = FdFlag::from_bits_retain(fcntl(borrowed, FcntlArg::F_GETFD)?);
    fcntl(borrowed, FcntlArg::F_SETFD(flags | FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, as F_GETFD has just shown. LISTEN_FDS gives it to this process, nobody
    // took it before (TAKEN), and nothing of ours can have its number: it was open before main.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

fn sole_thread() -> Result<(), InheritError> {
    match fs::read_dir("/proc/self/task")
        .map_err(InheritError::Count)?
        .count()
    {
        0 | 1 => Ok(()),
        several => Err(InheritError::Threads(several)),
    }
}
