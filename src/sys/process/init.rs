//! Process 1 of a container: it reaps what nobody else does, and passes signals on.
//!
//! The daemon is not process 1 itself: it would have to tell its own children, which its runtime
//! reaps, from those that were left to it; and the kernel gives process 1 no signal that it has no
//! handler for. So it runs as a child, and this is all that process 1 does.

use std::io;

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, SigmaskHow, sigprocmask},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, getpid},
};

use super::group::send_signal;

/// Where this process is process 1, splits it: returns in a child, which is to do all the work,
/// while process 1 reaps and passes signals on, and exits as the child does. Elsewhere does nothing.
/// To be called while there is one thread.
///
/// # Errors
/// As fork(2) and sigprocmask(2).
pub fn leave_init_behind() -> io::Result<()> {
    if getpid().as_raw() != 1 {
        return Ok(());
    }
    // Before the fork: what comes meanwhile waits until it is asked for.
    let all = SigSet::all();
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&all), Some(&mut before))?;
    // SAFETY: there is one thread, by the contract of the caller.
    match unsafe { fork() }? {
        ForkResult::Child => {
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
            Ok(())
        }
        ForkResult::Parent { child } => {
            close_all();
            let status = be_init(child);
            // SAFETY: cannot fail, and runs nothing: what destructors would close is closed already.
            unsafe { libc::_exit(status) }
        }
    }
}

/// Until the child has ended; its exit status, as a shell has it.
fn be_init(child: Pid) -> i32 {
    loop {
        let Some((signal, origin)) = next_signal() else {
            continue;
        };
        if signal != libc::SIGCHLD {
            // What comes from the terminal goes to all that are in front of it, the child too.
            if origin != libc::SI_KERNEL {
                pass_on(signal, child);
            }
            continue;
        }
        if let Some(status) = reap(child) {
            return status;
        }
    }
}

/// Which, and its `si_code`.
fn next_signal() -> Option<(i32, i32)> {
    let all = SigSet::all();
    // SAFETY: all zero is valid, and it is filled in before it is read.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: both live as long as the call.
    let signal = unsafe { libc::sigwaitinfo(all.as_ref(), &raw mut info) };
    // EINTR: it was stopped, and goes on.
    (signal > 0).then_some((signal, info.si_code))
}

fn pass_on(signal: i32, child: Pid) {
    // Nobody else reaps it, so it is there, a zombie at worst.
    let _ = send_signal(child, signal);
}

/// Reaps all that have ended. Gives the exit status of the child, if it is among them.
fn reap(child: Pid) -> Option<i32> {
    let mut status = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => status = Some(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                status = Some(128 + signal as i32);
            }
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return status,
            // Somebody else's, or a signal in between.
            Ok(_) | Err(_) => {}
        }
    }
}

/// The sockets and pipes are the child's: with us they would stay open when it has closed them.
fn close_all() {
    // SAFETY: nothing in this process uses a descriptor from here on, but for 0 to 2: it ends by
    // _exit.
    // Before Linux 5.9 there is no such call: they stay open until the child ends, and we with it.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
}
