//! Tests in a network namespace of their own.

use std::{env, process::Command};

use super::skipped;

/// Names the test that runs inside.
const INSIDE: &str = "SLEEPINGD_TEST_INSIDE";

/// Says whether this test, by its whole name, runs inside a network namespace of its own, which
/// was prepared by `script`. If not, runs it there, and fails if it fails. For root alone.
#[track_caller]
pub fn inside(test: &str, script: &str) -> bool {
    if env::var(INSIDE).is_ok_and(|name| name == test) {
        return true;
    }
    let script = format!("ip link set lo up || exit 9; {script}\nexec \"$0\" --exact \"$1\"");
    let output = Command::new("unshare")
        .args(["-n", "sh", "-ec", &script])
        .arg(env::current_exe().unwrap())
        .arg(test)
        .env(INSIDE, test)
        .output()
        .unwrap();
    if output.status.code() == Some(9) {
        skipped("there is no network namespace to be had");
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
