//! What a child does on its way to exec.

use std::{
    ffi::{CStr, CString},
    fs, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::atomic::Ordering,
};

use tokio::process::Command;

use super::{
    progress::{OUTSIDE_CGROUP, Progress, Step, tell},
    signals::{IGNORED_AT_START, default_signals},
    write_all,
};
use crate::sys::{
    fd::{self, NofileLimit},
    user::Credentials,
};

/// What a child does between fork and exec, beside its standard descriptors.
#[derive(Debug)]
pub struct ChildSetup {
    /// The control group to enter: its `cgroup.procs`, open for writing. Failing is no error.
    pub cgroup: Option<OwnedFd>,
    /// Set oom_score_adj back to 0: the daemon's protection is not for what it starts.
    pub reset_oom_score: bool,
    /// The limit of descriptors to go back to.
    pub nofile: Option<NofileLimit>,
    /// Who to become.
    pub credentials: Option<Credentials>,
    /// Where to go, as that user.
    pub directory: CString,
    /// Whether it is no error if that directory is missing: then it is `/`.
    pub directory_may_be_missing: bool,
}

// === impl ChildSetup ===

impl ChildSetup {
    /// Has `command` do all this in its child. Its process group, signals, umask and descriptors
    /// need no choice: a group of its own, defaults (but see [`remember_ignored`]), 022, and 0-2.
    ///
    /// [`remember_ignored`]: super::remember_ignored
    ///
    /// # Errors
    /// When there is no descriptor left for the child's report.
    pub fn apply(self, command: &mut Command) -> io::Result<Progress> {
        let progress = fd::event_fd()?;
        let report = progress.try_clone()?;
        let ignored = IGNORED_AT_START.load(Ordering::Relaxed);
        command.process_group(0);
        let child = move || self.run(report.as_fd(), ignored);
        // SAFETY: `run` makes system calls alone: it neither allocates nor takes a lock, which
        // another thread may have held at the fork. What it drops, it drops by exec or _exit.
        unsafe { command.pre_exec(child) };
        Ok(Progress(progress))
    }

    /// In the child. Async-signal-safe: no allocation, no lock, nothing that unwinds.
    fn run(&self, report: BorrowedFd<'_>, ignored: u64) -> io::Result<()> {
        default_signals(ignored);
        // SAFETY: cannot fail, takes a number.
        unsafe { libc::umask(0o022) };
        // Before the rights are gone: these two are root's.
        if let Some(cgroup) = &self.cgroup {
            if !write_all(cgroup.as_raw_fd(), b"0") {
                tell(report, OUTSIDE_CGROUP);
            }
        }
        if self.reset_oom_score {
            // Where /proc is read-only the child stays protected, which harms nobody else.
            reset_oom_score();
        }
        self.steps().map_err(|(step, error)| {
            tell(report, step as u64);
            error
        })?;
        fd::cloexec_from_3();
        tell(report, Step::Exec as u64);
        Ok(())
    }

    fn steps(&self) -> Result<(), (Step, io::Error)> {
        if let Some(limit) = self.nofile {
            let limit = libc::rlimit {
                rlim_cur: limit.soft,
                rlim_max: limit.hard,
            };
            // SAFETY: the pointer is to a live rlimit.
            check(Step::Limit, unsafe {
                libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
            })?;
        }
        if let Some(to) = &self.credentials {
            become_user(to)?;
        }
        // As the user: root may enter directories that the user may not, or the reverse on NFS.
        if let Err(at) = change_directory(&self.directory) {
            let missing = at.1.raw_os_error() == Some(libc::ENOENT);
            if !(missing && self.directory_may_be_missing) {
                return Err(at);
            }
            change_directory(c"/")?;
        }
        Ok(())
    }
}

/// The order matters: without the user's rights left, groups cannot be changed; setuid(2) by root
/// changes the real, the effective and the saved id, so there is no way back.
fn become_user(to: &Credentials) -> Result<(), (Step, io::Error)> {
    // SAFETY: a Gid is a transparent gid_t, and the slice is as long as is said.
    check(Step::Groups, unsafe {
        libc::setgroups(to.groups.len(), to.groups.as_ptr().cast())
    })?;
    // SAFETY: takes a number.
    check(Step::Gid, unsafe { libc::setgid(to.gid.as_raw()) })?;
    // SAFETY: takes a number.
    check(Step::Uid, unsafe { libc::setuid(to.uid.as_raw()) })?;
    // SAFETY: takes a number; it must fail.
    if !to.uid.is_root() && unsafe { libc::setuid(0) } == 0 {
        return Err((Step::StillRoot, io::Error::from_raw_os_error(libc::EPERM)));
    }
    Ok(())
}

fn change_directory(to: &CStr) -> Result<(), (Step, io::Error)> {
    // SAFETY: the string ends in NUL.
    check(Step::Directory, unsafe { libc::chdir(to.as_ptr()) })
}

fn check(step: Step, result: i32) -> Result<(), (Step, io::Error)> {
    if result == 0 {
        Ok(())
    } else {
        Err((step, io::Error::last_os_error()))
    }
}

fn reset_oom_score() {
    const FLAGS: i32 = libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: the string ends in NUL.
    let file = unsafe { libc::open(c"/proc/self/oom_score_adj".as_ptr(), FLAGS) };
    if file >= 0 {
        write_all(file, b"0");
        // SAFETY: opened above, and nobody else's.
        unsafe { libc::close(file) };
    }
}

/// Whether the kernel spares us when memory runs out (`OOMScoreAdjust=` below 0).
#[must_use]
pub fn spared_by_oom_killer() -> bool {
    fs::read_to_string("/proc/self/oom_score_adj")
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok())
        .is_some_and(|score| score < 0)
}
