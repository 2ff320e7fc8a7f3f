//! Which signals a child finds ignored: those that were ignored when the daemon started.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
};

/// Signals that were ignored when the daemon started: bit N-1 for signal N.
pub(super) static IGNORED_AT_START: AtomicU64 = AtomicU64::new(0);

/// The highest signal, signal(7).
const LAST_SIGNAL: i32 = 64;

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

/// Stops this process, all its threads, until it gets SIGCONT.
///
/// # Errors
/// As kill(2).
pub fn stop_ourselves() -> io::Result<()> {
    nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGSTOP)?;
    Ok(())
}

/// Whether this signal was ignored when the daemon started, as nohup(1) has it.
#[must_use]
pub fn was_ignored_at_start(signal: i32) -> bool {
    (1..=LAST_SIGNAL).contains(&signal)
        && IGNORED_AT_START.load(Ordering::Relaxed) & bit(signal) != 0
}

pub(super) fn ignored_now() -> u64 {
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

pub(super) fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Every signal at its default and none blocked, but for those that were ignored from the start.
/// exec itself resets those with handlers, not those ignored.
pub(super) fn default_signals(ignored: u64) {
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
