//! How far a child came on its way to exec.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::unistd::read;

use super::write_all;

/// How far a child came on its way to exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Step {
    /// Nowhere: fork(2) failed, or what comes before [`ChildSetup`](super::ChildSetup).
    Fork = 0,
    /// setrlimit(2).
    Limit = 1,
    /// setgroups(2).
    Groups = 2,
    /// setgid(2).
    Gid = 3,
    /// setuid(2).
    Uid = 4,
    /// Root's rights could be had back.
    StillRoot = 5,
    /// chdir(2).
    Directory = 6,
    /// Everything is done but execve(2) itself.
    Exec = 7,
}

/// What a child says about its way to exec: an eventfd, since memory is no longer shared and
/// `spawn` passes on a bare errno. Read it after `spawn` has returned.
#[derive(Debug)]
pub struct Progress(pub(super) OwnedFd);

/// What a child said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The step it was at when it failed, or [`Step::Exec`].
    pub step: Step,
    /// It could not enter its control group, and went on without.
    pub outside_cgroup: bool,
}

/// The bit of a [`Progress`] for a control group that was not entered; steps come below it.
pub(super) const OUTSIDE_CGROUP: u64 = 1 << 8;

/// Adds to the child's report; a counter that is far from full never refuses.
pub(super) fn tell(report: BorrowedFd<'_>, value: u64) {
    write_all(report.as_raw_fd(), &value.to_ne_bytes());
}

// === impl Progress ===

impl Progress {
    /// What the child said; to be asked once, after `spawn`.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut value = [0; 8];
        // Nothing there is EAGAIN, and leaves zero: the child said nothing.
        let _ = read(&self.0, &mut value);
        let value = u64::from_ne_bytes(value);
        Report {
            step: Step::from_number(value & 0xff),
            outside_cgroup: value & OUTSIDE_CGROUP != 0,
        }
    }
}

impl Step {
    pub(super) fn from_number(number: u64) -> Self {
        [
            Self::Limit,
            Self::Groups,
            Self::Gid,
            Self::Uid,
            Self::StillRoot,
            Self::Directory,
            Self::Exec,
        ]
        .into_iter()
        .find(|step| *step as u64 == number)
        .unwrap_or(Self::Fork)
    }
}
