//! A control group and what is below it: found empty, removed, signalled.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    unistd::{Pid, getpgid},
};

use crate::sys::process::send_signal;

/// How deep groups may be nested below ours: commands may make their own.
pub(super) const DEEPEST: usize = 16;

/// Whether no process lives in it, or below. One that cannot be read any more is empty.
pub(super) fn is_empty(group: &Path) -> bool {
    match fs::read_to_string(group.join("cgroup.events")) {
        Ok(events) => events.lines().any(|line| line == "populated 0"),
        Err(_) => true,
    }
}

/// Removes a group and those below it, the deepest first; one that is in use stays, with what is
/// below it, empty or not: a backend may have made it for later.
pub(super) fn remove(path: &Path, depth: usize) -> io::Result<()> {
    if !is_empty(path) {
        return Err(Errno::EBUSY.into());
    }
    if depth > 0 {
        for child in children(path)? {
            remove(&child, depth - 1)?;
        }
    }
    // Not remove_dir_all: the files in it are the kernel's, and go with the directory.
    fs::remove_dir(path)
}

/// The processes in it, and below.
pub(super) fn processes(path: &Path, depth: usize) -> io::Result<Vec<Pid>> {
    let Some(mut all) = own_processes(path)? else {
        return Ok(Vec::new());
    };
    if depth > 0 {
        for child in children(path)? {
            all.extend(processes(&child, depth - 1)?);
        }
    }
    Ok(all)
}

/// Sends a signal to every process in it, and below, but for those of the process group `except`.
pub(super) fn signal_all(
    path: &Path,
    number: i32,
    except: Option<Pid>,
    depth: usize,
) -> io::Result<()> {
    let Some(own) = own_processes(path)? else {
        return Ok(());
    };
    for pid in own {
        if except.is_some() && getpgid(Some(pid)).ok() == except {
            continue;
        }
        // One that is gone meanwhile is no error.
        send_signal(pid, number)?;
    }
    if depth > 0 {
        for child in children(path)? {
            signal_all(&child, number, except, depth - 1)?;
        }
    }
    Ok(())
}

/// `None`: the group is gone.
fn own_processes(path: &Path) -> io::Result<Option<Vec<Pid>>> {
    let processes = match fs::read_to_string(path.join("cgroup.procs")) {
        Ok(processes) => processes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let numbers = processes.lines().filter_map(|line| line.parse().ok());
    // 0 stands for a process outside our pid namespace, and would mean ourselves.
    let known = numbers.filter(|pid| *pid > 0);
    Ok(Some(known.map(Pid::from_raw).collect()))
}

fn children(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}
