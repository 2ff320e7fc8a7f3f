//! Backends that die, hang, or cannot be stopped; commands that multiply.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::harness::{
    Daemon, Server, Stage, connect, connect_from, has, inside, is_reset, is_root, rest, skipped,
    take, until,
};

/// Answers each byte with one, and holds the connection; the kernel resets it when this dies.
const HOLDER: &str = "
import socket, struct, sys, threading
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=1000)
def serve(client):
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    while byte := client.recv(1): client.sendall(byte)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
";

/// A service whose backend is a process, with so many connections in use.
fn held_by_a_process(stage: &Stage, count: usize) -> (Daemon, Pid, Vec<TcpStream>) {
    let (front, back) = (stage.address(), stage.address());
    let holder = stage.write("holder.py", HOLDER);
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let mut clients = vec![connect(front)];
    let pid = stage.path("pid");
    stage.called("start").does(&format!(
        "/usr/bin/env python3 -S {} {} {} <&- 3<&- & echo $! >{}; exit 0",
        holder.display(),
        back.ip(),
        back.port(),
        pid.display()
    ));
    clients.extend((1..count).map(|_| connect(front)));
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        assert_eq!(take(client, 1), b"x");
    }
    let pid = fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    (daemon, Pid::from_raw(pid), clients)
}

#[test]
fn a_backend_that_is_killed_resets_each_of_a_hundred_clients_at_once_and_the_next_wakes_it() {
    let stage = Stage::new();
    let (daemon, backend, clients) = held_by_a_process(&stage, 100);
    let front = clients[0].peer_addr().unwrap();
    let killed = Instant::now();
    kill(backend, Signal::SIGKILL).unwrap();
    let mut times: Vec<Duration> = clients
        .into_iter()
        .map(|client| {
            is_reset(client);
            killed.elapsed()
        })
        .collect();
    times.sort_unstable();
    // Each was waited for in turn, so the last is the longest for all.
    assert!(times[50] <= Duration::from_millis(100), "{times:?}");
    until("all are told", || {
        daemon.counters()["outcomes"]["reset"] == 100
    });
    assert_eq!(daemon.zombies(), 0);
    let _next = connect(front);
    stage.called("start").fails();
}

#[test]
fn a_backend_that_hangs_loses_nobody_and_goes_on_where_it_was() {
    let stage = Stage::new();
    let (daemon, backend, mut clients) = held_by_a_process(&stage, 20);
    kill(backend, Signal::SIGSTOP).unwrap();
    for client in &mut clients {
        client.write_all(b"y").unwrap();
    }
    // It still listens, as far as anybody can tell: no second START.
    let mut late = connect(clients[0].peer_addr().unwrap());
    late.write_all(b"z").unwrap();
    until("it is relayed", || daemon.status("web")["relays"] == 21);
    stage.nothing_called();
    kill(backend, Signal::SIGCONT).unwrap();
    for client in &mut clients {
        assert_eq!(take(client, 1), b"y");
    }
    assert_eq!(take(&mut late, 1), b"z");
}

#[test]
fn a_start_that_fails_resets_its_clients_as_soon_as_it_has_ended() {
    let mut times: Vec<Duration> = (0..7)
        .map(|_| {
            let stage = Stage::new();
            let (front, back) = (stage.address(), stage.address());
            let _daemon = stage.daemon(&format!(
                "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\n",
                stage.cue("")
            ));
            let client = connect(front);
            stage.called("start").fails().ends();
            let ended = Instant::now();
            is_reset(client);
            ended.elapsed()
        })
        .collect();
    times.sort_unstable();
    // The median, for the machine may be busy.
    assert!(times[3] <= Duration::from_millis(50), "{times:?}");
}

#[test]
fn a_backend_that_listens_and_then_dies_is_woken_by_the_next_client() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let mut first = connect(front);
    let start = stage.called("start");
    let server = Server::with(back, |stream| {
        thread::sleep(Duration::from_millis(300));
        crate::harness::reset(stream);
    });
    start.succeeds();
    let died = first.read(&mut [0]).unwrap_err();
    assert_eq!(died.kind(), ErrorKind::ConnectionReset);
    drop(server);
    let mut next = connect(front);
    let start = stage.called("start");
    let _server = Server::greeting(back, "page");
    start.succeeds();
    assert_eq!(rest(&mut next), "page");
    assert_eq!(daemon.status("web")["failures"], 0);
}

/// What forks until it may not any more, and what it forks forks on, within a limit that these
/// orders set: another service is woken meanwhile, and when the time of the command and the two
/// seconds of grace are over, a second later all of it is gone.
fn is_ended_with_all_its_children(user: &str, limit: &str) {
    const TIME: Duration = Duration::from_secs(1 + 2 + 1);
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let (other_front, other_back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\n{user}START_CMD_TIMEOUT=1s\nSTART_CMD={cue}\n\
         [other]\nPORT={other_front}\nTARGET={other_back}\nSTART_CMD={cue}\n"
    ));
    let client = connect(front);
    let started = Instant::now();
    let bomb = stage.called("start").does(&format!(
        "{limit}; more() {{ more & more & sleep 1000; }}; more 2>/dev/null"
    ));
    until("it has multiplied", || stage.processes().len() > 20);

    let mut served = connect(other_front);
    let start = stage.called("start");
    let _other = Server::greeting(other_back, "other");
    start.succeeds();
    assert_eq!(rest(&mut served), "other");

    is_reset(client);
    daemon.says("START_CMD");
    bomb.ends();
    assert!(started.elapsed() < TIME, "{:?}", started.elapsed());
    // But for the daemon itself.
    until("all are gone", || stage.processes().len() == 1);
    assert_eq!(daemon.zombies(), 0);
    // And it goes on.
    let mut next = connect(front);
    let start = stage.called("start");
    let _server = Server::greeting(back, "page");
    start.succeeds();
    assert_eq!(rest(&mut next), "page");
}

#[test]
fn a_command_that_multiplies_is_ended_with_all_its_children() {
    if !is_root("to run a command as nobody") || !has("setpriv") {
        return;
    }
    // The limit is the user's, whose other processes count too.
    is_ended_with_all_its_children("USER=nobody\n", "ulimit -u 100");
}

#[test]
fn a_command_that_fills_its_control_group_and_heeds_no_sigterm_is_ended_too() {
    if !is_root("to make a control group") {
        return;
    }
    let Some(group) = ControlGroup::of_processes(60) else {
        return;
    };
    let limit = format!("echo $$ >{}; trap '' TERM", group.entrance().display());
    is_ended_with_all_its_children("", &limit);
}

/// A control group of this test, in which there may be so many processes. Empty when it goes.
struct ControlGroup(PathBuf);

impl ControlGroup {
    /// `None`, and said, where such a group cannot be had.
    fn of_processes(most: u32) -> Option<Self> {
        // Of version 2, and of version 1, where each controller has a tree for itself.
        let found = ["/sys/fs/cgroup", "/sys/fs/cgroup/pids"]
            .into_iter()
            .find_map(|tree| {
                let group = Path::new(tree).join(format!("sleepingd-test-{}", process::id()));
                fs::create_dir(&group).ok()?;
                let group = Self(group);
                // Where processes are not counted there is no such file.
                fs::metadata(group.0.join("pids.max")).ok().map(|_| group)
            });
        let Some(group) = found else {
            skipped("it needs a control group that counts processes");
            return None;
        };
        fs::write(group.0.join("pids.max"), most.to_string()).unwrap();
        Some(group)
    }

    /// Who writes its process id here, is in it.
    fn entrance(&self) -> PathBuf {
        self.0.join("cgroup.procs")
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // Who has just died is in it still, for a moment; and a test that fails shows why.
        let _ = (0..100).any(|_| {
            thread::sleep(Duration::from_millis(10));
            fs::remove_dir(&self.0).is_ok()
        });
    }
}

/// Two ports for clients, and the backend's is one of them: a daemon that tried to connect until
/// somebody listens would connect to itself, and take the port.
#[test]
fn a_backend_in_the_ephemeral_range_gets_its_port_though_a_client_has_waited_long() {
    if !is_root("for a network of its own") {
        return;
    }
    let script = "echo 40000 40009 > /proc/sys/net/ipv4/ip_local_port_range";
    let test =
        "crashing::a_backend_in_the_ephemeral_range_gets_its_port_though_a_client_has_waited_long";
    if !inside(test, script) {
        return;
    }
    let stage = Stage::new();
    // Nobody but the daemon has a connection from 127.0.0.1, where the ports are few.
    let front = "127.0.0.2:30000".parse().unwrap();
    let back = "127.0.0.1:40002".parse().unwrap();
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD=/bin/true\nSTOP_CMD=/bin/true\n\
         IDLE_TIME=1ms\n"
    ));
    for _ in 0..3 {
        let mut client = connect_from([127, 0, 0, 3], front);
        daemon.says("a command exited with status 0");
        // Beyond the second after which connects are tried as well.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(2500) {
            assert_eq!(connected_to_themselves(), 0);
            thread::sleep(Duration::from_millis(1));
        }
        let server = Server::without_reuse(back, "page");
        assert_eq!(take(&mut client, 4), b"page");
        drop(client);
        drop(server);
        daemon.says("web: asleep");
    }
}

/// Established connections whose ends are the same.
fn connected_to_themselves() -> usize {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let mut rows = table.lines().map(|line| line.split_ascii_whitespace());
    rows.by_ref()
        .filter(|row| {
            let mut words = row.clone().skip(1);
            let (local, remote, state) = (words.next(), words.next(), words.next());
            local == remote && state == Some("01")
        })
        .count()
}
