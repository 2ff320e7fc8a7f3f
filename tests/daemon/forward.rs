//! One service with no file: `sleepingd forward`.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::harness::{Daemon, Server, Stage, connect, fetch, has, is_reset, is_root, rest, until};

/// Between two addresses, with the cue for its command.
struct Between {
    stage: Stage,
    daemon: Daemon,
    front: SocketAddr,
    back: SocketAddr,
}

impl Between {
    fn with(options: &[&str]) -> Self {
        let stage = Stage::new();
        let cue = stage.cue("");
        let (front, back) = (stage.address(), stage.address());
        let (listen, target) = (front.to_string(), back.to_string());
        let ends = ["--listen", &listen, "--target", &target];
        let daemon = stage.forward(&[&ends, options, &["--", cue.trim()]].concat());
        Self {
            stage,
            daemon,
            front,
            back,
        }
    }
}

#[test]
fn the_first_client_starts_the_command_and_others_find_it() {
    let between = Between::with(&[]);
    let mut first = connect(between.front);
    let left = between.stage.called("command").does("sleep 1000");
    let _server = Server::greeting(between.back, "page");
    assert_eq!(rest(&mut first), "page");
    assert_eq!(fetch(between.front), "page");
    between.stage.nothing_called();
    drop(between);
    left.ends();
}

#[test]
fn it_runs_words_and_no_shell_in_our_directory_and_environment() {
    let stage = Stage::new();
    let seen = stage.path("seen");
    let script = stage.write(
        "script",
        "printf '%s\\n' \"$PWD\" \"$GREETING\" \"$SLEEPINGD_ACTION\" \"$@\" > seen.new\n\
         echo to the one; echo to the other >&2\nmv seen.new seen\nexec sleep 1000\n",
    );
    let front = stage.address().to_string();
    let mut command = stage.command("sh");
    command.args([
        "-c",
        "exec \"$@\" > said",
        "sh",
        env!("CARGO_BIN_EXE_sleepingd"),
    ]);
    command
        .env("GREETING", "hello world")
        .current_dir(stage.path(""));
    let words = [
        "/bin/sh",
        script.to_str().unwrap(),
        "a b",
        "$HOME",
        "#c",
        "",
    ];
    let options = [
        "--listen",
        &front,
        "--target",
        "127.0.0.1:1",
        "--auto-start",
        "--",
    ];
    let daemon = stage.forward_by(command, &[&options[..], &words].concat());
    until("it has said what it sees", || seen.exists());
    let text = fs::read_to_string(seen).unwrap();
    let home = fs::canonicalize(stage.path("")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            home.to_str().unwrap(),
            "hello world",
            "command",
            "a b",
            "$HOME",
            "#c",
            ""
        ]
    );
    // What it prints is neither read nor dressed up.
    assert_eq!(
        fs::read_to_string(stage.path("said")).unwrap(),
        "to the one\n"
    );
    let line = daemon.says("to the other");
    assert_eq!(line, "to the other");
}

fn passes_on(signal: Signal, name: &str) {
    let mut between = Between::with(&["--stop-signal", "SIGUSR1"]);
    let mut client = connect(between.front);
    let heard = between.stage.path("heard");
    let listening = between.stage.path("listening");
    let left = between.stage.called("command").does(&format!(
        "for s in HUP INT TERM USR1; do trap \"echo $s >> {}; kill \\$!; exit 7\" $s; done; \
         sleep 1000 & touch {}; wait; wait",
        heard.display(),
        listening.display()
    ));
    until("it heeds all of them", || listening.exists());
    let server = Server::greeting(between.back, "page");
    assert_eq!(rest(&mut client), "page");
    drop((client, server));
    between.daemon.signal(signal);
    assert_eq!(between.daemon.ends(), Some(7), "its exit status is ours");
    assert_eq!(fs::read_to_string(heard).unwrap(), format!("{name}\n"));
    left.ends();
    assert_eq!(between.stage.processes(), []);
}

#[test]
fn what_ends_us_is_passed_on_once_and_its_exit_status_is_ours() {
    passes_on(Signal::SIGTERM, "TERM");
    passes_on(Signal::SIGINT, "INT");
    passes_on(Signal::SIGHUP, "HUP");
}

#[test]
fn a_command_that_finishes_what_is_open_is_let_to() {
    let mut between = Between::with(&[]);
    let mut client = connect(between.front);
    let told = between.stage.path("told");
    let may = between.stage.path("may-end");
    let left = between.stage.called("command").does(&format!(
        "trap 'touch {}; until [ -e {} ]; do sleep 0.02; done; exit 0' TERM; sleep 1000 & wait",
        told.display(),
        may.display()
    ));
    let listener = TcpListener::bind(between.back).unwrap();
    let mut server = loop {
        // The first to come may be the one who looks whether somebody listens.
        let (server, _) = listener.accept().unwrap();
        server
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        if server.peek(&mut [0]).is_err() {
            break server;
        }
    };
    server.write_all(b"half").unwrap();
    let mut half = [0; 4];
    client.read_exact(&mut half).unwrap();
    between.daemon.signal(Signal::SIGTERM);
    until("it has been told", || told.exists());
    server.write_all(b" and half").unwrap();
    drop((server, listener));
    assert_eq!(rest(&mut client), " and half");
    drop(client);
    fs::write(may, "").unwrap();
    assert_eq!(between.daemon.ends(), Some(0));
    left.ends();
}

#[test]
fn one_killed_by_a_signal_or_by_stop_timeout_is_128_and_its_number() {
    let mut between = Between::with(&["--stop-timeout", "100ms"]);
    let _client = connect(between.front);
    let deaf = between.stage.path("deaf");
    let left = between.stage.called("command").does(&format!(
        "trap '' TERM; touch {}; sleep 1000",
        deaf.display()
    ));
    until("it heeds no SIGTERM", || deaf.exists());
    between.daemon.signal(Signal::SIGTERM);
    assert_eq!(between.daemon.ends(), Some(137));
    left.ends();
    let mut between = Between::with(&[]);
    let _client = connect(between.front);
    let left = between.stage.called("command").does("exec sleep 1000");
    until("it is only that", || {
        between
            .stage
            .processes()
            .iter()
            .any(|(_, line)| line.starts_with("sleep"))
    });
    between.daemon.signal(Signal::SIGINT);
    assert_eq!(between.daemon.ends(), Some(130));
    left.ends();
}

#[test]
fn what_was_ignored_when_it_was_started_stays_ignored() {
    let stage = Stage::new();
    let front = stage.address();
    let _server = Server::greeting(front, "");
    let (listen, back) = (stage.address(), stage.address());
    let _server = Server::greeting(back, "page");
    let mut command = stage.command("nohup");
    command.arg(env!("CARGO_BIN_EXE_sleepingd"));
    let ends = [
        "--listen",
        &listen.to_string(),
        "--target",
        &back.to_string(),
    ];
    let mut daemon = stage.forward_by(command, &ends);
    daemon.signal(Signal::SIGHUP);
    assert_eq!(fetch(listen), "page");
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn it_is_stopped_when_nobody_uses_it_and_started_for_the_next() {
    let mut between = Between::with(&["--stop-after", "1ms", "--stop-signal", "usr1"]);
    for _ in 0..2 {
        let mut client = connect(between.front);
        let left = between
            .stage
            .called("command")
            .does("trap 'kill $!; exit 0' USR1; sleep 1000 & wait");
        let server = Server::greeting(between.back, "page");
        assert_eq!(rest(&mut client), "page");
        drop((client, server));
        left.ends();
        between.daemon.says(": asleep; ");
    }
    assert_eq!(
        between.daemon.stop(),
        Some(0),
        "nothing ran when it was told to end"
    );
}

#[test]
fn one_that_dies_is_noticed_at_once_and_started_for_the_next() {
    let between = Between::with(&[]);
    let client = connect(between.front);
    between.stage.called("command").fails().ends();
    is_reset(client);
    let mut client = connect(between.front);
    let left = between.stage.called("command").does("sleep 1000");
    let _server = Server::greeting(between.back, "page");
    assert_eq!(rest(&mut client), "page");
    drop(between);
    left.ends();
}

#[test]
fn without_a_command_it_forwards_and_is_gone_at_once_when_told() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let server = Server::greeting(back, "page");
    let ends = [
        "--listen",
        &front.to_string(),
        "--target",
        &back.to_string(),
    ];
    let mut daemon = stage.forward(&ends);
    assert_eq!(fetch(front), "page");
    drop(server);
    is_reset(connect(front));
    let listener = TcpListener::bind(back).unwrap();
    let client = connect(front);
    let (_open, _) = listener.accept().unwrap();
    assert_eq!(daemon.stop(), Some(0));
    is_reset(client);
}

#[test]
fn a_wrong_command_line_is_64_and_says_which_option() {
    let stage = Stage::new();
    let table: &[(&[&str], &str)] = &[
        (&[], "add --listen"),
        (&["--listen", "127.0.0.1:80"], "add --target"),
        (
            &["--listen", "nonsense", "--target", "a:1"],
            "--listen: 'nonsense'",
        ),
        (
            &["--listen", ":80", "--target", "nowhere"],
            "--target: 'nowhere'",
        ),
        (
            &["--listen", ":80", "--target", "a:1", "--idle-time", "soon"],
            "--idle-time: 'soon'",
        ),
        (
            &["--listen", ":80", "--target", "a:1", "--stop-signal", "x"],
            "--stop-signal: 'x'",
        ),
        (
            &["--listen", ":80", "--target", "a:1", "--nonsense"],
            "--nonsense",
        ),
        (&["--listen", ":80", "--target", "a:1", "cmd"], "'cmd'"),
    ];
    for (arguments, expected) in table {
        let ended = stage.sleepingd(&[&["forward"], *arguments].concat());
        assert_eq!(ended.code, Some(64), "{arguments:?}");
        assert!(
            ended.stderr.contains(expected),
            "{arguments:?}: {}",
            ended.stderr
        );
    }
}

#[test]
fn a_port_in_use_is_1_and_says_which() {
    let stage = Stage::new();
    let taken = stage.address();
    let _server = Server::without_reuse(taken, "");
    let arguments = [
        "forward",
        "--listen",
        &taken.to_string(),
        "--target",
        "127.0.0.1:1",
    ];
    let ended = stage.sleepingd(&arguments);
    assert_eq!(ended.code, Some(1));
    let expected = format!("forward: cannot listen on {taken}: ");
    assert!(ended.stderr.contains(&expected), "{}", ended.stderr);
}

#[test]
fn under_a_socket_of_systemd_it_needs_no_listen() {
    if !has("systemd-socket-activate") {
        return;
    }
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let mut command = stage.command("systemd-socket-activate");
    command
        .args(["-l", &front.to_string(), "-E", "PATH"])
        .arg(env!("CARGO_BIN_EXE_sleepingd"));
    let cue = stage.cue("");
    // It starts what listens with the first client, and only then can that be ready.
    let client = thread::spawn(move || {
        let mut client = loop {
            match TcpStream::connect(front) {
                Ok(client) => break client,
                Err(_) => thread::yield_now(),
            }
        };
        rest(&mut client)
    });
    let target = back.to_string();
    let mut daemon = stage.forward_by(command, &["--target", &target, "--", cue.trim()]);
    let left = stage.called("command").does("sleep 1000");
    let _server = Server::greeting(back, "page");
    assert_eq!(client.join().unwrap(), "page");
    assert_eq!(daemon.stop(), Some(143));
    left.ends();
}

#[test]
fn ctrl_z_stops_the_command_too_and_both_go_on() {
    let mut between = Between::with(&[]);
    let mut client = connect(between.front);
    let left = between.stage.called("command").does("exec sleep 1000");
    let _server = Server::greeting(between.back, "page");
    assert_eq!(rest(&mut client), "page");
    drop(client);
    let command = until_some("the command", || {
        let mut all = between.stage.processes().into_iter();
        all.find_map(|(pid, line)| line.starts_with("sleep").then_some(pid))
    });
    let daemon = between.daemon.pid();
    for _ in 0..2 {
        kill(daemon, Signal::SIGTSTP).unwrap();
        until("both are stopped", || {
            state(command) == 'T' && state(daemon) == 'T'
        });
        kill(daemon, Signal::SIGCONT).unwrap();
        until("both go on", || {
            state(command) != 'T' && state(daemon) != 'T'
        });
        assert_eq!(fetch(between.front), "page");
    }
    assert_eq!(between.daemon.stop(), Some(143));
    left.ends();
}

/// As proc_pid_stat(5) has it.
fn state(pid: Pid) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

fn until_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    until(what, || {
        found = look();
        found.is_some()
    });
    found.unwrap()
}

// === process 1 ===

/// The children of `unshare`, which is outside: process 1 of the namespace.
fn process_1(daemon: &Daemon) -> Pid {
    until_some("process 1", || {
        let outside = daemon.pid();
        let path = format!("/proc/{outside}/task/{outside}/children");
        let children = fs::read_to_string(path).ok()?;
        children
            .split_whitespace()
            .next()?
            .parse()
            .ok()
            .map(Pid::from_raw)
    })
}

/// `None`, and said, where there is no namespace of processes to be had.
fn in_a_namespace_of_processes(stage: &Stage, arguments: &[&str]) -> Option<Daemon> {
    let unshare = || {
        let mut command = stage.command("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
        command
    };
    if !is_root("only root can make a namespace of processes")
        || !unshare().arg("true").status().unwrap().success()
    {
        return None;
    }
    let mut command = unshare();
    command.arg(env!("CARGO_BIN_EXE_sleepingd"));
    Some(stage.forward_by(command, arguments))
}

#[test]
fn as_process_1_it_reaps_orphans_and_ends_when_told_with_the_status_of_the_command() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let ends = [
        "--listen",
        &front.to_string(),
        "--target",
        &back.to_string(),
    ];
    let cue = stage.cue("");
    let arguments = [&ends[..], &["--", cue.trim()]].concat();
    let Some(mut daemon) = in_a_namespace_of_processes(&stage, &arguments) else {
        return;
    };
    let mut client = connect(front);
    let orphans = stage.path("orphans");
    // Each is left by its parent before it ends.
    let left = stage.called("command").does(&format!(
        "for i in 1 2 3; do (setsid sh -c 'until [ -e {0}.may ]; do sleep 0.02; done; echo >> {0}' &); done; \
         trap 'exit 5' TERM; sleep 1000 & wait",
        orphans.display()
    ));
    let _server = Server::greeting(back, "page");
    assert_eq!(rest(&mut client), "page");
    drop(client);
    let init = process_1(&daemon);
    fs::write(stage.path("orphans.may"), "").unwrap();
    until("the orphans have ended", || {
        fs::read_to_string(&orphans).is_ok_and(|text| text.lines().count() == 3)
    });
    until("nothing of them is left", || zombies_of(init) == 0);
    assert_eq!(fetch(front), "page", "the command runs on");
    kill(init, Signal::SIGTERM).unwrap();
    assert_eq!(daemon.ends(), Some(5));
    left.ends();
    assert_eq!(stage.processes(), []);
}

/// Children that have ended and that it has not reaped.
fn zombies_of(parent: Pid) -> usize {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let children = fs::read_to_string(path).unwrap();
    let is_zombie = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('Z'))
    };
    children
        .split_whitespace()
        .filter(|pid| is_zombie(pid))
        .count()
}
