//! Commands, as real processes: what they are given, when they are done, and what is left of them.
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts test functions, not what they call"
)]

use std::{
    cell::RefCell,
    collections::HashMap,
    fs,
    io::{Read, Write},
    net::SocketAddr,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::fs::PermissionsExt,
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Once, mpsc as channel},
    time::Duration,
};

use nix::{
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, User, geteuid, getgrouplist, mkfifo},
};
use sleepingd::{
    command::{PipeKeeper, Runner, RunningCommand},
    model::{
        Account, Action, ClientAddr, CommandExit, CommandLine, CommandOutcome, CommandRequest,
        Environment, LocalAddr, Recipe, ServiceName,
    },
    sys::cgroup::CgroupParent,
};
use tokio::{sync::mpsc, time::timeout};

/// Long enough that only a hang takes it.
const PATIENCE: Duration = Duration::from_secs(30);

// === help ===

fn request(action: Action, text: &str) -> CommandRequest {
    set_up_logging();
    let service = ServiceName::new("My Web");
    CommandRequest {
        slug: service.slug().unwrap(),
        service,
        action,
        command: CommandLine::new(text).unwrap(),
        recipe: Arc::new(recipe()),
        timeout: None,
        destination: None,
        client: None,
    }
}

fn recipe() -> Recipe {
    Recipe {
        shell: PathBuf::from("/bin/bash"),
        working_directory: PathBuf::from("/"),
        ..Recipe::default()
    }
}

fn runner() -> Runner {
    Runner::new(Arc::new(()), None)
}

async fn outcome(mut command: RunningCommand) -> CommandOutcome {
    timeout(PATIENCE, command.outcome())
        .await
        .expect("the command is done in time")
}

async fn run(action: Action, text: &str) -> CommandOutcome {
    outcome(runner().run(request(action, text))).await
}

/// Runs with a changed recipe.
async fn run_with(text: &str, change: impl FnOnce(&mut Recipe)) -> CommandOutcome {
    let mut recipe = recipe();
    change(&mut recipe);
    let request = CommandRequest {
        recipe: Arc::new(recipe),
        ..request(Action::Check, text)
    };
    outcome(runner().run(request)).await
}

fn first_line(outcome: &CommandOutcome) -> &str {
    outcome
        .first_line
        .as_deref()
        .unwrap_or_else(|| panic!("no first line: {outcome:?}"))
}

fn pids(outcome: &CommandOutcome) -> Vec<Pid> {
    let line = first_line(outcome).split_ascii_whitespace();
    line.map(|pid| Pid::from_raw(pid.parse().unwrap()))
        .collect()
}

fn not_started(outcome: &CommandOutcome) -> &str {
    match &outcome.exit {
        CommandExit::NotStarted(why) => why,
        other => panic!("it {other}"),
    }
}

/// Neither gone nor a zombie.
fn lives(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

/// Kills what a test left running, whether it passes or not.
struct Leftovers(Vec<Pid>);

impl Drop for Leftovers {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill(*pid, Signal::SIGKILL);
        }
    }
}

fn fifo(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    path
}

/// Keeps duplicates as systemd does, and tells what happens.
#[derive(Default)]
struct Store {
    kept: Mutex<HashMap<String, OwnedFd>>,
    released: Mutex<Option<mpsc::UnboundedSender<String>>>,
}

impl PipeKeeper for Store {
    fn keep(&self, name: &str, fd: BorrowedFd<'_>) {
        let fd = fd.try_clone_to_owned().unwrap();
        self.kept.lock().unwrap().insert(name.to_owned(), fd);
    }

    fn release(&self, name: &str) {
        self.kept.lock().unwrap().remove(name);
        if let Some(tell) = &*self.released.lock().unwrap() {
            tell.send(name.to_owned()).unwrap();
        }
    }
}

/// Gives each line of the log to the test that runs on the same thread. One subscriber for all:
/// those of single threads confuse one another's filters.
struct Log;

thread_local! {
    static LINES: RefCell<Option<channel::Sender<String>>> = const { RefCell::new(None) };
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.with_borrow(|lines| {
            if let Some(lines) = lines {
                // The test may be over: what is logged now concerns nobody.
                let _ = lines.send(String::from_utf8_lossy(bytes).into_owned());
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Before any command runs: a place that logs while the subscriber is being set may never learn
/// of it.
fn set_up_logging() {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(|| Log)
            .init();
    });
}

/// What this thread logs from now on.
fn log() -> channel::Receiver<String> {
    let (tell, lines) = channel::channel();
    LINES.set(Some(tell));
    lines
}

/// A control group for tests, where this machine lets us have one.
struct TestCgroup(PathBuf);

impl TestCgroup {
    fn new(name: &str) -> Option<Self> {
        for root in ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"] {
            let path =
                Path::new(root).join(format!("sleepingd-test-{}-{name}", std::process::id()));
            let version_2 = Path::new(root).join("cgroup.procs").exists();
            if version_2 && fs::create_dir(&path).is_ok() {
                return Some(Self(path));
            }
        }
        eprintln!("skipped: no control group can be made here");
        None
    }

    fn groups(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        // Killed is not yet gone, and only what is empty can be removed.
        for _ in 0..100_000 {
            let events = fs::read_to_string(self.0.join("cgroup.events")).unwrap_or_default();
            if !events.contains("populated 1") {
                break;
            }
            std::thread::yield_now();
        }
        for group in self.groups() {
            let _ = fs::remove_dir(group);
        }
        let _ = fs::remove_dir(&self.0);
    }
}

// === when a command is done ===

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

// === how a command is put down ===

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
    let (tell, mut released) = mpsc::unbounded_channel();
    let store = Arc::new(Store {
        released: Mutex::new(Some(tell)),
        ..Store::default()
    });
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

    kill(backend, Signal::SIGKILL).unwrap();
    timeout(PATIENCE, async {
        while lives(backend) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    CgroupParent::at(&cgroup.0).sweep().unwrap();
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

// === what a command is given ===

#[tokio::test]
async fn a_command_has_three_descriptors_and_no_more() {
    // One that somebody forgot to mark.
    let leak = fs::File::open("/dev/null").unwrap();
    let leak = fcntl(&leak, FcntlArg::F_DUPFD(100)).unwrap();
    // Taken over, so that it is closed at the end.
    let check = run(
        Action::Check,
        "for fd in /proc/self/fd/*; do printf '%s ' ${fd##*/}; done; readlink /proc/self/fd/0",
    )
    .await;
    nix::unistd::close(leak).unwrap();
    // 3 is the shell's own, on /proc/self/fd itself.
    assert_eq!(first_line(&check), "0 1 2 3 /dev/null");
}

#[tokio::test]
async fn outputs_can_be_opened_by_name() {
    let check = run(
        Action::Check,
        "echo out > /dev/stdout; echo err > /dev/stderr",
    )
    .await;
    assert_eq!(
        (first_line(&check), check.stderr_tail.as_slice()),
        ("out", &["err".to_owned()][..])
    );
}

#[tokio::test]
async fn signals_are_at_their_defaults_and_none_is_blocked() {
    for set in ["SigIgn", "SigBlk"] {
        let check = run(Action::Check, &format!("/bin/grep {set} /proc/self/status")).await;
        assert_eq!(first_line(&check), format!("{set}:\t0000000000000000"));
    }
}

#[tokio::test]
async fn a_command_leads_a_group_of_its_own() {
    let check = run(
        Action::Check,
        "echo $$ $(ps -o pgid= $$ 2>/dev/null || cut -d' ' -f5 /proc/$$/stat)",
    )
    .await;
    let ids = pids(&check);
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn the_umask_is_022_and_the_directory_the_root() {
    assert_eq!(
        first_line(&run(Action::Check, "echo $(umask) $(pwd)").await),
        "0022 /"
    );
    let there = tempfile::tempdir().unwrap();
    let directory = there.path().to_owned();
    let check = run_with("pwd", |recipe| recipe.working_directory = directory.clone()).await;
    assert_eq!(Path::new(first_line(&check)), directory);
    let check = run_with("pwd", |recipe| {
        recipe.working_directory = "-/nonexistent".into()
    })
    .await;
    assert_eq!(first_line(&check), "/");
}

#[tokio::test]
async fn the_environment_is_ours_and_nothing_else() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"# c\nFROM_FILE='a b'\nSAID=file\nREMOTE_ADDR=forged\n")
        .unwrap();
    let recipe = Recipe {
        environment: Environment {
            variables: vec![
                ("SAID".to_owned(), "key".to_owned()),
                ("OWN".to_owned(), "$HOME".to_owned()),
            ],
            files: vec![
                (file.path().to_owned(), false),
                ("/nonexistent".into(), true),
            ],
        },
        ..recipe()
    };
    let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
    let request = CommandRequest {
        recipe: Arc::new(recipe),
        destination: Some("127.0.0.1:8080".parse().unwrap()),
        client: Some((
            ClientAddr::tcp(addr("[2001:db8::1]:4711")),
            LocalAddr::tcp(addr("192.0.2.1:80")),
        )),
        // Its output has no newline, so all of it is one line.
        ..request(Action::Check, "/usr/bin/env -0")
    };
    let check = outcome(runner().run(request)).await;
    let me = User::from_uid(geteuid()).unwrap().unwrap();
    let home = me.dir.display().to_string();
    let path = std::env::var("PATH").unwrap();
    let mut expected = HashMap::from([
        ("PATH", path.as_str()),
        ("HOME", &home),
        ("USER", &me.name),
        ("LOGNAME", &me.name),
        ("SHELL", me.shell.to_str().unwrap()),
        ("SAID", "file"),
        ("OWN", "$HOME"),
        ("FROM_FILE", "a b"),
        ("SLEEPINGD_SERVICE", "My Web"),
        ("SLEEPINGD_SLUG", "my-web"),
        ("SLEEPINGD_ACTION", "check"),
        ("SLEEPINGD_DESTINATION", "127.0.0.1:8080"),
        ("SLEEPINGD_LOCAL_ADDR", "192.0.2.1"),
        ("SLEEPINGD_LOCAL_PORT", "80"),
        ("REMOTE_ADDR", "2001:db8::1"),
        ("REMOTE_PORT", "4711"),
        (
            "SOCAT_PEERADDR",
            "[2001:0db8:0000:0000:0000:0000:0000:0001]",
        ),
        ("SOCAT_PEERPORT", "4711"),
        ("SOCAT_SOCKADDR", "192.0.2.1"),
        ("SOCAT_SOCKPORT", "80"),
    ]);
    let lang = std::env::var("LANG");
    if let Ok(lang) = &lang {
        expected.insert("LANG", lang);
    }
    let found: HashMap<&str, &str> = first_line(&check)
        .split_terminator('\0')
        .map(|variable| variable.split_once('=').unwrap())
        .collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_command_becomes_its_user_with_all_groups_of_it() {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let games = User::from_name("games").unwrap().unwrap();
    let text = "echo $(id -u) $(id -g) $(id -G) $HOME $USER; echo err > /dev/stderr";
    let account = |user: &str, group: Option<&str>| Account {
        user: Some(user.to_owned()),
        group: group.map(str::to_owned),
    };
    let check = run_with(text, |recipe| recipe.account = account("games", None)).await;
    let groups = getgrouplist(c"games", games.gid).unwrap();
    let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
    let home = games.dir.display();
    let expected = format!(
        "{} {} {} {home} games",
        games.uid,
        games.gid,
        groups.join(" ")
    );
    assert_eq!(first_line(&check), expected);
    assert_eq!(check.stderr_tail, ["err"], "its own output, opened by name");

    let check = run_with("echo $(id -u) $(id -g)", |recipe| {
        recipe.account = account("games", Some("daemon"));
    })
    .await;
    assert_eq!(first_line(&check), format!("{} 1", games.uid));
    let check = run_with("echo $(id -u) $(id -G) ${USER-nobody}", |recipe| {
        recipe.account = account("3999999999", Some("54321"));
    })
    .await;
    assert_eq!(first_line(&check), "3999999999 54321 nobody");
}

#[tokio::test]
async fn a_directory_is_entered_as_the_user() {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let check = run_with("pwd", |recipe| {
        recipe.account.user = Some("games".to_owned());
        recipe.working_directory = closed.path().to_owned();
    })
    .await;
    let why = not_started(&check);
    assert!(
        why.contains("WORKING_DIRECTORY") && why.contains("Permission denied"),
        "{why}"
    );
}

// === what cannot be run ===

#[tokio::test]
async fn what_cannot_be_run_says_why() {
    let unknown = |recipe: &mut Recipe| recipe.account.user = Some("no-such-user".to_owned());
    let check = run_with("true", unknown).await;
    assert!(not_started(&check).contains("user 'no-such-user' does not exist"));

    let check = run_with("true", |recipe| recipe.shell = "/nonexistent/shell".into()).await;
    assert!(not_started(&check).contains("SHELL '/nonexistent/shell' cannot be run"));

    let check = run_with("true", |recipe| {
        recipe.working_directory = "/nonexistent".into()
    })
    .await;
    assert!(not_started(&check).contains("WORKING_DIRECTORY '/nonexistent' cannot be entered"));

    let missing = |recipe: &mut Recipe| recipe.environment.files.push(("/no/file".into(), false));
    let check = run_with("true", missing).await;
    assert!(not_started(&check).contains("ENVIRONMENT_FILE '/no/file' cannot be read"));

    let check = run(Action::Check, "/nonexistent/command").await;
    assert!(
        not_started(&check).contains("'/nonexistent/command' cannot be run: command not found")
    );
    let check = run(Action::Check, "/etc/passwd").await;
    assert!(not_started(&check).contains("not executable"));
}

#[tokio::test]
async fn a_shells_126_and_127_are_named() {
    let check = run(Action::Check, "/nonexistent/command; exit $?").await;
    assert_eq!(
        check.exit.to_string(),
        "exited with status 127 (command not found)"
    );
    let check = run(Action::Check, "/etc/passwd; exit $?").await;
    assert_eq!(
        check.exit.to_string(),
        "exited with status 126 (command not executable)"
    );
}

#[tokio::test]
async fn a_script_without_an_interpreter_line_runs_as_in_a_shell() {
    let directory = tempfile::tempdir().unwrap();
    let script = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    let plain = script("plain", "echo \"plain $1\"\n");
    assert_eq!(
        first_line(&run(Action::Check, &format!("{plain} x")).await),
        "plain x"
    );
    let orphan = script("orphan", "#!/nonexistent/interpreter\n");
    assert!(not_started(&run(Action::Check, &orphan).await).contains("interpreter"));
}

// === what it prints later, and to whom ===

#[tokio::test]
async fn standard_error_is_logged_with_its_service_and_within_limits() {
    let lines = log();
    let (tell, mut released) = mpsc::unbounded_channel();
    let store = Arc::new(Store {
        released: Mutex::new(Some(tell)),
        ..Store::default()
    });
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
    let (tell, mut released) = mpsc::unbounded_channel();
    let store = Arc::new(Store {
        released: Mutex::new(Some(tell)),
        ..Store::default()
    });
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
    let (tell, mut released) = mpsc::unbounded_channel();
    let store = Arc::new(Store {
        released: Mutex::new(Some(tell)),
        ..Store::default()
    });
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
    let (tell, mut released) = mpsc::unbounded_channel();
    let store = Arc::new(Store {
        released: Mutex::new(Some(tell)),
        ..Store::default()
    });
    let runner = Runner::new(store, None);
    let file = || OwnedFd::from(fs::File::open("/dev/null").unwrap());
    for name in ["pipe.web.start.out.0", "something-else"] {
        let fd = file();
        assert!(fd.as_raw_fd() > 2);
        runner.adopt_pipe(name, fd);
        assert_eq!(released.recv().await.unwrap(), name);
    }
}
