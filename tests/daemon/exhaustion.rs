//! Descriptors run out: clients wait, commands start, nobody spins, and it recovers.

use std::{
    io::Write,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use crate::harness::{
    Backend, Daemon, Faults, Server, Stage, connect, fetch, has, inside, is_reset, is_root, rest,
    take, until,
};

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
    // 64, less 8 for pipes, of which three quarters are held back at most, and two for each client.
    until("as many as there is room for are held", || {
        daemon.status("web")["held"] == 7
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

/// Streams that stand still hold their pipes. In a network of its own, whose sockets have small
/// buffers, or they would take much of the machine's memory.
#[test]
fn bulk_streams_that_stall_leave_the_descriptors_that_a_start_needs_and_none_of_the_clients() {
    const LIMIT: usize = 256;
    const STREAMS: usize = 60;
    const BUFFERS: &str = "
        echo 4096 262144 262144 > /proc/sys/net/ipv4/tcp_wmem
        echo 4096 524288 524288 > /proc/sys/net/ipv4/tcp_rmem";
    if !has("prlimit") || !is_root("to have a network of its own") {
        return;
    }
    let test = "exhaustion::bulk_streams_that_stall_leave_the_descriptors_that_a_start_needs_and_none_of_the_clients";
    if !inside(test, BUFFERS) {
        return;
    }
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let (other_front, other_back) = (stage.address(), stage.address());
    stage.configure(&format!(
        "[bulk]\nPORT={front}\nTARGET={back}\n\
         [other]\nPORT={other_front}\nTARGET={other_back}\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let backend = Backend::at(back);
    let mut command = stage.command("prlimit");
    command.args([
        &format!("--nofile={LIMIT}:{LIMIT}"),
        env!("CARGO_BIN_EXE_sleepingd"),
    ]);
    let daemon = stage.daemon_by(command);
    let mut peers: Vec<_> = (0..STREAMS)
        .flat_map(|_| [connect(front), backend.accept()])
        .collect();
    let chunk = vec![b'x'; 1 << 20];
    for peer in &peers {
        peer.set_nonblocking(true).unwrap();
    }
    let pipes = || daemon.counters()["pipes_open"].as_u64().unwrap();
    // A sixteenth of the limit, which none of so many streams leaves unused.
    until("all the pipes there may be are held", || {
        for peer in &mut peers {
            // Full, sooner or later.
            let _ = peer.write(&chunk);
        }
        pipes() >= 16
    });
    until("others are copied", || {
        daemon.counters()["pipes_refused"].as_u64().unwrap() > 0
    });

    // Nor does a reload take them for somebody else's than the clients'.
    daemon.reload();
    let mut client = connect(other_front);
    let start = stage.called("start");
    let _server = Server::greeting(other_back, "page");
    start.succeeds();
    assert_eq!(rest(&mut client), "page");
    assert_eq!(pipes(), 16);
    assert_eq!(daemon.said("there are as many clients as"), 0);
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
            daemon.says("accepting pauses");
            daemon.says("accepting again");
        }
        let said = daemon.said("accepting");
        assert_eq!(said, if pauses { 2 } else { 0 }, "{error}");
    }
}

/// A machine that has nothing left, for two seconds and a half: nobody is lost who can wait, nobody
/// who is served notices, nothing spins, little is said, and it is over as soon as it is over.
#[test]
fn a_machine_without_descriptors_or_memory_costs_no_stream_no_processor_and_few_words() {
    if !has("strace") {
        return;
    }
    let all = thread::scope(|threads| {
        let faults = [
            ("accept4:error=EMFILE", true),
            ("accept4:error=ENFILE", true),
            ("accept4:error=ENOMEM", true),
            ("accept4:error=ENOBUFS", true),
            ("socket:error=EMFILE", true),
            ("socket:error=ENOBUFS", true),
            // It has been accepted when that fails, and can only be reset.
            ("epoll_ctl:error=ENOMEM", false),
        ];
        let outlive = |(fault, wait)| threads.spawn(move || outlives(fault, wait));
        faults.map(outlive).map(|one| one.join().unwrap())
    });
    // The medians, for the machine may be busy.
    let median = |value: fn(&Outlived) -> Duration| {
        let mut values = all.each_ref().map(value);
        values.sort_unstable();
        values[values.len() / 2]
    };
    let (used, took) = (median(|one| one.used), median(|one| one.took));
    assert!(used <= WINDOW / 50, "{used:?} in {WINDOW:?}: {all:?}");
    assert!(took <= Duration::from_millis(200), "{took:?}: {all:?}");
}

/// How long the machine has nothing left.
const WINDOW: Duration = Duration::from_millis(2500);

/// What it has cost.
#[derive(Debug)]
struct Outlived {
    /// Of a processor, what strace(1) costs among it.
    used: Duration,
    /// Until the next client was served, when it was over.
    took: Duration,
}

fn outlives(fault: &str, clients_wait: bool) -> Outlived {
    // Each of five clients is tried for again ten times a second; who spins does so thousands of
    // times. Calls are counted since a busy machine makes each dearer, and strace(1) more so.
    const MOST_CALLS: usize = 250;
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let backend = Backend::at(back);
    let daemon = stage.daemon(&format!("[web]\nPORT={front}\nTARGET={back}\n"));
    let mut open = connect(front);
    let mut served = backend.accept();
    let faults = Faults::inject(&daemon, &[fault]);
    let before = (daemon.cpu(), told(&daemon));
    let begun = Instant::now();
    let mut waiting: Vec<_> = (0..5).map(|_| connect(front)).collect();
    while begun.elapsed() < WINDOW {
        open.write_all(b"undisturbed").unwrap();
        assert_eq!(take(&mut served, 11), b"undisturbed", "{fault}");
        thread::sleep(Duration::from_millis(100));
    }
    let (used, said) = (daemon.cpu() - before.0, told(&daemon) - before.1);
    assert!(said <= 3, "{fault}: {said} lines in {WINDOW:?}");
    let calls = faults.count();
    assert!(
        (1..=MOST_CALLS).contains(&calls),
        "{fault}: {calls} calls in {WINDOW:?}"
    );

    drop(faults);
    if !clients_wait {
        waiting.drain(..).for_each(is_reset);
        waiting.push(connect(front));
    }
    let over = Instant::now();
    backend.accept().write_all(b"x").unwrap();
    let took = over.elapsed();
    for _ in 1..waiting.len() {
        backend.accept().write_all(b"x").unwrap();
    }
    for client in &mut waiting {
        assert_eq!(rest(client), "x", "{fault}");
    }
    Outlived { used, took }
}

/// Lines that an administrator sees who has not asked for more.
fn told(daemon: &Daemon) -> usize {
    let lines = daemon.lines();
    lines
        .iter()
        .filter(|line| !line.contains(" debug: "))
        .count()
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
