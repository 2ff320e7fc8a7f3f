//! Tests in namespaces of their own: of networks, or of mounts.

use std::{env, process::Command};

use nix::unistd::geteuid;

use super::needs::{is_root, skipped};

/// Names the test that runs inside.
pub const INSIDE: &str = "SLEEPINGD_TEST_INSIDE";

/// What the scripts end with where they cannot begin.
const NOT_TO_BE_HAD: i32 = 9;

/// Says whether this test, by its whole name, runs inside a network namespace of its own, which
/// was prepared by `script`. If not, runs it there, and fails if it fails. Who is not root is root
/// of nothing else there.
#[track_caller]
pub fn inside(test: &str, script: &str) -> bool {
    let script = format!("ip link set lo up || exit {NOT_TO_BE_HAD}; {script}");
    is_inside(test) || run_inside(test, "n", &script)
}

/// The same, where `/run` is its own and empty.
#[track_caller]
pub fn with_own_run(test: &str) -> bool {
    let script = format!("mount -t tmpfs none /run || exit {NOT_TO_BE_HAD}");
    is_inside(test) || run_inside(test, "m", &script)
}

/// The same, where no group is called sleepingd, but for this line of group(5). For root alone.
#[track_caller]
pub fn with_own_groups(test: &str, line: &str) -> bool {
    let script = format!(
        "mount -t tmpfs none /run || exit {NOT_TO_BE_HAD}; \
         {{ grep -v ^sleepingd: /etc/group; echo '{line}'; }} > /run/group; \
         mount --bind /run/group /etc/group || exit {NOT_TO_BE_HAD}"
    );
    is_inside(test) || run_inside_as_root(test, &script)
}

/// The same, where the user database says nothing until somebody writes to `/run/passwd`. For root
/// alone.
#[track_caller]
pub fn with_slow_users(test: &str) -> bool {
    let script = format!(
        "mount -t tmpfs none /run && mkfifo /run/passwd && \
         mount --bind /run/passwd /etc/passwd || exit {NOT_TO_BE_HAD}"
    );
    is_inside(test) || run_inside_as_root(test, &script)
}

fn is_inside(test: &str) -> bool {
    env::var(INSIDE).is_ok_and(|name| name == test)
}

/// Among other mounts, where what belongs to root is still root's.
#[track_caller]
fn run_inside_as_root(test: &str, script: &str) -> bool {
    is_root("only root can change what all users see") && run_inside(test, "m", script)
}

/// In a namespace of this kind. Always `false`: it has run by then.
#[track_caller]
fn run_inside(test: &str, kind: &str, script: &str) -> bool {
    let as_root = if geteuid().is_root() { "" } else { "r" };
    let flags = format!("-{as_root}{kind}");
    let unshare = |script: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args([&flags, "sh", "-ec", script]);
        unshare
    };
    if !unshare("true").output().unwrap().status.success() {
        skipped("there is no namespace to be had");
        return false;
    }
    let script = format!("{script}\nexec \"$0\" --exact \"$1\"");
    let output = unshare(&script)
        .arg(env::current_exe().unwrap())
        .arg(test)
        .env(INSIDE, test)
        .output()
        .unwrap();
    if output.status.code() == Some(NOT_TO_BE_HAD) {
        skipped("there is no namespace to be had");
        return false;
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{error}"
    );
    false
}
