//! When a command is done.

use std::{fs, io::Write, path::Path};

use sleepingd::model::{Action, CommandExit};
use tokio::time::timeout;

use super::rig::{
    Leftovers, PATIENCE, fifo, first_line, lives, outcome, pids, request, run, runner,
};

#[tokio::test]
async fn start_is_done_with_its_first_line_while_it_runs_on() {
    let start = run(Action::Start, "echo $$; echo more; exec sleep 1000").await;
    let _kill = Leftovers(pids(&start));
    assert_eq!(start.exit, CommandExit::Running);
    assert!(lives(pids(&start)[0]));
}

#[tokio::test]
async fn start_is_not_done_with_half_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let go = fifo(directory.path(), "go");
    let text = format!(
        "printf 127.0.0.1; read x < {}; echo ' 80'; exec sleep 0",
        go.display()
    );
    let mut command = runner().run(request(Action::Start, &text));
    // Opening waits until the command reads, which is after its half line.
    let go = tokio::task::spawn_blocking(move || fs::File::options().write(true).open(go));
    let mut go = tokio::select! {
        go = go => go.unwrap().unwrap(),
        outcome = command.outcome() => panic!("{outcome:?}"),
    };
    go.write_all(b"\n").unwrap();
    assert_eq!(
        outcome(command).await.first_line.as_deref(),
        Some("127.0.0.1 80")
    );
}

#[tokio::test]
async fn the_other_commands_are_done_when_they_exit() {
    let check = run(Action::Check, "echo one; echo two; exit 3").await;
    assert_eq!(check.exit, CommandExit::Exited(3));
    assert_eq!(first_line(&check), "one");
    assert_eq!(run(Action::Stop, "true").await.exit, CommandExit::Exited(0));
}

#[tokio::test]
async fn a_start_that_fails_with_nothing_said_says_its_status() {
    let start = run(Action::Start, "exit 5").await;
    assert_eq!(
        (start.exit, start.first_line),
        (CommandExit::Exited(5), None)
    );
}

#[tokio::test]
async fn a_last_line_without_its_end_counts() {
    let start = run(Action::Start, "printf '127.0.0.1 80'").await;
    assert_eq!(first_line(&start), "127.0.0.1 80");
    // Its outputs are closed a moment before it has ended.
    assert!(
        matches!(start.exit, CommandExit::Exited(0) | CommandExit::Running),
        "{start:?}"
    );
}

#[tokio::test]
async fn a_child_that_holds_the_outputs_keeps_nobody_waiting() {
    for action in [Action::Start, Action::Check] {
        let done = run(action, "sleep 1000 & printf $!").await;
        let _kill = Leftovers(pids(&done));
        assert_eq!(done.exit, CommandExit::Exited(0));
        assert!(lives(pids(&done)[0]));
    }
}

#[tokio::test]
async fn what_a_command_printed_last_is_not_lost_however_fast_it_exits() {
    for _ in 0..50 {
        let check = run(Action::Check, "/bin/echo 127.0.0.1 80").await;
        assert_eq!(
            (first_line(&check), check.exit.clone()),
            ("127.0.0.1 80", CommandExit::Exited(0))
        );
    }
}

#[tokio::test]
async fn a_flood_neither_blocks_nor_fills_the_memory() {
    let peak = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let before = peak();
    let one_line = run(Action::Check, "head -c 100000000 /dev/zero | tr '\\0' x").await;
    assert_eq!(one_line.exit, CommandExit::Exited(0));
    assert_eq!(first_line(&one_line).len(), 4096);
    let lines = run(
        Action::Check,
        "yes 0123456789012345678901234567890 | head -c 20000000",
    )
    .await;
    assert_eq!(lines.exit, CommandExit::Exited(0));
    assert!(peak() - before < 50_000, "{before} -> {} kB", peak());
}

#[tokio::test]
async fn a_child_that_floods_does_not_hold_up_the_outcome() {
    let check = run(Action::Check, "printf \"$$ \"; yes >&2 & printf $!").await;
    let _kill = Leftovers(pids(&check)[1..].to_vec());
    assert_eq!(check.exit, CommandExit::Exited(0));
}

#[tokio::test]
async fn death_by_signal_is_told() {
    let check = run(Action::Check, "kill -SEGV $$").await;
    assert_eq!(check.exit, CommandExit::Signalled(libc::SIGSEGV));
}

#[tokio::test]
async fn the_last_lines_of_standard_error_come_with_the_outcome() {
    let check = run(Action::Check, "seq 15 >&2; printf last >&2; exit 1").await;
    let expected: Vec<String> = (7..=15)
        .map(|n| n.to_string())
        .chain(["last".to_owned()])
        .collect();
    assert_eq!(check.stderr_tail, expected);
}

#[tokio::test]
async fn a_command_that_is_done_was_reaped() {
    let check = run(Action::Check, "echo $$").await;
    assert!(!Path::new(&format!("/proc/{}", pids(&check)[0])).exists());
}

#[tokio::test]
async fn a_command_that_is_let_go_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let told = fifo(directory.path(), "told");
    let command = runner().run(request(
        Action::Stop,
        &format!("echo done > {}", told.display()),
    ));
    drop(command);
    let read = tokio::task::spawn_blocking(move || fs::read_to_string(told));
    assert_eq!(
        timeout(PATIENCE, read).await.unwrap().unwrap().unwrap(),
        "done\n"
    );
}
