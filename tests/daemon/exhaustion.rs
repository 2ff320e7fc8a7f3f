//! Descriptors run out: clients wait, commands start, nobody spins, and it recovers.

use std::{io::Write, process::Command, time::Duration};

use crate::harness::{Backend, Daemon, Server, Stage, connect, fetch, has, rest, take, until};

/// The daemon's limit of open files, from now on.
fn limit_files(daemon: &Daemon, limit: usize) {
    let status = Command::new("prlimit")
        .args([
            format!("--pid={}", daemon.pid()),
            format!("--nofile={limit}:"),
        ])
        .status()
        .unwrap();
    assert!(status.success());
}

/// From now on there is no descriptor left, as if somebody else had taken them.
fn leave_none(daemon: &Daemon) {
    let open = daemon.descriptors();
    let lowest_free = (0..).find(|number| !open.contains(number)).unwrap();
    limit_files(daemon, lowest_free);
}

#[test]
fn with_few_descriptors_clients_wait_in_the_backlog_and_commands_still_start() {
    if !has("prlimit") {
        return;
    }
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    stage.configure(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let mut command = stage.command("prlimit");
    command.args(["--nofile=64:64", env!("CARGO_BIN_EXE_sleepingd")]);
    let daemon = stage.daemon_by(command);
    let clients: Vec<_> = (0..60).map(|_| connect(front)).collect();
    let start = stage.called("start");
    // 64, of which three quarters are held back at most, and two for each client.
    until("as many as there is room for are held", || {
        daemon.status("web")["held"] == 8
    });
    daemon.says("more wait in the listen backlog");
    let server = Server::greeting(back, "page");
    start.succeeds();
    // Each makes room for another when it is done.
    for mut client in clients {
        assert_eq!(rest(&mut client), "page");
    }
    assert_eq!(server.count(), 60);
    assert_eq!(daemon.said("more wait in the listen backlog"), 1);
    assert_eq!(fetch(front), "page");
}

#[test]
fn when_descriptors_run_out_accepting_pauses_with_one_line_and_goes_on() {
    if !has("prlimit") {
        return;
    }
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let backend = Backend::at(back);
    let daemon = stage.daemon(&format!("[web]\nPORT={front}\nTARGET={back}\n"));
    let mut open = connect(front);
    let mut served = backend.accept();
    leave_none(&daemon);
    let mut waiting: Vec<_> = (0..3).map(|_| connect(front)).collect();
    daemon.says("accepting pauses: Too many open files");
    let before = daemon.cpu();
    open.write_all(b"undisturbed").unwrap();
    assert_eq!(take(&mut served, 11), b"undisturbed");
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(daemon.said("accepting pauses"), 1);
    let used = daemon.cpu() - before;
    assert!(
        used <= Duration::from_millis(50),
        "{used:?} of processor time in 1.5 s"
    );

    limit_files(&daemon, 1024);
    for _ in &waiting {
        backend.accept().write_all(b"x").unwrap();
    }
    daemon.says("accepting again");
    for client in &mut waiting {
        assert_eq!(rest(client), "x");
    }
}

#[test]
fn a_client_that_ends_makes_room_at_once() {
    if !has("prlimit") {
        return;
    }
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let backend = Backend::at(back);
    let daemon = stage.daemon(&format!("[web]\nPORT={front}\nTARGET={back}\n"));
    let first = connect(front);
    let served = backend.accept();
    leave_none(&daemon);
    let _second = connect(front);
    daemon.says("accepting pauses");
    // The pause has grown to its longest by now.
    std::thread::sleep(Duration::from_millis(1000));
    let begun = std::time::Instant::now();
    drop((first, served));
    backend.accept();
    assert!(
        begun.elapsed() < Duration::from_millis(250),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn no_error_of_accept_ends_a_listener() {
    if !has("strace") {
        return;
    }
    for (error, pauses) in [
        ("EMFILE", true),
        ("ENFILE", true),
        ("ENOBUFS", true),
        ("ENOMEM", true),
        ("EINVAL", true),
        ("ECONNABORTED", false),
        ("EPROTO", false),
        ("EINTR", false),
    ] {
        let stage = Stage::new();
        let (front, back) = (stage.address(), stage.address());
        let _server = Server::greeting(back, "page");
        stage.configure(&format!("[web]\nPORT={front}\nTARGET={back}\n"));
        let inject = format!("inject=accept4:error={error}:when=1..5");
        let daemon = stage.daemon_by(stage.strace(&["-e", "trace=accept4", "-e", &inject]));
        assert_eq!(fetch(front), "page", "{error}");
        if pauses {
            // The log has a thread of its own, and may be later than the page.
            daemon.says("accepting again");
        }
        assert_eq!(
            daemon.said("accepting pauses"),
            usize::from(pauses),
            "{error}"
        );
        assert_eq!(
            daemon.said("accepting again"),
            usize::from(pauses),
            "{error}"
        );
    }
}

#[test]
fn a_relay_does_without_pipes_where_there_are_none() {
    if !has("strace") {
        return;
    }
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let bytes: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
    let sent = bytes.clone();
    let _server = Server::with(back, move |mut stream| stream.write_all(&sent).unwrap());
    stage.configure(&format!("[web]\nPORT={front}\nTARGET={back}\n"));
    // The first are the runtime's own.
    let daemon = stage.daemon_by(stage.strace(&[
        "-e",
        "trace=pipe2",
        "-e",
        "inject=pipe2:error=EMFILE:when=1+",
    ]));
    let mut client = connect(front);
    let mut got = Vec::new();
    std::io::Read::read_to_end(&mut client, &mut got).unwrap();
    assert_eq!(got, bytes);
    let status = daemon.ctl(&["status", "--json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!(status["counters"]["bytes_copied"], 4_000_000);
}

#[test]
fn an_idle_daemon_does_not_wake_up() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD=/bin/false\nSTOP_CMD=/bin/true\nIDLE_TIME=1s\n"
    ));
    assert_eq!(daemon.state("web"), "asleep");
    let switches = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
        status
            .lines()
            .filter(|line| line.contains("ctxt_switches"))
            .map(|line| {
                line.split_ascii_whitespace()
                    .next_back()
                    .unwrap()
                    .parse::<u64>()
                    .unwrap()
            })
            .sum()
    };
    // What the request for the status has left to do, is done.
    std::thread::sleep(Duration::from_millis(1500));
    let before = switches();
    std::thread::sleep(Duration::from_millis(2000));
    assert_eq!(switches(), before);
}
