//! COMMAND: a backend that is looked after. When it is started and when it is not, what its end
//! means for whom, how it is ended, and that it outlives the daemon.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::harness::{
    Backend, Daemon, Server, Stage, connect, fetch, has, is_reset, is_silent, rest, take, until,
};

/// A service whose COMMAND asks the test what to do.
struct Cued {
    stage: Stage,
    daemon: Daemon,
    front: SocketAddr,
    back: SocketAddr,
}

/// A service whose COMMAND is a program that does as its clients say.
struct Served {
    stage: Stage,
    daemon: Daemon,
    front: SocketAddr,
}

const SERVER: &str = include_str!("server.py");

impl Cued {
    fn with(keys: &str) -> Self {
        let stage = Stage::new();
        let (front, back) = (stage.address(), stage.address());
        let daemon = stage.daemon(&format!(
            "[web]\nPORT={front}\nTARGET={back}\nCOMMAND={}\n{keys}",
            stage.cue("")
        ));
        Self {
            stage,
            daemon,
            front,
            back,
        }
    }

    fn daemon_is_killed(&mut self) {
        is_killed(&mut self.daemon);
    }
}

impl Served {
    /// `None`, and said, where there is no Python.
    fn with(keys: &str) -> Option<Self> {
        if !has("python3") {
            return None;
        }
        let stage = Stage::new();
        let (front, back) = (stage.address(), stage.address());
        let daemon = stage.daemon(&format!(
            "[web]\nPORT={front}\nTARGET={back}\nCOMMAND={}\n{keys}",
            server(&stage, back)
        ));
        Some(Self {
            stage,
            daemon,
            front,
        })
    }

    /// A client that has said this.
    fn client(&self, line: &str) -> TcpStream {
        let mut client = connect(self.front);
        client.write_all(line.as_bytes()).unwrap();
        client
    }

    fn daemon_is_killed(&mut self) {
        is_killed(&mut self.daemon);
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(rest(&mut self.client("pid\n")).parse().unwrap())
    }
}

/// The server as a command that needs no shell.
fn server(stage: &Stage, at: SocketAddr) -> String {
    let program = stage.write("server.py", SERVER);
    format!(
        "/usr/bin/env python3 -S {} {} {}",
        program.display(),
        at.ip(),
        at.port()
    )
}

/// Kept until the end of a test: when it is dropped, so is all that the stage has started.
fn is_killed(daemon: &mut Daemon) {
    daemon.signal(Signal::SIGKILL);
    daemon.ends();
}

/// The process that has written its number there.
#[track_caller]
fn pid_in(file: &std::path::Path) -> Pid {
    let read = || fs::read_to_string(file).unwrap_or_default();
    until("it has written its number", || read().ends_with('\n'));
    Pid::from_raw(read().trim().parse().unwrap())
}

/// Waits until nothing but the daemon is left of a stage.
#[track_caller]
fn alone(stage: &Stage) {
    until("nothing of COMMAND is left", || {
        stage.processes().len() == 1
    });
}

/// A COMMAND that is told to end, and does when this file is there.
fn reluctant(stage: &Stage) -> (String, PathBuf) {
    let may = stage.path("may-end");
    let script = format!(
        "trap 'until [ -e {} ]; do sleep 0.02; done; exit 0' TERM; sleep 1000 & wait",
        may.display()
    );
    (script, may)
}

/// A COMMAND that ends of SIGUSR1, and has written so into this file.
fn ended_by_usr1(stage: &Stage) -> (String, PathBuf) {
    let seen = stage.path("seen");
    let script = format!(
        "trap 'echo usr1 >{}; kill $!; exit' USR1; sleep 1000 & wait",
        seen.display()
    );
    (script, seen)
}

// === its start ===

#[test]
fn the_first_client_starts_it_and_others_find_it() {
    let Some(served) = Served::with("") else {
        return;
    };
    let mut clients: Vec<_> = (0..5).map(|_| served.client("echo\nhello")).collect();
    for client in &mut clients {
        assert_eq!(take(client, 5), b"hello");
    }
    assert_eq!(served.daemon.said("listening"), 1);
    let status = served.daemon.status("web");
    assert_eq!(status["state"], "awake");
    assert_eq!(status["relays"], 5);
    assert_eq!(served.daemon.counters()["wakes"], 1);
}

#[test]
fn a_client_waits_until_it_listens() {
    let cued = Cued::with("");
    let mut client = connect(cued.front);
    let command = cued.stage.called("command");
    command.does("echo not a destination; sleep 1000");
    // What it prints means nothing, and goes to the log.
    cued.daemon.says("not a destination");
    let _server = Server::greeting(cued.back, "page");
    assert_eq!(rest(&mut client), "page");
    let line = cued.daemon.says("woken by");
    assert!(line.contains(&format!("at {}", cued.back)), "{line}");
}

#[test]
fn what_it_prints_is_in_the_log_without_debug_too() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    stage.configure(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nCOMMAND={}\n",
        stage.cue("")
    ));
    let daemon = stage.daemon_quietly_by(stage.command(env!("CARGO_BIN_EXE_sleepingd")));
    let _client = connect(front);
    stage
        .called("command")
        .does("echo first; echo second; echo third >&2; sleep 1000");
    // Those of its two pipes come in any order.
    for word in ["first", "second", "third"] {
        let ours = |line: &String| line.contains(&format!("info: web: {word} (action=command)"));
        until(word, || daemon.lines().iter().any(ours));
    }
}

#[test]
fn one_that_cannot_be_run_fails_its_clients_and_says_why() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nCOMMAND=/nonexistent/server\n"
    ));
    is_reset(connect(front));
    let line = daemon.says("cannot be woken: COMMAND could not be started");
    assert!(line.contains("'/nonexistent/server'"), "{line}");
    assert!(line.contains("the next try is not before 500ms"), "{line}");
}

// === its end ===

#[test]
fn its_end_before_it_is_ready_resets_all_who_wait_at_once_and_the_next_start_waits() {
    let cued = Cued::with("");
    let clients = [connect(cued.front), connect(cued.front)];
    let command = cued.stage.called("command");
    until("both wait", || cued.daemon.status("web")["held"] == 2);
    command.does("echo no database >&2; exit 3").ends();
    let ended = Instant::now();
    clients.into_iter().for_each(is_reset);
    assert!(
        ended.elapsed() < Duration::from_millis(400),
        "{:?}",
        ended.elapsed()
    );
    let line = cued
        .daemon
        .says("cannot be woken: COMMAND exited with status 3 after ");
    assert!(
        line.contains("before it was ready: no database; the 2 clients"),
        "{line}"
    );
    assert!(line.contains("the next try is not before 500ms"), "{line}");

    let mut next = connect(cued.front);
    let command = cued.stage.called("command");
    assert!(
        ended.elapsed() >= Duration::from_millis(450),
        "{:?}",
        ended.elapsed()
    );
    let _server = Server::greeting(cued.back, "page");
    command.does("sleep 1000");
    assert_eq!(rest(&mut next), "page");
    assert_eq!(cued.daemon.zombies(), 0);
}

#[test]
fn exit_status_0_before_it_is_ready_is_a_failure_too() {
    let cued = Cued::with("");
    let client = connect(cued.front);
    cued.stage.called("command").succeeds();
    is_reset(client);
    cued.daemon.says("COMMAND exited with status 0 after ");
}

#[test]
fn its_end_ends_what_still_asks_whether_it_is_ready() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nCOMMAND={cue}\nREADY_CMD={cue}\n",
        cue = stage.cue("")
    ));
    let client = connect(front);
    let command = stage.called("command");
    let server = Backend::at(back);
    let ready = stage.called("ready");
    command.fails();
    is_reset(client);
    ready.dies();
    daemon.says("cannot be woken: COMMAND exited with status 1 after ");
    drop(server);
    alone(&stage);
}

#[test]
fn after_its_end_it_is_asleep_and_the_next_client_starts_it_again_at_once() {
    let Some(served) = Served::with("") else {
        return;
    };
    let first = served.pid();
    assert_eq!(rest(&mut served.client("exit 0\n")), "");
    let line = served.daemon.says("COMMAND exited with status 0 after ");
    assert!(
        line.contains("info: ") && line.contains("; asleep"),
        "{line}"
    );
    assert!(!line.contains("not before"), "{line}");
    assert_eq!(served.daemon.state("web"), "asleep");
    assert!(!served.stage.path("run/state-other/web.json").exists());
    assert_ne!(served.pid(), first);
    assert_eq!(served.daemon.zombies(), 0);
}

#[test]
fn one_that_fails_soon_after_it_was_ready_is_started_later_each_time() {
    let Some(served) = Served::with("") else {
        return;
    };
    for pause in ["500ms", "1s"] {
        // What a client of a killed server sees is the kernel's: an end, or a reset.
        let _ = served.client("signal 9\n").read_to_end(&mut Vec::new());
        let line = served.daemon.says("COMMAND was killed by SIGKILL after ");
        let expected = format!("the next start is not before {pause} have passed");
        assert!(
            line.contains(&expected) && line.contains("warning: "),
            "{line}"
        );
    }
    // A life that ends well takes that back.
    assert_eq!(rest(&mut served.client("exit 0\n")), "");
    served.daemon.says("COMMAND exited with status 0");
    let _ = served.client("signal 9\n").read_to_end(&mut Vec::new());
    served.daemon.says("not before 500ms have passed");
}

#[test]
fn a_whole_answer_is_whole_though_it_ends_right_after_it() {
    // More than the kernel holds for all three.
    const LENGTH: usize = 20_000_000;
    let Some(served) = Served::with("") else {
        return;
    };
    let pid = served.pid();
    let mut client = served.client(&format!("answer {LENGTH}\n"));
    let (mut read, mut buffer) = (0, [0; 16384]);
    // It ends when the rest of its answer is on its way; of a zombie there is no environment.
    let environment = format!("/proc/{pid}/environ");
    while fs::read(&environment).is_ok_and(|text| !text.is_empty()) && read < LENGTH {
        read += client.read(&mut buffer).unwrap();
    }
    assert!(read < LENGTH, "it has ended after its answer was read");
    served.daemon.says("COMMAND exited with status 0");
    read += client.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(read, LENGTH);
}

#[test]
fn a_relay_that_nobody_ends_is_reset_after_what_had_been_sent() {
    let cued = Cued::with("");
    let mut client = connect(cued.front);
    let command = cued.stage.called("command");
    let backend = Backend::at(cued.back);
    let mut server = backend.accept();
    server.write_all(b"the first half").unwrap();
    command.does("exit 0");
    cued.daemon.says("; asleep, a connection was open");
    assert_eq!(take(&mut client, 14), b"the first half");
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    is_reset(server);
    until("it is told", || {
        cued.daemon.counters()["outcomes"]["reset"] == 1
    });
}

#[test]
fn a_relay_whose_backend_has_ended_its_side_is_not_reset() {
    let cued = Cued::with("");
    let mut client = connect(cued.front);
    let command = cued.stage.called("command");
    let backend = Backend::at(cued.back);
    let mut server = backend.accept();
    server.write_all(b"all of it").unwrap();
    server.shutdown(Shutdown::Write).unwrap();
    command.does("exit 0");
    cued.daemon.says("; asleep, a connection was open");
    assert_eq!(rest(&mut client), "all of it");
    // And the other direction goes on.
    client.write_all(b"thanks").unwrap();
    assert_eq!(take(&mut server, 6), b"thanks");
}

#[test]
fn one_that_goes_into_the_background_has_ended_and_what_it_left_is_killed() {
    let cued = Cued::with("");
    let client = connect(cued.front);
    let command = cued.stage.called("command");
    let left = command.does("sleep 1000 & exit 0");
    is_reset(client);
    left.ends();
    alone(&cued.stage);
    cued.daemon.says("COMMAND exited with status 0 after ");
    assert_eq!(cued.daemon.zombies(), 0);
}

// === how it is ended ===

#[test]
fn it_is_ended_by_its_signal_when_nobody_uses_it() {
    let cued = Cued::with("STOP_SIGNAL=INT\nIDLE_TIME=100ms\n");
    let mut client = connect(cued.front);
    let command = cued.stage.called("command");
    let seen = cued.stage.path("seen");
    // `wait` ends with the signal, which bash has the sleeper ignore.
    let left = command.does(&format!(
        "trap 'echo interrupted >{}; kill $!; exit 7' INT; sleep 1000 & wait",
        seen.display()
    ));
    let server = Server::greeting(cued.back, "page");
    assert_eq!(rest(&mut client), "page");
    drop(client);
    cued.daemon.says("putting it to sleep");
    cued.daemon.says("asleep; it took ");
    left.ends();
    assert_eq!(fs::read_to_string(seen).unwrap(), "interrupted\n");
    // What it says at the end that was wanted is nobody's business.
    assert_eq!(cued.daemon.said("COMMAND exited"), 0);
    alone(&cued.stage);
    drop(server);
    let _next = connect(cued.front);
    cued.stage.called("command").fails();
}

#[test]
fn what_does_not_heed_the_signal_is_killed_after_stop_timeout() {
    let cued = Cued::with("STOP_TIMEOUT=300ms\nIDLE_TIME=50ms\n");
    let mut client = connect(cued.front);
    let left = cued
        .stage
        .called("command")
        .does("trap '' TERM; sleep 1000 & sleep 1000");
    let _server = Server::greeting(cued.back, "page");
    assert_eq!(rest(&mut client), "page");
    drop(client);
    cued.daemon.says("putting it to sleep");
    let told = Instant::now();
    cued.daemon
        .says("COMMAND did not end within 300ms of SIGTERM, and is killed");
    assert!(
        told.elapsed() >= Duration::from_millis(200),
        "{:?}",
        told.elapsed()
    );
    cued.daemon.says("asleep; it took ");
    left.ends();
    alone(&cued.stage);
    assert_eq!(cued.daemon.zombies(), 0);
}

#[test]
fn what_its_shell_has_started_may_finish_after_the_shell() {
    let cued = Cued::with("IDLE_TIME=50ms\n");
    let mut client = connect(cued.front);
    let done = cued.stage.path("done");
    // The shell dies of the signal at once; what it runs has something to write down.
    let left = cued.stage.called("command").does(&format!(
        "bash -c 'trap \"sleep 0.5; echo saved >{}; exit 0\" TERM; \
         while :; do sleep 0.1; done'; true",
        done.display()
    ));
    let _server = Server::greeting(cued.back, "page");
    assert_eq!(rest(&mut client), "page");
    drop(client);
    cued.daemon.says("asleep; it took ");
    left.ends();
    assert_eq!(fs::read_to_string(done).unwrap(), "saved\n");
    alone(&cued.stage);
}

#[test]
fn a_client_that_comes_while_it_is_ended_is_held_and_starts_it_again() {
    let cued = Cued::with("IDLE_TIME=50ms\n");
    let mut client = connect(cued.front);
    let (script, may) = reluctant(&cued.stage);
    let left = cued.stage.called("command").does(&script);
    let server = Server::greeting(cued.back, "page");
    assert_eq!(rest(&mut client), "page");
    drop((client, server));
    cued.daemon.says("putting it to sleep");
    let mut late = connect(cued.front);
    until("it is held", || cued.daemon.status("web")["held"] == 1);
    cued.stage.nothing_called();
    fs::write(may, "").unwrap();
    let command = cued.stage.called("command");
    left.ends();
    let _server = Server::greeting(cued.back, "again");
    command.does("sleep 1000");
    assert_eq!(rest(&mut late), "again");
}

#[test]
fn the_daemons_stop_ends_it_and_leaves_nothing() {
    let Some(mut served) = Served::with("") else {
        return;
    };
    served.pid();
    assert_eq!(served.daemon.stop(), Some(0));
    assert_eq!(served.daemon.said("asleep; it took "), 1);
    assert_eq!(served.stage.processes(), []);
    assert!(!served.stage.path("run/state-other/web.json").exists());
}

#[test]
fn the_second_signal_kills_it_at_once() {
    let mut cued = Cued::with("");
    let mut client = connect(cued.front);
    let left = cued
        .stage
        .called("command")
        .does("trap '' TERM; sleep 1000");
    let _server = Server::greeting(cued.back, "page");
    assert_eq!(rest(&mut client), "page");
    drop(client);
    cued.daemon.signal(Signal::SIGTERM);
    cued.daemon.says("stopping: ");
    cued.daemon.signal(Signal::SIGTERM);
    assert_eq!(cued.daemon.ends(), Some(0));
    left.ends();
    assert_eq!(cued.stage.processes(), []);
}

// === a wake that runs out of time ===

#[test]
fn it_goes_on_when_wake_timeout_runs_out_and_the_next_client_waits_for_the_same() {
    let cued = Cued::with("WAKE_TIMEOUT=400ms\n");
    let client = connect(cued.front);
    cued.stage.called("command").does("sleep 1000");
    is_reset(client);
    let line = cued
        .daemon
        .says("cannot be woken: it took longer than WAKE_TIMEOUT");
    assert!(line.contains("COMMAND goes on running"), "{line}");
    assert!(!line.contains("not before"), "{line}");
    assert_eq!(cued.daemon.status("web")["state"], "asleep");
    let mut next = connect(cued.front);
    until("it waits", || {
        cued.daemon.status("web")["state"] == "waking"
    });
    let _server = Server::greeting(cued.back, "page");
    assert_eq!(rest(&mut next), "page");
    cued.stage.nothing_called();
}

#[test]
fn one_that_never_listens_is_put_to_sleep_like_any_other() {
    let cued = Cued::with("WAKE_TIMEOUT=200ms\nIDLE_TIME=300ms\n");
    let client = connect(cued.front);
    let left = cued.stage.called("command").does("sleep 1000");
    is_reset(client);
    cued.daemon.says("putting it to sleep");
    left.ends();
    alone(&cued.stage);
}

// === reloads ===

#[test]
fn what_runs_keeps_its_signal_and_a_changed_command_is_for_the_next_wake() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let section = |argument: &str, signal: &str| {
        format!(
            "[web]\nPORT={front}\nTARGET={back}\nIDLE_TIME=1h\nSTOP_SIGNAL={signal}\nCOMMAND={}\n",
            stage.cue(argument)
        )
    };
    let daemon = stage.daemon(&section("old", "USR1"));
    let mut client = connect(front);
    let command = stage.called("command");
    assert_eq!(command.argument, "old");
    let (script, seen) = ended_by_usr1(&stage);
    command.does(&script);
    let server = Server::greeting(back, "page");
    assert_eq!(rest(&mut client), "page");
    drop((client, server));
    stage.configure(&section("new", "TERM").replace("1h", "50ms"));
    daemon.reload();
    daemon.says("asleep; it took ");
    assert_eq!(fs::read_to_string(seen).unwrap(), "usr1\n");
    let _next = connect(front);
    let command = stage.called("command");
    assert_eq!(command.argument, "new");
    command.fails();
}

#[test]
fn a_removed_section_ends_it() {
    let cued = Cued::with("");
    let mut client = connect(cued.front);
    let left = cued.stage.called("command").does("sleep 1000");
    let _server = Server::greeting(cued.back, "page");
    assert_eq!(rest(&mut client), "page");
    drop(client);
    let other = cued.stage.address();
    cued.stage
        .configure(&format!("[other]\nPORT={other}\nTARGET=127.0.0.1:1\n"));
    cued.daemon.reload();
    left.ends();
    alone(&cued.stage);
}

#[test]
fn a_changed_target_ends_it_before_the_next_one_is_started() {
    let stage = Stage::new();
    let (front, back, new) = (stage.address(), stage.address(), stage.address());
    let section = |target: SocketAddr| {
        format!(
            "[web]\nPORT={front}\nTARGET={target}\nCOMMAND={}\n",
            stage.cue("")
        )
    };
    let daemon = stage.daemon(&section(back));
    let mut client = connect(front);
    let left = stage.called("command").does("sleep 1000");
    let server = Server::greeting(back, "page");
    assert_eq!(rest(&mut client), "page");
    drop((client, server));
    stage.configure(&section(new));
    daemon.reload();
    let mut next = connect(front);
    let command = stage.called("command");
    left.ends();
    let _server = Server::greeting(new, "new");
    command.does("sleep 1000");
    assert_eq!(rest(&mut next), "new");
}

// === the next daemon ===

#[test]
fn it_outlives_a_daemon_that_is_killed_and_the_next_one_looks_after_it() {
    let Some(mut served) = Served::with("") else {
        return;
    };
    let pid = served.pid();
    served.daemon_is_killed();
    let _former = std::mem::replace(&mut served.daemon, served.stage.daemon_again());
    assert_eq!(served.pid(), pid);
    assert_eq!(served.daemon.said("listening"), 0);
    // Its end is noticed, though it is no child of this daemon.
    kill(pid, Signal::SIGKILL).unwrap();
    let line = served
        .daemon
        .says("COMMAND has ended (its exit status is not known");
    assert!(line.contains("; asleep"), "{line}");
    assert_ne!(served.pid(), pid);
}

#[test]
fn one_that_a_former_daemon_started_is_ended_by_a_stop_as_it_was_meant_then() {
    let mut cued = Cued::with("STOP_SIGNAL=USR1\n");
    let mut client = connect(cued.front);
    let (script, seen) = ended_by_usr1(&cued.stage);
    let left = cued.stage.called("command").does(&script);
    let _server = Server::greeting(cued.back, "page");
    assert_eq!(rest(&mut client), "page");
    cued.daemon_is_killed();
    cued.stage.configure(&format!(
        "[web]\nPORT={}\nTARGET={}\nCOMMAND=/bin/false\n",
        cued.front, cued.back
    ));
    let _former = std::mem::replace(&mut cued.daemon, cued.stage.daemon_again());
    assert_eq!(fetch(cued.front), "page");
    assert_eq!(cued.daemon.stop(), Some(0));
    assert_eq!(fs::read_to_string(seen).unwrap(), "usr1\n");
    left.ends();
    assert_eq!(cued.stage.processes(), []);
}

#[test]
fn one_that_is_not_ready_when_the_daemon_is_killed_is_not_started_twice() {
    let mut cued = Cued::with("");
    let _client = connect(cued.front);
    let left = cued.stage.called("command").does("sleep 1000");
    until("it is written down", || {
        cued.stage.path("run/state-other/web.json").exists()
    });
    cued.daemon_is_killed();
    let _former = std::mem::replace(&mut cued.daemon, cued.stage.daemon_again());
    let mut client = connect(cued.front);
    until("it is held", || cued.daemon.status("web")["held"] == 1);
    cued.stage.nothing_called();
    let _server = Server::greeting(cued.back, "page");
    assert_eq!(rest(&mut client), "page");
    drop(client);
    cued.stage.nothing_called();
    assert_eq!(cued.daemon.stop(), Some(0));
    left.ends();
}

#[test]
fn one_that_has_ended_while_no_daemon_ran_is_asleep() {
    let Some(mut served) = Served::with("") else {
        return;
    };
    let pid = served.pid();
    served.daemon_is_killed();
    kill(pid, Signal::SIGKILL).unwrap();
    until("it is gone", || served.stage.processes().is_empty());
    let _former = std::mem::replace(&mut served.daemon, served.stage.daemon_again());
    // Before it was ready.
    assert_eq!(
        served
            .daemon
            .said("its COMMAND has ended while no daemon ran"),
        1
    );
    assert_eq!(served.daemon.state("web"), "asleep");
    assert_ne!(served.pid(), pid);
}

#[test]
fn a_section_that_was_removed_while_no_daemon_ran_ends_it_too() {
    let Some(mut served) = Served::with("") else {
        return;
    };
    served.pid();
    served.daemon_is_killed();
    let other = served.stage.address();
    served
        .stage
        .configure(&format!("[other]\nPORT={other}\nTARGET=127.0.0.1:1\n"));
    let _former = std::mem::replace(&mut served.daemon, served.stage.daemon_again());
    // Before it was ready.
    let said = "'web' was awake, and its section is gone: its COMMAND is ended";
    assert_eq!(served.daemon.said(said), 1);
    served.daemon.says("web: asleep");
    alone(&served.stage);
}

#[test]
fn one_whose_section_went_while_no_daemon_ran_is_waited_for_by_a_stop() {
    let mut cued = Cued::with("STOP_TIMEOUT=60s\n");
    let (script, may) = reluctant(&cued.stage);
    let _client = connect(cued.front);
    cued.stage.called("command").does(&script);
    let written = cued.stage.path("run/state-other/web.json");
    until("it is in the books", || written.exists());
    cued.daemon_is_killed();
    let other = cued.stage.address();
    cued.stage
        .configure(&format!("[other]\nPORT={other}\nTARGET=127.0.0.1:1\n"));
    let _former = std::mem::replace(&mut cued.daemon, cued.stage.daemon_again());
    cued.daemon.signal(Signal::SIGTERM);
    cued.daemon.says("stopping: ");
    assert!(cued.stage.processes().len() > 1, "it was not waited for");
    fs::write(may, "").unwrap();
    assert_eq!(cued.daemon.ends(), Some(0));
    assert_eq!(cued.stage.processes(), [], "left behind");
}

#[test]
fn no_client_of_a_section_renamed_while_no_daemon_ran_reaches_the_dying_one() {
    let mut cued = Cued::with("");
    let (script, may) = reluctant(&cued.stage);
    let mut first = connect(cued.front);
    cued.stage.called("command").does(&script);
    let server = Server::greeting(cued.back, "old");
    assert_eq!(rest(&mut first), "old");
    cued.daemon_is_killed();
    cued.stage.configure(&format!(
        "[site]\nPORT={}\nTARGET={}\nCOMMAND={}\n",
        cued.front,
        cued.back,
        cued.stage.cue("")
    ));
    let _former = std::mem::replace(&mut cued.daemon, cued.stage.daemon_again());
    let mut client = connect(cued.front);
    cued.stage.nothing_called();
    let before = server.count();
    is_silent(&client);
    assert_eq!(server.count(), before, "somebody reached the dying one");
    drop(server);
    fs::write(may, "").unwrap();
    cued.stage.called("command").does("sleep 1000");
    let _new = Server::greeting(cued.back, "new");
    assert_eq!(rest(&mut client), "new");
}

#[test]
fn a_stop_gives_it_its_own_stop_timeout_and_not_that_of_commands() {
    let mut cued = Cued::with("EXEC_CMD_TIMEOUT=1s\nDRAIN_TIMEOUT=1s\nSTOP_TIMEOUT=60s\n");
    let (script, may) = reluctant(&cued.stage);
    let mut client = connect(cued.front);
    cued.stage.called("command").does(&script);
    let _server = Server::greeting(cued.back, "page");
    assert_eq!(rest(&mut client), "page");
    cued.daemon.signal(Signal::SIGTERM);
    // Both of the others, and what lies between, are over by then.
    std::thread::sleep(Duration::from_millis(7500));
    assert!(cued.stage.processes().len() > 1, "it was killed");
    fs::write(may, "").unwrap();
    assert_eq!(cued.daemon.ends(), Some(0));
    assert_eq!(cued.daemon.said("takes too long"), 0);
}

#[test]
fn what_start_cmd_had_woken_is_no_command_of_ours() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let section = |how: &str| {
        format!(
            "[web]\nPORT={front}\nTARGET={back}\n{how}={}\n",
            stage.cue("")
        )
    };
    let mut daemon = stage.daemon(&section("START_CMD"));
    let mut client = connect(front);
    let start = stage.called("start");
    let _server = Server::greeting(back, "page");
    start.succeeds();
    assert_eq!(rest(&mut client), "page");
    is_killed(&mut daemon);
    stage.configure(&section("COMMAND"));
    let daemon = stage.daemon_again();
    assert_eq!(daemon.said("woken by other means than its COMMAND"), 1);
}

#[test]
fn a_target_that_was_changed_while_no_daemon_ran_ends_it_too() {
    let Some(mut served) = Served::with("") else {
        return;
    };
    let pid = served.pid();
    served.daemon_is_killed();
    let back = served.stage.address();
    served.stage.configure(&format!(
        "[web]\nPORT={}\nTARGET={back}\nCOMMAND={}\n",
        served.front,
        server(&served.stage, back)
    ));
    let _former = std::mem::replace(&mut served.daemon, served.stage.daemon_again());
    let next = served.pid();
    assert_ne!(next, pid);
    until("the old one is gone", || {
        !served.stage.processes().iter().any(|(one, _)| *one == pid)
    });
}

/// Where the daemon has no control group, the process group is all there is to find them by.
#[test]
fn what_one_of_a_former_daemon_has_started_does_not_outlive_its_main_process() {
    let mut cued = Cued::with("");
    let main = cued.stage.path("main");
    let _client = connect(cued.front);
    let left = cued
        .stage
        .called("command")
        .does(&format!("sleep 1000 & echo $$ >{}; wait", main.display()));
    let pid = pid_in(&main);
    let written = cued.stage.path("run/state-other/web.json");
    until("it is in the books", || written.exists());
    cued.daemon_is_killed();
    let _former = std::mem::replace(&mut cued.daemon, cued.stage.daemon_again());
    kill(pid, Signal::SIGKILL).unwrap();
    cued.daemon.says("COMMAND has ended");
    alone(&cued.stage);
    left.ends();
}

#[test]
fn a_stop_waits_for_what_the_shell_of_a_former_daemon_has_started() {
    let mut cued = Cued::with("");
    let (runs, done) = (cued.stage.path("runs"), cued.stage.path("done"));
    let mut client = connect(cued.front);
    // The shell dies of the signal at once; what it runs has something to write down.
    let left = cued.stage.called("command").does(&format!(
        "bash -c 'trap \"sleep 0.5; echo saved >{}; exit 0\" TERM; echo $$ >{}; \
         while :; do sleep 0.1; done' & wait",
        done.display(),
        runs.display()
    ));
    let _server = Server::greeting(cued.back, "page");
    assert_eq!(rest(&mut client), "page");
    pid_in(&runs);
    cued.daemon_is_killed();
    let _former = std::mem::replace(&mut cued.daemon, cued.stage.daemon_again());
    assert_eq!(cued.daemon.stop(), Some(0));
    assert_eq!(fs::read_to_string(done).unwrap_or_default(), "saved\n");
    assert_eq!(cued.stage.processes(), [], "left behind");
    left.ends();
}

/// Another daemon, of whose system calls some fail.
fn daemon_that_fails(stage: &Stage, options: &[&str]) -> Daemon {
    stage.daemon_by(stage.strace(options))
}

#[test]
fn one_that_cannot_be_watched_by_the_next_daemon_is_looked_at_and_is_not_lost() {
    const NO_EVENTS: &[&str] = &[
        "-P",
        "anon_inode:[pidfd]",
        "-e",
        "inject=epoll_ctl:error=ENOSPC",
    ];
    const NO_DESCRIPTOR: &[&str] = &["-e", "inject=pidfd_open:error=EMFILE"];
    if !has("strace") {
        return;
    }
    for fault in [NO_EVENTS, NO_DESCRIPTOR] {
        let mut cued = Cued::with("");
        let main = cued.stage.path("main");
        let mut client = connect(cued.front);
        let left = cued
            .stage
            .called("command")
            .does(&format!("echo $$ >{}; sleep 1000", main.display()));
        let server = Server::greeting(cued.back, "page");
        assert_eq!(rest(&mut client), "page");
        let pid = pid_in(&main);
        cued.daemon_is_killed();
        let next = daemon_that_fails(&cued.stage, fault);
        let _former = std::mem::replace(&mut cued.daemon, next);
        cued.daemon
            .says("no event tells of the end of its COMMAND, so it is looked for");
        assert_eq!(fetch(cued.front), "page");
        assert!(
            cued.stage.path("run/state-other/web.json").exists(),
            "{fault:?}: it is not in the books any more"
        );
        drop(server);
        kill(pid, Signal::SIGKILL).unwrap();
        cued.daemon.says("COMMAND has ended");
        left.ends();
        until("it is asleep", || cued.daemon.state("web") == "asleep");
    }
}

#[test]
fn one_that_cannot_be_watched_by_the_next_daemon_is_ended_by_a_stop() {
    if !has("strace") {
        return;
    }
    let mut cued = Cued::with("");
    let mut client = connect(cued.front);
    let left = cued.stage.called("command").does("sleep 1000");
    let _server = Server::greeting(cued.back, "page");
    assert_eq!(rest(&mut client), "page");
    cued.daemon_is_killed();
    let next = daemon_that_fails(&cued.stage, &["-e", "inject=pidfd_open:error=EMFILE"]);
    let _former = std::mem::replace(&mut cued.daemon, next);
    assert_eq!(cued.daemon.stop(), Some(0));
    left.ends();
    assert_eq!(cued.stage.processes(), [], "left behind");
}

// === the file ===

#[test]
fn what_cannot_be_is_refused() {
    let stage = Stage::new();
    let front = stage.address();
    for (lines, said) in [
        ("COMMAND=x", "COMMAND: nobody says where it listens"),
        (
            "TARGET=127.0.0.1:1\nCOMMAND=x\nSTART_CMD=y",
            "COMMAND and START_CMD cannot both wake",
        ),
        (
            "TARGET=127.0.0.1:1\nCOMMAND=x\nSTOP_SIGNAL=FOO",
            "STOP_SIGNAL: 'FOO' is not a signal",
        ),
    ] {
        let ended = stage.refused(&format!("[web]\nPORT={front}\n{lines}\n"));
        assert_eq!(ended.code, Some(78), "{ended:?}");
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}
