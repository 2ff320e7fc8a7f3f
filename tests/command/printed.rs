//! What it prints later, and to whom.

use std::{
    fs,
    io::Read,
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use sleepingd::{
    command::{PipeKeeper, Runner},
    model::{Action, CommandExit, CommandRequest},
};
use tokio::{sync::mpsc, time::timeout};

use super::{
    log::log,
    rig::{Leftovers, PATIENCE, Store, fifo, outcome, pids, request, run, runner},
};

#[tokio::test]
async fn standard_error_is_logged_with_its_service_and_within_limits() {
    let lines = log();
    let (store, mut released) = Store::telling();
    let runner = Runner::new(store, None);
    outcome(runner.run(request(Action::Stop, "echo answer; seq 1000 >&2"))).await;
    for _ in 0..2 {
        timeout(PATIENCE, released.recv()).await.unwrap().unwrap();
    }
    let lines: Vec<String> = lines.try_iter().collect();
    let of_ours: Vec<&String> = lines
        .iter()
        .filter(|line| line.contains("sleepingd_service=\"My Web\""))
        .collect();
    assert_eq!(of_ours.len(), 201, "{of_ours:?}");
    assert!(
        of_ours
            .iter()
            .all(|line| line.contains("sleepingd_action=\"stop\""))
    );
    assert!(
        of_ours[200].contains("800 lines suppressed"),
        "{}",
        of_ours[200]
    );
}

#[tokio::test]
async fn standard_output_after_the_answer_is_for_debugging() {
    let lines = log();
    run(Action::Stop, "echo answer; echo detail").await;
    let lines: Vec<String> = lines.try_iter().collect();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("DEBUG") && line.contains("detail"))
    );
    assert!(!lines.iter().any(|line| line.contains("answer")));
}

#[tokio::test]
async fn a_start_that_fails_after_its_line_is_a_warning() {
    let lines = log();
    let directory = tempfile::tempdir().unwrap();
    let go = fifo(directory.path(), "go");
    let (store, mut released) = Store::telling();
    let text = format!("echo 127.0.0.1 80; read x < {}; exit 3", go.display());
    let command = Runner::new(store, None).run(request(Action::Start, &text));
    assert_eq!(outcome(command).await.exit, CommandExit::Running);
    fs::write(&go, "\n").unwrap();
    for _ in 0..2 {
        timeout(PATIENCE, released.recv()).await.unwrap().unwrap();
    }
    let warned = timeout(PATIENCE, async {
        loop {
            if let Ok(line) = lines.try_recv() {
                break line;
            }
            tokio::task::yield_now().await;
        }
    });
    let line = warned.await.unwrap();
    assert!(
        line.contains("WARN") && line.contains("START_CMD exited with status 3"),
        "{line}"
    );
}

#[tokio::test]
async fn pipes_are_kept_before_the_command_starts_and_released_at_their_end() {
    let (store, mut released) = Store::telling();
    let runner = Runner::new(Arc::clone(&store) as Arc<dyn PipeKeeper>, None);
    let start = outcome(runner.run(request(Action::Start, "sleep 1000 & printf $!"))).await;
    let held = Leftovers(pids(&start));
    let mut kept: Vec<String> = store.kept.lock().unwrap().keys().cloned().collect();
    kept.sort();
    assert_eq!(kept, ["pipe.my-web.start.err.0", "pipe.my-web.start.out.0"]);
    drop(held);
    let mut gone = Vec::new();
    for _ in 0..2 {
        gone.push(timeout(PATIENCE, released.recv()).await.unwrap().unwrap());
    }
    gone.sort();
    assert_eq!(gone, kept);

    // A command that could not be started leaves nothing behind either.
    outcome(runner.run(request(Action::Start, "/nonexistent/command"))).await;
    assert!(store.kept.lock().unwrap().is_empty());
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A backend that waits for the word, prints, and says that it lived through it.
struct Chatty {
    directory: tempfile::TempDir,
    request: CommandRequest,
}

impl Chatty {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let go = fifo(directory.path(), "go");
        let told = fifo(directory.path(), "told");
        let text = format!(
            "echo $$; read x < {}; echo later; echo later >&2; echo alive > {}",
            go.display(),
            told.display()
        );
        Self {
            directory,
            request: request(Action::Start, &text),
        }
    }

    fn go(&self) {
        fs::write(self.directory.path().join("go"), "\n").unwrap();
    }

    fn told(&self) -> String {
        let mut text = String::new();
        let mut file = fs::File::open(self.directory.path().join("told")).unwrap();
        file.read_to_string(&mut text).unwrap();
        text
    }
}

#[test]
fn a_backend_that_prints_survives_the_daemon() {
    let chatty = Chatty::new();
    let daemon = runtime();
    let start = daemon.block_on(async { outcome(runner().run(chatty.request.clone())).await });
    let _kill = Leftovers(pids(&start));
    assert_eq!(start.exit, CommandExit::Running);
    // Both read ends are closed with it, and nobody kept them.
    drop(daemon);
    chatty.go();
    assert_eq!(chatty.told(), "alive\n");
}

#[test]
fn the_next_daemon_goes_on_reading_what_a_backend_prints() {
    let chatty = Chatty::new();
    let store = Arc::new(Store::default());
    let daemon = runtime();
    let start = daemon.block_on(async {
        let runner = Runner::new(Arc::clone(&store) as Arc<dyn PipeKeeper>, None);
        outcome(runner.run(chatty.request.clone())).await
    });
    let _kill = Leftovers(pids(&start));
    drop(daemon);
    assert_eq!(
        store.kept.lock().unwrap().len(),
        2,
        "the end of a daemon releases nothing"
    );

    let lines = log();
    let (tell, mut released) = mpsc::unbounded_channel();
    *store.released.lock().unwrap() = Some(tell);
    let daemon = runtime();
    daemon.block_on(async {
        let runner = Runner::new(Arc::clone(&store) as Arc<dyn PipeKeeper>, None);
        let inherited: Vec<(String, OwnedFd)> = store.kept.lock().unwrap().drain().collect();
        for (name, fd) in inherited {
            // As it comes over exec.
            fcntl(&fd, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
            runner.adopt_pipe(&name, fd);
        }
        // A number of its own, beside those that were adopted.
        outcome(runner.run(request(Action::Check, "true"))).await;
        chatty.go();
        assert_eq!(chatty.told(), "alive\n");
        let mut names = Vec::new();
        while names.len() < 4 {
            names.push(timeout(PATIENCE, released.recv()).await.unwrap().unwrap());
        }
        names.sort();
        let expected = ["check.err.1", "check.out.1", "start.err.0", "start.out.0"];
        assert_eq!(names, expected.map(|name| format!("pipe.my-web.{name}")));
    });
    let lines: Vec<String> = lines
        .try_iter()
        .filter(|line| line.contains("later"))
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines
            .iter()
            .all(|line| line.contains("sleepingd_service=\"my-web\"")),
        "{lines:?}"
    );
}

#[tokio::test]
async fn an_inherited_descriptor_that_is_no_pipe_of_ours_is_given_back() {
    let (store, mut released) = Store::telling();
    let runner = Runner::new(store, None);
    let file = || OwnedFd::from(fs::File::open("/dev/null").unwrap());
    for name in ["pipe.web.start.out.0", "something-else"] {
        let fd = file();
        assert!(fd.as_raw_fd() > 2);
        runner.adopt_pipe(name, fd);
        assert_eq!(released.recv().await.unwrap(), name);
    }
}
