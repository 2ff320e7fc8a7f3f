//! Peers that are gone without a word: no FIN, no reset, no answer.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::harness::{Backend, Stage, connect, has, inside, is_reset, is_root, take, until};

/// Another network, connected to this one by a cable.
struct Elsewhere(Child);

impl Elsewhere {
    const HERE: &str = "10.77.0.1";
    const THERE: &str = "10.77.0.2";

    fn new() -> Self {
        let child = Command::new("unshare")
            .args(["-n", "sleep", "1000"])
            .spawn()
            .unwrap();
        let elsewhere = Self(child);
        let pid = elsewhere.0.id();
        until("it is elsewhere", || {
            let network = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
            network(&pid.to_string()) != network("self")
        });
        run(&format!(
            "ip link add here type veth peer name there
             ip link set there netns {pid}
             ip addr add {}/24 dev here
             ip link set here up
             nsenter -t {pid} -n ip addr add {}/24 dev there
             nsenter -t {pid} -n ip link set there up",
            Self::HERE,
            Self::THERE
        ));
        elsewhere
    }

    fn shell(&self, script: &str) -> Child {
        Command::new("nsenter")
            .args(["-t", &self.0.id().to_string(), "-n", "bash", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// From now on nobody there has that address: what is sent there is answered by nothing.
    fn vanish(&self) {
        run(&format!(
            "mac=$(nsenter -t {pid} -n ip -br link show dev there | awk '{{print $3}}')
             ip neigh replace {there} lladdr $mac dev here nud permanent
             nsenter -t {pid} -n ip addr flush dev there",
            pid = self.0.id(),
            there = Self::THERE,
        ));
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn run(script: &str) {
    let done = Command::new("sh").args(["-ec", script]).status().unwrap();
    assert!(done.success(), "{script}");
}

/// USER_TIMEOUT.
const LIMIT: Duration = Duration::from_secs(5);

/// How long it may take until this test has seen it: the kernel counts from when it first sends
/// something again, which it does the later, the slower the peer's answers were, and so the
/// machine. That, and 0.2 s more, is all on a quiet machine. A busy one may be as late again;
/// without USER_TIMEOUT it would be a quarter of an hour.
fn at_most() -> Duration {
    let sockets = Command::new("ss")
        .args(["-tinH", "dst", Elsewhere::THERE])
        .output()
        .unwrap();
    let text = String::from_utf8(sockets.stdout).unwrap();
    let mut words = text.split_ascii_whitespace();
    let again = words.find_map(|word| word.strip_prefix("rto:")).unwrap();
    let again = Duration::from_secs_f64(again.parse::<f64>().unwrap() / 1000.0);
    LIMIT * 2 + again
}

#[test]
fn a_client_that_vanished_is_gone_after_user_timeout_and_does_not_keep_it_awake() {
    if !is_root("for a network of its own") || !has("ss") {
        return;
    }
    let test =
        "vanishing::a_client_that_vanished_is_gone_after_user_timeout_and_does_not_keep_it_awake";
    if !inside(test, "") {
        return;
    }
    let elsewhere = Elsewhere::new();
    let stage = Stage::new();
    let back = stage.address();
    let cue = stage.cue("");
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={}:8000\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\n\
         IDLE_TIME=100ms\nUSER_TIMEOUT=5s\n",
        Elsewhere::HERE
    ));
    let client = elsewhere.shell(&format!(
        "exec 3<>/dev/tcp/{}/8000; printf x >&3; sleep 1000",
        Elsewhere::HERE
    ));
    let _client = Killed(client);
    let start = stage.called("start");
    let backend = Backend::at(back);
    start.succeeds();
    let mut server = backend.accept();
    assert_eq!(take(&mut server, 1), b"x");
    elsewhere.vanish();
    let at_most = at_most();
    let begun = Instant::now();
    server.write_all(b"are you there?").unwrap();
    is_reset(server);
    let took = begun.elapsed();
    assert!((LIMIT..=at_most).contains(&took), "{took:?}, {at_most:?}");
    daemon.says("reset by the client");
    let stop = stage.called("stop");
    drop(backend);
    stop.succeeds();
    daemon.says("web: asleep");
}

#[test]
fn a_backend_that_vanished_is_gone_after_user_timeout() {
    if !is_root("for a network of its own") || !has("ss") {
        return;
    }
    let test = "vanishing::a_backend_that_vanished_is_gone_after_user_timeout";
    if !inside(test, "") {
        return;
    }
    let elsewhere = Elsewhere::new();
    let stage = Stage::new();
    let front = stage.address();
    let mut backend = elsewhere.shell(&format!(
        "exec python3 -S -c \"
import socket
listener = socket.create_server(('{}', 7000))
print('listening', flush=True)
client, _ = listener.accept()
client.sendall(client.recv(1))
client.recv(1)\"",
        Elsewhere::THERE
    ));
    let mut line = String::new();
    let mut said = BufReader::new(backend.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    let _backend = Killed(backend);
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={}:7000\nUSER_TIMEOUT=5s\n",
        Elsewhere::THERE
    ));
    let mut client = connect(front);
    client.write_all(b"x").unwrap();
    assert_eq!(take(&mut client, 1), b"x");
    elsewhere.vanish();
    let at_most = at_most();
    let begun = Instant::now();
    client.write_all(b"are you there?").unwrap();
    is_reset(client);
    let took = begun.elapsed();
    assert!((LIMIT..=at_most).contains(&took), "{took:?}, {at_most:?}");
    daemon.says("reset by the backend");
}

/// What finds a peer that vanished while nobody had anything to say.
#[test]
fn keepalive_is_on_on_both_sides() {
    if !has("ss") {
        return;
    }
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let backend = Backend::at(back);
    let _daemon = stage.daemon(&format!("[web]\nPORT={front}\nTARGET={back}\n"));
    let _client = connect(front);
    let _server = backend.accept();
    for side in [format!("src {front}"), format!("dst {back}")] {
        until("its first probe is due within a minute", || {
            let timers = Command::new("ss")
                .args(["-tnoH", "state", "established", &side])
                .output()
                .unwrap();
            let timers = String::from_utf8(timers.stdout).unwrap();
            ["59sec", "58sec", "60sec", "1min"]
                .iter()
                .any(|left| timers.contains(&format!("timer:(keepalive,{left}")))
        });
    }
}
