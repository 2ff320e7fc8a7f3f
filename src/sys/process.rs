//! What happens between fork and exec, and signals to process groups.

use std::{
    ffi::{CStr, CString},
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::{Pid, read},
};
use tokio::process::Command;

use super::{
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

/// How far a child came on its way to exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Step {
    /// Nowhere: fork(2) failed, or what comes before [`ChildSetup`].
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
pub struct Progress(OwnedFd);

/// What a child said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The step it was at when it failed, or [`Step::Exec`].
    pub step: Step,
    /// It could not enter its control group, and went on without.
    pub outside_cgroup: bool,
}

/// Signals that were ignored when the daemon started: bit N-1 for signal N.
static IGNORED_AT_START: AtomicU64 = AtomicU64::new(0);

/// The bit of a [`Progress`] for a control group that was not entered; steps come below it.
const OUTSIDE_CGROUP: u64 = 1 << 8;
/// The highest signal, signal(7).
const LAST_SIGNAL: i32 = 64;

// === signals at start ===

/// Remembers which signals are ignored, so that commands inherit that, and no more: `nohup` means
/// what it starts too. Call it at the top of `main`.
///
/// SIGPIPE is not among them: Rust ignores it before `main`, and so does systemd for its services,
/// and neither is meant for what they start. Nor is SIGCHLD, which goes back to its default at
/// once: ignored, it would have the kernel reap children, and their exit status would be lost.
///
/// # Errors
/// As sigaction(2).
pub fn remember_ignored() -> io::Result<()> {
    IGNORED_AT_START.store(ignored_now(), Ordering::Relaxed);
    // SAFETY: the default action runs no code of ours.
    if unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn ignored_now() -> u64 {
    let mut ignored = 0;
    for signal in (1..=LAST_SIGNAL).filter(|s| !matches!(*s, libc::SIGPIPE | libc::SIGCHLD)) {
        // SAFETY: a zeroed sigaction is valid, and only filled in here: no handler is set. The
        // C library's own signals (32 and 33) give EINVAL, and leave it zeroed: not ignored.
        let action = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &raw mut action);
            action
        };
        if action.sa_sigaction == libc::SIG_IGN {
            ignored |= bit(signal);
        }
    }
    ignored
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

// === impl ChildSetup ===

impl ChildSetup {
    /// Has `command` do all this in its child. Its process group, signals, umask and descriptors
    /// need no choice: a group of its own, defaults (but see [`remember_ignored`]), 022, and 0-2.
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

/// Every signal at its default and none blocked, but for those that were ignored from the start.
/// exec itself resets those with handlers, not those ignored.
fn default_signals(ignored: u64) {
    // All zero is SIG_DFL, no flags, an empty mask, in whatever order; larger than any of them.
    const DEFAULT: [u64; 8] = [0; 8];
    const SIGNAL_SET_SIZE: usize = LAST_SIGNAL as usize / 8;
    for signal in (1..=LAST_SIGNAL).filter(|s| ignored & bit(*s) == 0) {
        // The system call itself: the C library does not let go of 32 and 33, which a careless
        // parent may have ignored. SIGKILL and SIGSTOP refuse, and need nothing.
        // SAFETY: the pointers are to a live action and to none, and no code of ours is to run.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT.as_ptr(),
                std::ptr::null_mut::<u64>(),
                SIGNAL_SET_SIZE,
            )
        };
    }
    // SAFETY: a zeroed set is filled in by sigemptyset before it is read.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
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

fn write_all(fd: i32, bytes: &[u8]) -> bool {
    // SAFETY: the buffer is as long as is said.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(written) == Ok(bytes.len())
}

/// Adds to the child's report; a counter that is far from full never refuses.
fn tell(report: BorrowedFd<'_>, value: u64) {
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
    fn from_number(number: u64) -> Self {
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

// === groups ===

/// Sends a signal to a process group, which the caller knows to be its own: its leader is a child
/// that has not been reaped. An empty group is no error.
///
/// # Errors
/// As kill(2).
pub fn signal_group(group: Pid, signal: Signal) -> io::Result<()> {
    match killpg(group, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Whether any live process is in the group; one that has exited and is not yet reaped does not
/// count. Reads all of /proc if the group's leader has exited, so call it off the runtime's thread.
///
/// # Errors
/// When /proc cannot be read.
pub fn group_lives(group: Pid) -> io::Result<bool> {
    if lives_in(&Path::new("/proc").join(group.to_string()), group) {
        return Ok(true);
    }
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        let numeric = path
            .file_name()
            .is_some_and(|name| name.as_bytes().iter().all(u8::is_ascii_digit));
        if numeric && lives_in(&path, group) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn lives_in(process: &Path, group: Pid) -> bool {
    // One that is gone by now does not live in it.
    let Ok(stat) = fs::read(process.join("stat")) else {
        return false;
    };
    // proc_pid_stat(5): PID (NAME) STATE PPID PGRP ...; the name may hold anything, even ')'.
    let Some(end) = stat.iter().rposition(|byte| *byte == b')') else {
        return false;
    };
    let rest = String::from_utf8_lossy(&stat[end + 1..]);
    let mut fields = rest.split_ascii_whitespace();
    let alive = !matches!(fields.next(), Some("Z" | "X" | "x") | None);
    alive && fields.nth(1).and_then(|field| field.parse().ok()) == Some(group.as_raw())
}

/// Whether the kernel spares us when memory runs out (`OOMScoreAdjust=` below 0).
#[must_use]
pub fn spared_by_oom_killer() -> bool {
    fs::read_to_string("/proc/self/oom_score_adj")
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok())
        .is_some_and(|score| score < 0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;

    use nix::unistd::{Gid, Uid};

    use super::*;

    #[test]
    fn a_group_lives_as_long_as_one_of_it_does() {
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("1000")
            .process_group(0)
            .spawn()
            .unwrap();
        let group = Pid::from_raw(i32::try_from(child.id()).unwrap());
        assert!(group_lives(group).unwrap());
        signal_group(group, Signal::SIGKILL).unwrap();
        child.wait().unwrap();
        assert!(!group_lives(group).unwrap());
        signal_group(group, Signal::SIGKILL).unwrap();
    }

    #[tokio::test]
    async fn the_groups_are_those_that_were_asked_for_and_no_others() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let gid = Gid::from_raw;
        let setup = ChildSetup {
            nofile: Some(NofileLimit {
                soft: 123,
                hard: 456,
            }),
            credentials: Some(Credentials {
                uid: Uid::from_raw(54_320),
                gid: gid(54_321),
                groups: vec![gid(54_321), gid(54_322)],
            }),
            ..plain()
        };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo $(id -u) $(id -G) $(ulimit -Sn) $(ulimit -Hn)"]);
        let progress = setup.apply(&mut command).unwrap();
        let output = command.output().await.unwrap();
        assert_eq!(output.stdout, b"54320 54321 54322 123 456\n");
        assert_eq!(
            progress.report(),
            Report {
                step: Step::Exec,
                outside_cgroup: false
            }
        );
    }

    fn plain() -> ChildSetup {
        ChildSetup {
            cgroup: None,
            reset_oom_score: false,
            nofile: None,
            credentials: None,
            directory: c"/".to_owned(),
            directory_may_be_missing: false,
        }
    }

    #[tokio::test]
    async fn what_was_ignored_at_start_stays_so_and_nothing_else() {
        let ignore = |signal| {
            // SAFETY: to ignore a signal runs no code of ours.
            let before = unsafe { libc::signal(signal, libc::SIG_IGN) };
            assert_ne!(before, libc::SIG_ERR);
        };
        ignore(libc::SIGWINCH);
        // A shell starts what it runs in the background with SIGINT and SIGQUIT ignored. SIGPIPE
        // is the standard library's doing, in every program, and 32 is the C library's own.
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let ours = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ours = u64::from_str_radix(ours.unwrap().trim(), 16).unwrap();
        let ours = ours & !bit(libc::SIGPIPE) & !bit(32);
        let expected = format!("SigIgn:\t{ours:016x}\n");
        // Not `remember_ignored`: it takes SIGCHLD's handler away, which is how other tests of
        // this process hear of their children where there is no pidfd_open(2), as in valgrind.
        IGNORED_AT_START.store(ignored_now(), Ordering::Relaxed);
        ignore(libc::SIGURG);
        let mut command = Command::new("/bin/grep");
        command.args(["SigIgn", "/proc/self/status"]);
        plain().apply(&mut command).unwrap();
        let output = command.output().await.unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }

    #[tokio::test]
    async fn the_daemons_place_with_the_oom_killer_is_not_passed_on() {
        // Up, which everybody may; a daemon's would be down.
        fs::write("/proc/self/oom_score_adj", "100").unwrap();
        let mut command = Command::new("/bin/cat");
        command.arg("/proc/self/oom_score_adj");
        ChildSetup {
            reset_oom_score: true,
            ..plain()
        }
        .apply(&mut command)
        .unwrap();
        let output = command.output().await.unwrap();
        fs::write("/proc/self/oom_score_adj", "0").unwrap();
        assert_eq!(output.stdout, b"0\n");
    }

    #[test]
    fn steps_survive_the_way_through_a_number() {
        for step in [Step::Fork, Step::Limit, Step::Uid, Step::Exec] {
            assert_eq!(Step::from_number(step as u64), step);
        }
    }
}
