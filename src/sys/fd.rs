//! Descriptors: CLOEXEC, blocking mode, ownership, extended attributes, resource limits.

use std::{
    collections::HashSet,
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    sync::OnceLock,
};

use nix::{
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{Uid, fchown, pipe2},
};

/// RLIMIT_NOFILE: how many descriptors a process may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NofileLimit {
    /// The limit in force.
    pub soft: u64,
    /// How far the soft one may be raised.
    pub hard: u64,
}

/// The two ends of a pipe.
#[derive(Debug)]
pub struct PipeEnds {
    /// Where we read; non-blocking.
    pub read: OwnedFd,
    /// Where a command writes; blocking, as programs expect of their output.
    pub write: OwnedFd,
}

/// What the daemon was started with, kept by [`raise_nofile_limit`] for its children.
static NOFILE_AT_START: OnceLock<NofileLimit> = OnceLock::new();

// === impl PipeEnds ===

impl PipeEnds {
    /// A pipe for a command's output, both ends CLOEXEC.
    ///
    /// # Errors
    /// As pipe2(2) and fcntl(2): mostly too many open files.
    pub fn new() -> io::Result<Self> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        set_nonblocking(read.as_fd())?;
        Ok(Self { read, write })
    }

    /// Opens the write end anew for reading and writing, where /proc allows it.
    ///
    /// A writer that holds a read end of its own pipe is never without a reader, so it never gets
    /// SIGPIPE or EPIPE, however long nobody else reads (pipe(7)). End of file is not affected: it
    /// comes, as ever, when the last one that may write has closed.
    pub fn keep_readable(&mut self) {
        let path = format!("/proc/self/fd/{}", self.write.as_raw_fd());
        // Where /proc is missing or forbids it, the plain write end serves: the reader is then
        // the one end that must not go away.
        if let Ok(both) = File::options().read(true).write(true).open(path) {
            self.write = both.into();
        }
    }

    /// Asks for room for this many bytes; gives what there is now.
    ///
    /// Beyond a user's quota (pipe-user-pages-soft, pipe(7)) the kernel refuses, and the pipe
    /// stays as it was, which serves as well.
    pub fn grow(&self, bytes: i32) -> usize {
        match fcntl(&self.read, FcntlArg::F_SETPIPE_SZ(bytes)) {
            Ok(got) => usize::try_from(got).unwrap_or(0),
            Err(_) => fcntl(&self.read, FcntlArg::F_GETPIPE_SZ)
                .ok()
                .and_then(|got| usize::try_from(got).ok())
                .unwrap_or(0),
        }
    }

    /// Gives the pipe to a user, who can then open `/dev/stdout` and `/dev/stderr` by name. They
    /// lead to the pipe, and its mode, 0600, counts for that.
    ///
    /// # Errors
    /// As fchown(2): EPERM for all but root.
    pub fn give_to(&self, uid: Uid) -> io::Result<()> {
        Ok(fchown(&self.write, Some(uid), None)?)
    }
}

// === descriptors ===

/// Closes the descriptor in programs that are executed.
///
/// # Errors
/// As fcntl(2).
pub fn set_cloexec(fd: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}

/// Makes reads and writes give EAGAIN instead of waiting. It concerns the open file description:
/// everybody who shares it.
///
/// # Errors
/// As fcntl(2).
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Marks every descriptor from 3 on as CLOEXEC: async-signal-safe, for between fork and exec.
///
/// A belt: every descriptor of ours is born so, but a library's, or one that was inherited, may
/// not be.
pub(super) fn cloexec_from_3() {
    // SAFETY: close_range(2) takes numbers only. With CLOEXEC it closes nothing, it marks.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3u32,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    if done == 0 {
        return;
    }
    // Linux before 5.11, or a system call filter. /proc/self/fd cannot be listed without
    // allocating, so every number there can be is tried, up to a limit.
    const MOST: u64 = 65_536;
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the pointer is to a live rlimit.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    for fd in 3..i32::try_from(limit.rlim_cur.min(MOST)).unwrap_or(1024) {
        // SAFETY: fcntl with F_SETFD takes numbers only; EBADF for the gaps is expected.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

/// An eventfd(2): CLOEXEC, non-blocking.
///
/// # Errors
/// As eventfd(2): mostly too many open files.
pub(super) fn event_fd() -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

// === extended attributes ===

/// An extended attribute of a file, at most 4 KiB of it; `None` where it has none of that name.
///
/// # Errors
/// As getxattr(2), but for ENODATA and for file systems that have no attributes.
pub fn xattr(path: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let name = CString::new(name)?;
    let mut value = vec![0u8; 4096];
    // SAFETY: both strings end in NUL, and the buffer is as long as is said.
    let got = unsafe {
        libc::getxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    match usize::try_from(got) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        Err(_) => match io::Error::last_os_error() {
            e if matches!(e.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)) => Ok(None),
            e => Err(e),
        },
    }
}

// === limits ===

/// Raises the soft limit of descriptors to the hard one, and remembers what it was: commands are
/// started with the old one, since programs that use select(2) cannot do with more than 1024.
///
/// # Errors
/// As setrlimit(2).
pub fn raise_nofile_limit() -> io::Result<NofileLimit> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    NOFILE_AT_START.get_or_init(|| NofileLimit { soft, hard });
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(NofileLimit { soft: hard, hard })
}

/// How many descriptors this process has open.
///
/// # Errors
/// Where /proc is not mounted.
pub fn open_descriptors() -> io::Result<usize> {
    // One is that of the directory itself.
    Ok(std::fs::read_dir("/proc/self/fd")?
        .count()
        .saturating_sub(1))
}

/// The limit before [`raise_nofile_limit`]; `None` where it was never raised.
#[must_use]
pub fn nofile_limit_at_start() -> Option<NofileLimit> {
    NOFILE_AT_START.get().copied()
}

/// The inodes of the sockets that our parent process has open, from `/proc/PID/fd` (proc(5)).
///
/// # Errors
/// Where that may not be looked at.
pub fn sockets_of_parent() -> io::Result<HashSet<u64>> {
    let directory = format!("/proc/{}/fd", nix::unistd::getppid());
    let mut inodes = HashSet::new();
    for entry in fs::read_dir(directory)? {
        // One that is closed meanwhile is none.
        let Ok(target) = fs::read_link(entry?.path()) else {
            continue;
        };
        let inode = target
            .to_str()
            .and_then(|target| target.strip_prefix("socket:["))
            .and_then(|target| target.strip_suffix(']'));
        inodes.extend(inode.and_then(|inode| inode.parse::<u64>().ok()));
    }
    Ok(inodes)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_writer_without_a_reader_survives_if_it_can_read_itself() {
        let mut ends = PipeEnds::new().unwrap();
        ends.keep_readable();
        drop(ends.read);
        assert_eq!(File::from(ends.write).write(b"alone").unwrap(), 5);
    }

    #[test]
    fn a_readable_write_end_still_gives_end_of_file_when_it_is_closed() {
        let mut ends = PipeEnds::new().unwrap();
        ends.keep_readable();
        drop(ends.write);
        assert_eq!(File::from(ends.read).read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn the_write_end_blocks_and_the_read_end_does_not() {
        let mut ends = PipeEnds::new().unwrap();
        ends.keep_readable();
        let nonblocking = |fd: &OwnedFd| {
            OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL).unwrap())
                .contains(OFlag::O_NONBLOCK)
        };
        assert!(nonblocking(&ends.read));
        assert!(!nonblocking(&ends.write));
    }

    #[test]
    fn an_attribute_that_is_not_there_is_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(xattr(file.path(), "user.delegate").unwrap(), None);
        assert!(xattr(Path::new("/nonexistent"), "user.delegate").is_err());
    }
}
