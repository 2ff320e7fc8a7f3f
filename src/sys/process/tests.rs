use std::{fs, os::unix::process::CommandExt, sync::atomic::Ordering};

use nix::{
    sys::signal::Signal,
    unistd::{Gid, Pid, Uid},
};
use tokio::process::Command;

use super::{
    signals::{IGNORED_AT_START, bit, ignored_now},
    *,
};
use crate::sys::{fd::NofileLimit, user::Credentials};

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

#[test]
fn a_group_keeps_its_number_after_its_leader_and_a_stranger_with_that_number_is_not_it() {
    let mut leader = std::process::Command::new("/bin/sh")
        .args(["-c", "sleep 1000 & read line"])
        .process_group(0)
        .stdin(std::process::Stdio::piped())
        // One that outlives a test that fails keeps nobody waiting for the end of its output.
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let group = Pid::from_raw(i32::try_from(leader.id()).unwrap());
    let started = start_time(group).unwrap();
    assert!(is_group_of(group, started).unwrap());
    assert!(!is_group_of(group, started + 1).unwrap());
    drop(leader.stdin.take());
    leader.wait().unwrap();
    assert!(group_lives(group).unwrap());
    assert!(is_group_of(group, started).unwrap());
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
