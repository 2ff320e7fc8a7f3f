//! A descriptor of a process (pidfd_open(2)): its end is an event, and its number cannot become
//! somebody else's unnoticed.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

use nix::{errno::Errno, unistd::Pid};
use tokio::io::{Interest, unix::AsyncFd};

/// A process, whoever is its parent.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

/// The same with the runtime.
#[derive(Debug)]
pub struct WatchedProcess(AsyncFd<PidFd>);

/// The runtime cannot take it.
#[derive(Debug, thiserror::Error)]
#[error("the end of process cannot be an event: {source}")]
pub struct Unwatched {
    /// The process.
    pub process: PidFd,
    /// Why.
    pub source: io::Error,
}

// === impl PidFd ===

impl PidFd {
    /// The process of this number. One that has ended counts until its parent has heard of it.
    ///
    /// # Errors
    /// As pidfd_open(2); ESRCH where there is no such process.
    pub fn open(pid: Pid) -> io::Result<Self> {
        // SAFETY: takes two numbers; what it gives is a new descriptor, CLOEXEC from birth.
        let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
        let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
        // SAFETY: it was made above, and nobody else knows of it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// A descriptor that was handed over, if it is one of a process.
    ///
    /// # Errors
    /// If it is none, or that cannot be read.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let process = Self(fd);
        process.pid_line()?;
        Ok(process)
    }

    /// The number of the process, as long as that is its own.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn pid(&self) -> io::Result<Option<Pid>> {
        let number = self.pid_line()?;
        // -1: it is gone; 0: it is in no pid namespace of ours.
        Ok((number > 0).then(|| Pid::from_raw(number)))
    }

    /// Whether it has ended, reaped or not.
    ///
    /// # Errors
    /// As poll(2).
    pub fn has_ended(&self) -> io::Result<bool> {
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd, and the count says one.
        Errno::result(unsafe { libc::poll(&raw mut poll, 1, 0) })?;
        Ok(poll.revents != 0)
    }

    /// proc_pid_fdinfo(5): the kernel says there which process a pidfd is of.
    fn pid_line(&self) -> io::Result<i32> {
        let path = format!("/proc/self/fdinfo/{}", self.0.as_raw_fd());
        let text = fs::read_to_string(path)?;
        let number = text.lines().find_map(|line| line.strip_prefix("Pid:"));
        number
            .and_then(|number| number.trim().parse().ok())
            .ok_or_else(|| io::Error::other("it is not the descriptor of a process"))
    }
}

impl AsFd for WatchedProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for PidFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

// === impl WatchedProcess ===

impl WatchedProcess {
    /// Needs a runtime.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn new(process: PidFd) -> Result<Self, Unwatched> {
        // SAFETY: `PidFd` owns its descriptor, always returns the same one from `as_raw_fd`, and
        // neither closes it nor lets it be replaced before it is dropped.
        let registered = unsafe { AsyncFd::register_with_interest(process, Interest::READABLE) };
        registered.map(Self).map_err(|refused| {
            let (process, source) = refused.into_parts();
            Unwatched { process, source }
        })
    }

    /// Waits until it has ended, reaped or not. Asked again, it says so again.
    pub async fn ended(&self) {
        // An error means that the runtime ends, and whoever waits with it. The event is never
        // taken back, since the process does not live again.
        drop(self.0.readable().await);
    }

    /// As [`PidFd::has_ended`].
    ///
    /// # Errors
    /// As poll(2).
    pub fn has_ended(&self) -> io::Result<bool> {
        self.0.get_ref().has_ended()
    }
}

/// When a process was started, in ticks since boot (proc_pid_stat(5)).
///
/// # Errors
/// Where there is no such process.
pub fn start_time(pid: Pid) -> io::Result<u64> {
    let stat = fs::read(format!("/proc/{pid}/stat"))?;
    // PID (NAME) STATE ...; the name may hold anything, even ')'. The 22nd field of all.
    let end = stat.iter().rposition(|byte| *byte == b')');
    let rest = String::from_utf8_lossy(&stat[end.map_or(0, |end| end + 1)..]);
    let field = rest.split_ascii_whitespace().nth(19);
    field
        .and_then(|ticks| ticks.parse().ok())
        .ok_or_else(|| io::Error::other("its stat file cannot be understood"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> (std::process::Child, Pid) {
        let child = std::process::Command::new("/bin/sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        (child, pid)
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_an_event_and_its_number_is_gone_with_it() {
        let (mut child, pid) = sleeper();
        let process = PidFd::open(pid).unwrap();
        assert_eq!(process.pid().unwrap(), Some(pid));
        assert!(!process.has_ended().unwrap());
        let watched = WatchedProcess::new(process).unwrap();
        assert!(!watched.has_ended().unwrap());
        child.kill().unwrap();
        watched.ended().await;
        assert!(watched.has_ended().unwrap());
        watched.ended().await;
        child.wait().unwrap();
        let process = watched.0.into_inner();
        assert!(process.has_ended().unwrap());
        assert_eq!(process.pid().unwrap(), None);
        assert!(PidFd::open(pid).is_err());
    }

    #[test]
    fn another_descriptor_is_no_process() {
        let file = tempfile::tempfile().unwrap();
        assert!(PidFd::from_fd(file.into()).is_err());
    }

    #[test]
    fn a_process_is_told_from_a_later_one_by_its_start() {
        let (mut child, pid) = sleeper();
        let started = start_time(pid).unwrap();
        assert_eq!(start_time(pid).unwrap(), started);
        assert!(started >= start_time(Pid::this()).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(start_time(pid).is_err());
    }
}
