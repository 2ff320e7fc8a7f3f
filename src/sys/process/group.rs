//! Process groups: signals to them, and whether one lives.

use std::{fs, io, os::unix::ffi::OsStrExt, path::Path};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::pidfd::start_time;

/// Sends a signal to a process group, which the caller knows to be its own: its leader is a child
/// that has not been reaped. An empty group is no error.
///
/// # Errors
/// As kill(2).
pub fn signal_group(group: Pid, signal: Signal) -> io::Result<()> {
    send_signal(Pid::from_raw(-group.as_raw()), signal as i32)
}

/// kill(2) with any signal, realtime ones too: to a process, or to a group where the number is
/// negative. Nobody there is no error.
///
/// # Errors
/// As kill(2).
pub fn send_signal(to: Pid, number: i32) -> io::Result<()> {
    // SAFETY: takes two numbers.
    match Errno::result(unsafe { libc::kill(to.as_raw(), number) }) {
        Ok(_) | Err(Errno::ESRCH) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Whether the number of a process group is still its own. Its leader was started then
/// ([`super::start_time`]), and may have ended and been reaped by somebody else.
///
/// The kernel gives no new process the number of a group that has members. So as long as the group
/// has never been empty, whoever has that number is the leader itself, and where nobody has it the
/// group is the leader's. Only who asks long after the end of the last member could be deceived, by
/// a group whose leader was given the same number and has ended as well: within the time between
/// two looks, all other numbers would have to be given in between.
///
/// # Errors
/// Where it cannot be known who has the number.
pub fn is_group_of(leader: Pid, started: u64) -> io::Result<bool> {
    match start_time(leader) {
        Ok(at) => Ok(at == started),
        // Asked in this order: one that is reaped in between is gone for both.
        Err(unseen) => match kill(leader, None) {
            Err(Errno::ESRCH) => Ok(true),
            _ => Err(unseen),
        },
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
