//! Every client ends in one way, which is said in one line and counted once.

use std::{
    io::Write,
    net::{Shutdown, SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::harness::{
    Backend, Daemon, Faults, Server, Stage, connect, connect_from, has, is_reset, rest, take,
    until, with_own_run,
};

/// Waits until the client's end is told and counted; nothing else is, and nobody else.
#[track_caller]
fn ended(daemon: &Daemon, client: SocketAddr, line: &str, counter: &str) {
    daemon.says(line);
    until("its end is counted", || {
        daemon.counters()["outcomes"][counter] == 1
    });
    let counters = daemon.counters();
    let outcomes = counters["outcomes"].as_object().unwrap();
    let all: u64 = outcomes.values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(all, 1, "{outcomes:?}");
    told_once(daemon, client, line);
}

/// This client has one line of its own, beside what is said of the wake that it causes.
#[track_caller]
fn told_once(daemon: &Daemon, client: SocketAddr, line: &str) {
    let lines: Vec<String> = daemon
        .lines()
        .into_iter()
        .filter(|said| said.contains(&format!("{client} ")))
        .filter(|said| !said.contains("waking for") && !said.contains("woken by"))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(line), "{lines:?}");
}

/// The value of a field of a journal's entry, if it has it.
fn field<'a>(entry: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = entry.split('\t');
    fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}

/// A number of milliseconds in a field.
#[track_caller]
fn ms(entry: &str, name: &str) -> Duration {
    let value = field(entry, name).unwrap_or_else(|| panic!("no {name}: {entry}"));
    Duration::from_millis(value.parse().unwrap())
}

/// The entry about the end of this client, who was not relayed, has these fields.
#[track_caller]
fn ended_unserved(daemon: &Daemon, service: &str, client: &str, end: &str, by: &str) -> String {
    let entry = daemon.says(&format!("SLEEPINGD_END={end}\t"));
    assert_eq!(field(&entry, "REMOTE_ADDR"), Some(client), "{entry}");
    assert_eq!(field(&entry, "SLEEPINGD_SERVICE"), Some(service), "{entry}");
    assert_eq!(field(&entry, "SLEEPINGD_ENDED_BY"), Some(by), "{entry}");
    for bytes in ["SLEEPINGD_BYTES_IN", "SLEEPINGD_BYTES_OUT"] {
        assert_eq!(field(&entry, bytes), Some("0"), "{entry}");
    }
    for of_relay in ["SLEEPINGD_DESTINATION", "SLEEPINGD_RELAYED_MS"] {
        assert_eq!(field(&entry, of_relay), None, "{entry}");
    }
    assert!(
        field(&entry, "MESSAGE").unwrap().contains(client),
        "{entry}"
    );
    assert_eq!(daemon.counters()["outcomes"][end], 1);
    entry
}

/// A relay through a service with these keys, with all that it needs.
struct Relayed {
    stage: Stage,
    daemon: Daemon,
    backend: Backend,
    client: TcpStream,
    server: TcpStream,
    addr: SocketAddr,
    front: SocketAddr,
}

fn relayed(keys: &str) -> Relayed {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let backend = Backend::at(back);
    let keys = keys.replace("CUE", &stage.cue(""));
    let daemon = stage.daemon(&format!("[web]\nPORT={front}\nTARGET={back}\n{keys}\n"));
    let client = connect(front);
    let server = backend.accept();
    Relayed {
        addr: client.local_addr().unwrap(),
        stage,
        daemon,
        backend,
        client,
        server,
        front,
    }
}

#[test]
fn a_relay_that_finishes_says_who_ended_it_and_how_many_bytes_went_each_way() {
    let mut web = relayed("");
    web.client.write_all(b"request").unwrap();
    web.client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut web.server), "request");
    web.server.write_all(b"the reply").unwrap();
    drop(web.server);
    assert_eq!(rest(&mut web.client), "the reply");
    ended(
        &web.daemon,
        web.addr,
        "finished by the client after",
        "finished",
    );
    assert_eq!(web.daemon.said("7 B in, 9 B out)"), 1);
    assert_eq!(web.daemon.counters()["relayed"], 1);
}

#[test]
fn a_reset_relay_says_who_reset_it() {
    let mut web = relayed("");
    web.server.write_all(b"x").unwrap();
    take(&mut web.client, 1);
    crate::harness::reset(web.server);
    is_reset(web.client);
    ended(&web.daemon, web.addr, "reset by the backend after", "reset");
}

#[test]
fn a_relay_that_a_time_limit_ends_says_which() {
    let web = relayed("CLIENT_TIMEOUT=100ms");
    is_reset(web.client);
    is_reset(web.server);
    let line = "idle-timeout by the daemon";
    ended(&web.daemon, web.addr, line, "idle_timeout");

    let web = relayed("HALF_CLOSE_TIMEOUT=100ms");
    web.client.shutdown(Shutdown::Write).unwrap();
    is_reset(web.client);
    let line = "half-close-timeout by the daemon";
    ended(&web.daemon, web.addr, line, "half_close_timeout");
}

#[test]
fn a_relay_that_is_cut_at_the_end_of_a_drain_says_so() {
    let web = relayed("DRAIN_TIMEOUT=100ms");
    let elsewhere = web.stage.address();
    web.stage.configure(&format!(
        "[web]\nPORT={}\nTARGET={elsewhere}\nDRAIN_TIMEOUT=100ms\n",
        web.front
    ));
    web.daemon.reload();
    is_reset(web.client);
    let line = "drain-timeout by the daemon";
    ended(&web.daemon, web.addr, line, "drain_timeout");
}

#[test]
fn a_relay_whose_backend_is_put_to_sleep_says_so() {
    let web = relayed("IDLE_ON=bytes\nIDLE_TIME=100ms\nSTART_CMD=CUE\nSTOP_CMD=CUE");
    let stop = web.stage.called("stop");
    drop(web.backend);
    stop.succeeds();
    is_reset(web.client);
    let line = "put-to-sleep by the daemon";
    ended(&web.daemon, web.addr, line, "put_to_sleep");
}

#[test]
fn a_held_client_that_leaves_or_waits_too_long_says_so() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let section = format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\nWAKE_TIMEOUT=1s\n",
        stage.cue("")
    );
    let daemon = stage.daemon(&section);
    let client = connect(front);
    let addr = client.local_addr().unwrap();
    let _start = stage.called("start");
    drop(client);
    ended(&daemon, addr, "left before it was served", "gave_up");
    drop(daemon);

    let daemon = stage.daemon(&format!("{section}WAKE_ON=data\n"));
    let client = connect(front);
    let addr = client.local_addr().unwrap();
    is_reset(client);
    ended(
        &daemon,
        addr,
        "is refused: held for WAKE_TIMEOUT",
        "held_too_long",
    );
}

#[test]
fn a_client_whose_wake_fails_says_so() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let client = connect(front);
    let addr = client.local_addr().unwrap();
    stage.called("start").fails();
    is_reset(client);
    ended(&daemon, addr, "is refused: the wake failed", "wake_failed");
}

#[test]
fn a_client_that_is_turned_away_says_why() {
    for (keys, line, counter) in [
        ("DENY=127.0.0.2", "not allowed to connect", "denied"),
        (
            "IGNORE=127.0.0.2",
            "asleep, and this address does not wake it",
            "ignored_asleep",
        ),
    ] {
        let stage = Stage::new();
        let (front, back) = (stage.address(), stage.address());
        let daemon = stage.daemon(&format!(
            "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD=/bin/false\n{keys}\n"
        ));
        let client = connect_from([127, 0, 0, 2], front);
        let addr = client.local_addr().unwrap();
        is_reset(client);
        ended(&daemon, addr, &format!("is refused: {line}"), counter);
    }

    let web = relayed("MAX_CONNECTIONS_PER_SOURCE=1");
    let second = connect(web.front);
    let addr = second.local_addr().unwrap();
    is_reset(second);
    let line = "is refused: too many connections from this address";
    ended(&web.daemon, addr, line, "too_many_from_source");
}

#[test]
fn a_client_that_is_there_when_the_daemon_ends_says_so() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let mut daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\nDRAIN_TIMEOUT=100ms\n",
        stage.cue("")
    ));
    let client = connect(front);
    let addr = client.local_addr().unwrap();
    let _start = stage.called("start");
    daemon.signal(Signal::SIGTERM);
    is_reset(client);
    assert_eq!(daemon.ends(), Some(0));
    told_once(&daemon, addr, "is refused: the service is ending");
}

#[test]
fn a_client_that_cannot_be_connected_or_watched_says_so_and_is_reset() {
    if !has("strace") {
        return;
    }
    for (fault, line, counter) in [
        (
            "connect:error=EACCES",
            "the destination cannot be reached: ",
            "unreachable",
        ),
        (
            "epoll_ctl:error=ENOMEM:when=1",
            "its connection cannot be watched: Cannot allocate memory",
            "no_room",
        ),
    ] {
        let stage = Stage::new();
        let (front, back) = (stage.address(), stage.address());
        let _server = Server::greeting(back, "page");
        let daemon = stage.daemon(&format!("[web]\nPORT={front}\nTARGET={back}\n"));
        daemon.says("already runs");
        let faults = Faults::inject(&daemon, &[fault]);
        let client = connect(front);
        let addr = client.local_addr().unwrap();
        is_reset(client);
        drop(faults);
        ended(&daemon, addr, &format!("is refused: {line}"), counter);
    }
}

// === for programs ===

#[test]
fn the_journal_has_the_whole_story_of_a_relay_in_fields() {
    if !with_own_run("outcomes::the_journal_has_the_whole_story_of_a_relay_in_fields") {
        return;
    }
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon_with_journal(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\n",
        stage.cue("")
    ));
    const PAUSE: Duration = Duration::from_millis(50);
    let begun = Instant::now();
    let mut client = connect(front);
    let addr = client.local_addr().unwrap().to_string();
    let start = stage.called("start");
    thread::sleep(PAUSE);
    let backend = Backend::at(back);
    start.succeeds();
    let mut server = backend.accept();
    client.write_all(b"request").unwrap();
    take(&mut server, 7);
    let held_at_most = begun.elapsed();
    thread::sleep(PAUSE);
    server.write_all(b"the reply").unwrap();
    take(&mut client, 9);
    crate::harness::reset(server);
    is_reset(client);

    let entry = daemon.says("SLEEPINGD_END=");
    let relayed_at_most = begun.elapsed() - PAUSE;
    for (name, value) in [
        ("PRIORITY", "7"),
        ("REMOTE_ADDR", &addr),
        ("SLEEPINGD_SERVICE", "web"),
        ("SLEEPINGD_DESTINATION", &back.to_string()),
        ("SLEEPINGD_END", "reset"),
        ("SLEEPINGD_ENDED_BY", "backend"),
        ("SLEEPINGD_BYTES_IN", "7"),
        ("SLEEPINGD_BYTES_OUT", "9"),
    ] {
        assert_eq!(field(&entry, name), Some(value), "{name}: {entry}");
    }
    let held = ms(&entry, "SLEEPINGD_HELD_MS");
    assert!(held >= PAUSE && held <= held_at_most, "{entry}");
    let relayed = ms(&entry, "SLEEPINGD_RELAYED_MS");
    assert!(relayed >= PAUSE && relayed <= relayed_at_most, "{entry}");
    assert_eq!(daemon.said("SLEEPINGD_END="), 1);
    assert_eq!(daemon.said("beside the journal"), 0);
}

#[test]
fn the_journal_has_the_same_fields_of_a_client_that_is_not_relayed() {
    if !with_own_run("outcomes::the_journal_has_the_same_fields_of_a_client_that_is_not_relayed") {
        return;
    }
    const PAUSE: Duration = Duration::from_millis(50);
    const LIMIT: Duration = Duration::from_millis(200);
    let stage = Stage::new();
    let (front, hasty) = (stage.address(), stage.address());
    let back = stage.address();
    let mut daemon = stage.daemon_with_journal(&format!(
        "TARGET={back}\nSTART_CMD=/bin/false\nWAKE_ON=data\nPROXY_TIMEOUT=1min\n\
         [web]\nPORT={front}\nDENY=127.0.0.3\nACCEPT_PROXY=127.0.0.2\n\
         [hasty]\nPORT={hasty}\nWAKE_TIMEOUT=200ms\n"
    ));
    let name = |client: &TcpStream| client.local_addr().unwrap().to_string();

    let denied = connect_from([127, 0, 0, 3], front);
    let addr = name(&denied);
    is_reset(denied);
    let entry = ended_unserved(&daemon, "web", &addr, "denied", "daemon");
    assert_eq!(ms(&entry, "SLEEPINGD_HELD_MS"), Duration::ZERO);

    let held = connect(front);
    let addr = name(&held);
    until("it is held", || daemon.status("web")["held"] == 1);
    thread::sleep(PAUSE);
    drop(held);
    let entry = ended_unserved(&daemon, "web", &addr, "gave_up", "client");
    assert!(ms(&entry, "SLEEPINGD_HELD_MS") >= PAUSE, "{entry}");

    let held = connect(hasty);
    let addr = name(&held);
    is_reset(held);
    let entry = ended_unserved(&daemon, "hasty", &addr, "held_too_long", "daemon");
    assert!(ms(&entry, "SLEEPINGD_HELD_MS") >= LIMIT, "{entry}");

    let mut nameless = connect_from([127, 0, 0, 2], front);
    let addr = name(&nameless);
    daemon.says("to send its PROXY header");
    thread::sleep(PAUSE);
    nameless.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    is_reset(nameless);
    let entry = ended_unserved(&daemon, "web", &addr, "no_header", "daemon");
    assert_eq!(field(&entry, "PRIORITY"), Some("4"), "{entry}");
    assert!(ms(&entry, "SLEEPINGD_HELD_MS") >= PAUSE, "{entry}");

    let nameless = connect_from([127, 0, 0, 2], front);
    let addr = name(&nameless);
    daemon.says("to send its PROXY header");
    daemon.signal(Signal::SIGTERM);
    is_reset(nameless);
    assert_eq!(daemon.ends(), Some(0));
    let entry = daemon.says("SLEEPINGD_END=ending\t");
    assert_eq!(field(&entry, "REMOTE_ADDR"), Some(&*addr), "{entry}");
    assert_eq!(daemon.said("SLEEPINGD_END="), 5);
}
