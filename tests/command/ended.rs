//! How a command is put down.

use std::{fs, path::Path, sync::Arc, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sleepingd::{
    command::Runner,
    model::{Action, CommandExit, CommandRequest},
    sys::cgroup::CgroupParent,
};
use tokio::time::timeout;

use super::{
    cgroup::TestCgroup,
    rig::{
        Leftovers, PATIENCE, Store, fifo, first_line, lives, outcome, pids, request, run, runner,
    },
};

fn limited(text: &str, limit: Duration) -> CommandRequest {
    CommandRequest {
        timeout: Some(limit),
        ..request(Action::Check, text)
    }
}

/// Says who it is when both of its processes ignore SIGTERM.
const STUBBORN: &str = "trap '' TERM; sleep 1000 & echo $$ $!; wait";

#[tokio::test]
async fn a_timeout_kills_the_whole_group() {
    let limit = Duration::from_millis(300);
    let check = outcome(runner().run(limited(STUBBORN, limit))).await;
    let _kill = Leftovers(pids(&check));
    assert_eq!(check.exit, CommandExit::TimedOut(limit));
    assert_eq!(pids(&check).len(), 2);
    assert!(pids(&check).into_iter().all(|pid| !lives(pid)));
    assert!(
        !Path::new(&format!("/proc/{}", pids(&check)[0])).exists(),
        "a zombie"
    );
    assert!(
        check.took >= limit + Duration::from_secs(2),
        "no grace: {:?}",
        check.took
    );
}

#[tokio::test]
async fn who_takes_sigterm_may_say_goodbye_and_is_not_waited_for_longer() {
    let text = "trap 'echo goodbye >&2; exit 0' TERM; echo; sleep 1000 & wait";
    let check = outcome(runner().run(limited(text, Duration::from_millis(300)))).await;
    assert_eq!(
        check.exit,
        CommandExit::TimedOut(Duration::from_millis(300))
    );
    assert_eq!(check.stderr_tail, ["goodbye"]);
    assert!(check.took < Duration::from_secs(2), "{:?}", check.took);
}

#[tokio::test]
async fn a_child_that_takes_its_time_is_not_killed_with_its_shell() {
    // The shell goes at once; its child needs a moment, within the grace.
    let text = "(trap 'sleep 0.3; echo cleaned >&2; exit' TERM; echo; while :; do sleep 0.01; done)\
        & wait";
    let check = outcome(runner().run(limited(text, Duration::from_millis(500)))).await;
    assert_eq!(
        check.stderr_tail.last().map(String::as_str),
        Some("cleaned")
    );
}

#[tokio::test]
async fn a_stopped_command_is_put_down_too() {
    let text = "trap 'exit 0' TERM; echo; kill -STOP $$";
    let check = outcome(runner().run(limited(text, Duration::from_millis(300)))).await;
    assert_eq!(
        check.exit,
        CommandExit::TimedOut(Duration::from_millis(300))
    );
    assert!(check.took < Duration::from_secs(2), "{:?}", check.took);
}

#[tokio::test]
async fn what_left_the_group_dies_with_its_control_group() {
    let Some(cgroup) = TestCgroup::new("timeout") else {
        return;
    };
    let runner = Runner::new(Arc::new(()), Some(CgroupParent::at(&cgroup.0)));
    let text = "trap '' TERM; setsid sleep 1000 & echo $$ $!; wait";
    let check = outcome(runner.run(limited(text, Duration::from_millis(300)))).await;
    let _kill = Leftovers(pids(&check));
    assert_eq!(
        check.exit,
        CommandExit::TimedOut(Duration::from_millis(300))
    );
    assert!(pids(&check).into_iter().all(|pid| !lives(pid)));
}

#[tokio::test]
async fn a_backend_stays_in_its_control_group_until_it_ends() {
    let Some(cgroup) = TestCgroup::new("stay") else {
        return;
    };
    let (store, mut released) = Store::telling();
    let runner = Runner::new(store, Some(CgroupParent::at(&cgroup.0)));
    let text = "setsid sleep 1000 >/dev/null 2>&1 & printf $!";
    let start = outcome(runner.run(request(Action::Start, text))).await;
    let backend = pids(&start)[0];
    let _kill = Leftovers(vec![backend]);
    for _ in 0..2 {
        timeout(PATIENCE, released.recv()).await.unwrap().unwrap();
    }
    let groups = cgroup.groups();
    assert_eq!(groups.len(), 1, "{groups:?}");
    assert!(
        groups[0]
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("cmd-my-web-start-")
    );
    let inside = fs::read_to_string(groups[0].join("cgroup.procs")).unwrap();
    // The command itself may not be quite gone yet.
    assert!(
        inside.lines().any(|pid| pid == backend.to_string()),
        "{inside}"
    );

    assert_eq!(CgroupParent::at(&cgroup.0).sweep().unwrap(), 0, "in use");
    kill(backend, Signal::SIGKILL).unwrap();
    // A zombie may still be in its group for a moment.
    timeout(PATIENCE, async {
        while CgroupParent::at(&cgroup.0).sweep().unwrap() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert!(!lives(backend));
    assert!(cgroup.groups().is_empty());
}

#[tokio::test]
async fn commands_run_without_a_control_group_that_cannot_be_made() {
    let nowhere = CgroupParent::at("/nonexistent/cgroup");
    let runner = Runner::new(Arc::new(()), Some(nowhere));
    let check = outcome(runner.run(request(Action::Check, "echo here"))).await;
    assert_eq!(
        (first_line(&check), check.exit.clone()),
        ("here", CommandExit::Exited(0))
    );
    // mkdir succeeds in any directory, but there is no way in.
    let plain = tempfile::tempdir().unwrap();
    let runner = Runner::new(Arc::new(()), Some(CgroupParent::at(plain.path())));
    let check = outcome(runner.run(request(Action::Check, "echo here"))).await;
    assert_eq!(
        (first_line(&check), check.exit.clone()),
        ("here", CommandExit::Exited(0))
    );
}

#[tokio::test]
async fn cancelled_commands_leave_nothing() {
    let runner = runner();
    let directory = tempfile::tempdir().unwrap();
    let told = fifo(directory.path(), "told");
    let text = format!("sleep 1000 & echo $$ $! > {}; wait", told.display());
    let command = runner.run(request(Action::Start, &text));
    let read = tokio::task::spawn_blocking(move || fs::read_to_string(told).unwrap());
    let line = timeout(PATIENCE, read).await.unwrap().unwrap();
    command.canceller().cancel();
    assert_eq!(outcome(command).await.exit, CommandExit::Cancelled);
    for pid in line.split_ascii_whitespace() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        assert!(
            !lives(Pid::from_raw(pid.parse().unwrap())),
            "{line} {stat:?}"
        );
    }
}

#[tokio::test]
async fn a_command_cancelled_before_it_starts_never_does() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let command = runner().run(request(
        Action::Start,
        &format!("echo > {}", trace.display()),
    ));
    command.cancel();
    // It may have started before it was given up; then it was put down.
    assert_eq!(outcome(command).await.exit, CommandExit::Cancelled);
}

#[tokio::test]
async fn a_start_that_runs_is_not_ended_by_its_timeout_or_a_late_cancel() {
    let text = "echo $$; exec sleep 1000";
    let limit = Some(Duration::from_secs(20));
    let mut command = runner().run(CommandRequest {
        timeout: limit,
        ..request(Action::Start, text)
    });
    let start = timeout(PATIENCE, command.outcome()).await.unwrap();
    let _kill = Leftovers(pids(&start));
    assert_eq!(start.exit, CommandExit::Running);
    command.cancel();
    assert_eq!(command.outcome().await, start);
    run(Action::Check, "true").await;
    assert!(lives(pids(&start)[0]));
}
