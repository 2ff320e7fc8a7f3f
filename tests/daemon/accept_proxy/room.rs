//! How many may be sending their header, or wait for room behind it, and how that ends.

use std::{
    io::Write,
    net::{Shutdown, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use super::{ANN, SITE, STRANGER, TRUST, awake, balanced, gets, sleeping, until_accepted};
use crate::harness::{
    Backend, Daemon, Faults, Stage, connect_from, has, is_reset, is_silent, proxy, rest, take,
    until,
};

#[test]
fn slow_headers_hold_up_nobody_else() {
    let stage = Stage::new();
    let (front, backend, daemon) = awake(&stage, TRUST);
    let slow: Vec<_> = (0..50).map(|_| balanced(front, b"PROXY ")).collect();
    let mut client = balanced(front, &proxy::v2(ANN, SITE));
    client.write_all(b"quick").unwrap();
    gets(&backend, b"quick");
    let mut stranger = connect_from(STRANGER, front);
    stranger.write_all(b"quick").unwrap();
    gets(&backend, b"quick");
    // They are not refused for having waited.
    for mut client in slow {
        is_silent(&client);
        client.write_all(b"UNKNOWN\r\nslow").unwrap();
        gets(&backend, b"slow");
    }
    assert_eq!(daemon.said("is refused"), 0);
}

#[test]
fn a_header_that_is_waited_for_takes_no_processor_time() {
    let stage = Stage::new();
    let (front, _backend, daemon) = awake(&stage, TRUST);
    let _slow: Vec<_> = (0..20).map(|_| balanced(front, b"PROXY TCP4")).collect();
    until_accepted(&daemon, 20);
    let before = daemon.cpu();
    std::thread::sleep(Duration::from_millis(1000));
    let used = daemon.cpu() - before;
    assert!(used <= Duration::from_millis(50), "{used:?} in a second");
}

#[test]
fn as_many_as_max_waiting_may_be_sending_their_header_and_others_wait_in_the_backlog() {
    let stage = Stage::new();
    let limits = format!("{TRUST}MAX_WAITING=2\n");
    let (front, backend, daemon) = awake(&stage, &limits);
    let slow = [balanced(front, b"P"), balanced(front, b"P")];
    until_accepted(&daemon, 2);
    let mut third = connect_from(STRANGER, front);
    third.write_all(b"third").unwrap();
    // The daemon has had its chance: it answers.
    assert_eq!(daemon.status("web")["relays"], 0);
    backend.nobody_came();
    let [first, _second] = slow;
    crate::harness::reset(first);
    gets(&backend, b"third");
}

#[test]
fn a_client_whose_header_is_complete_waits_for_room_like_others() {
    let stage = Stage::new();
    let limits = format!("{TRUST}MAX_CONNECTIONS=1\n");
    let (front, backend, daemon) = awake(&stage, &limits);
    let mut one = balanced(front, b"P");
    let mut two = balanced(front, b"P");
    until_accepted(&daemon, 2);
    one.write_all(b"ROXY UNKNOWN\r\none").unwrap();
    let served = gets(&backend, b"one");
    two.write_all(b"ROXY UNKNOWN\r\n").unwrap();
    daemon.says("comes by way of");
    daemon.says("comes by way of");
    two.write_all(b"two").unwrap();
    assert_eq!(daemon.status("web")["relays"], 1);
    backend.nobody_came();
    drop((one, served));
    drop(gets(&backend, b"two"));
    // It ends as others do.
    assert_eq!(rest(&mut two), "");
}

/// A service with room for one, who is there, and as many more whose headers are complete.
fn crowded<const N: usize>(
    stage: &Stage,
) -> (Daemon, Backend, (TcpStream, TcpStream), [TcpStream; N]) {
    let limits = format!("{TRUST}MAX_CONNECTIONS=1\n");
    let (front, backend, daemon) = awake(stage, &limits);
    let mut one = balanced(front, b"P");
    let mut more = [(); N].map(|()| balanced(front, b"P"));
    until_accepted(&daemon, N + 1);
    one.write_all(b"ROXY UNKNOWN\r\none").unwrap();
    let served = gets(&backend, b"one");
    for client in &mut more {
        client.write_all(b"ROXY UNKNOWN\r\n").unwrap();
        let name = client.local_addr().unwrap();
        daemon.says(&format!("{name} comes by way of"));
    }
    (daemon, backend, (one, served), more)
}

#[test]
fn whoever_leaves_while_it_waits_for_room_is_gone_at_once() {
    let stage = Stage::new();
    let (daemon, backend, one, [closes, resets, ends, has_spoken]) = crowded(&stage);
    let says_left = |name: SocketAddr| daemon.says(&format!("{name} left before it was served"));
    let before = daemon.descriptors_in_use();

    let name = closes.local_addr().unwrap();
    drop(closes);
    says_left(name);
    let name = resets.local_addr().unwrap();
    crate::harness::reset(resets);
    says_left(name);
    let name = ends.local_addr().unwrap();
    ends.shutdown(Shutdown::Write).unwrap();
    says_left(name);
    is_reset(ends);
    let name = has_spoken.local_addr().unwrap();
    (&has_spoken).write_all(b"hello").unwrap();
    has_spoken.shutdown(Shutdown::Write).unwrap();
    crate::harness::reset(has_spoken);
    says_left(name);

    until("their descriptors are given back", || {
        daemon.descriptors_in_use() == before - 4
    });
    let outcomes = &daemon.counters()["outcomes"];
    assert_eq!(outcomes["gave_up"], 4, "{outcomes}");
    drop(one);
    daemon.says("finished by");
    backend.nobody_came();
}

#[test]
fn whoever_has_said_all_while_it_waits_for_room_is_served_and_in_its_turn() {
    let stage = Stage::new();
    let (daemon, backend, one, [leaves, mut two, mut three]) = crowded(&stage);
    three.write_all(b"three").unwrap();
    three.shutdown(Shutdown::Write).unwrap();
    two.write_all(b"two").unwrap();
    two.shutdown(Shutdown::Write).unwrap();
    drop(leaves);
    daemon.says("left before it was served");
    drop(one);
    for (client, request) in [(two, "two"), (three, "three")] {
        let mut server = backend.accept();
        assert_eq!(rest(&mut server), request);
        server.write_all(b"answer").unwrap();
        drop(server);
        let mut client = client;
        assert_eq!(rest(&mut client), "answer");
    }
}

#[test]
fn whoever_cannot_be_watched_while_it_waits_for_room_is_reset() {
    if !has("strace") {
        return;
    }
    let stage = Stage::new();
    let limits = format!("{TRUST}MAX_CONNECTIONS=1\n");
    let (front, backend, daemon) = awake(&stage, &limits);
    let mut one = balanced(front, b"P");
    let mut two = balanced(front, b"P");
    until_accepted(&daemon, 2);
    one.write_all(b"ROXY UNKNOWN\r\none").unwrap();
    let _served = gets(&backend, b"one");
    // The first takes it from the runtime when its header is complete.
    let faults = Faults::inject(&daemon, &["epoll_ctl:error=ENOMEM:when=2"]);
    two.write_all(b"ROXY UNKNOWN\r\n").unwrap();
    let name = two.local_addr().unwrap();
    is_reset(two);
    drop(faults);
    daemon.says(&format!(
        "{name} is refused: its connection cannot be watched: Cannot allocate memory"
    ));
    // The next one would be lost as well.
    daemon.says("accepting pauses: Cannot allocate memory");
    assert_eq!(daemon.counters()["outcomes"]["no_room"], 1);
}

#[test]
fn whoever_cannot_be_watched_while_it_sends_its_header_is_reset_and_accepting_pauses() {
    if !has("strace") {
        return;
    }
    let stage = Stage::new();
    let (front, backend, daemon) = awake(&stage, TRUST);
    let faults = Faults::inject(&daemon, &["epoll_ctl:error=ENOMEM:when=1"]);
    let unlucky = balanced(front, b"P");
    let name = unlucky.local_addr().unwrap();
    is_reset(unlucky);
    drop(faults);
    daemon.says(&format!(
        "{name} is refused: its connection cannot be watched: Cannot allocate memory"
    ));
    daemon.says("accepting pauses: Cannot allocate memory");
    assert_eq!(daemon.counters()["outcomes"]["no_room"], 1);
    let mut next = balanced(front, &proxy::v1(ANN, SITE));
    next.write_all(b"next").unwrap();
    gets(&backend, b"next");
}

#[test]
fn to_wait_for_room_takes_no_processor_time() {
    let stage = Stage::new();
    let (daemon, _backend, _one, waiting) = crowded::<20>(&stage);
    for mut client in &waiting[..10] {
        client.write_all(b"a request").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
    }
    let before = daemon.cpu();
    std::thread::sleep(Duration::from_millis(1000));
    let used = daemon.cpu() - before;
    assert!(used <= Duration::from_millis(50), "{used:?} in a second");
}

#[test]
fn whoever_waits_for_room_at_the_end_is_reset_and_told_of() {
    let stage = Stage::new();
    let (mut daemon, _backend, one, [two]) = crowded(&stage);
    let name = two.local_addr().unwrap();
    daemon.signal(Signal::SIGTERM);
    is_reset(two);
    daemon.says(&format!("{name} is refused: the service is ending"));
    drop(one);
    assert_eq!(daemon.ends(), Some(0));
}

#[test]
fn whoever_is_still_sending_its_header_at_the_end_is_reset_while_relays_go_on() {
    let stage = Stage::new();
    let (front, backend, mut daemon) = awake(&stage, TRUST);
    let mut relayed = connect_from(STRANGER, front);
    let mut served = backend.accept();
    let slow = balanced(front, b"PROXY");
    let name = slow.local_addr().unwrap();
    until_accepted(&daemon, 1);
    daemon.signal(Signal::SIGTERM);
    is_reset(slow);
    daemon.says(&format!("{name} is refused: the service is ending"));
    relayed.write_all(b"still here").unwrap();
    assert_eq!(take(&mut served, 10), b"still here");
    drop((relayed, served));
    assert_eq!(daemon.ends(), Some(0));
    backend.nobody_came();
}

// === how long they may take ===

#[test]
fn whoever_has_waited_for_room_for_wake_timeout_is_reset() {
    let stage = Stage::new();
    let limits = format!("{TRUST}MAX_CONNECTIONS=1\n");
    let (front, backend, daemon) = awake(&stage, &limits);
    let mut one = balanced(front, b"P");
    let begun = Instant::now();
    let mut two = balanced(front, b"P");
    until_accepted(&daemon, 2);
    one.write_all(b"ROXY UNKNOWN\r\none").unwrap();
    let mut served = gets(&backend, b"one");
    // Not before: on a slow machine it might be over for the first as well.
    let back = backend.addr;
    stage.configure(&format!(
        "[web]\nPORT={front}\nTARGET={back}\n{limits}WAKE_TIMEOUT=500ms\n"
    ));
    daemon.reload();
    two.write_all(b"ROXY UNKNOWN\r\na request").unwrap();
    let name = two.local_addr().unwrap();
    is_reset(two);
    assert!(begun.elapsed() >= Duration::from_millis(500));
    daemon.says(&format!("{name} is refused: held for WAKE_TIMEOUT"));
    assert_eq!(daemon.counters()["outcomes"]["held_too_long"], 1);
    one.write_all(b"more").unwrap();
    assert_eq!(take(&mut served, 4), b"more");
}

#[test]
fn a_header_that_is_complete_only_after_wake_timeout_wakes_nothing() {
    let stage = Stage::new();
    let (front, _back, daemon) = sleeping(&stage, &format!("{TRUST}WAKE_TIMEOUT=500ms\n"));
    let mut late = balanced(front, b"P");
    until_accepted(&daemon, 1);
    std::thread::sleep(Duration::from_millis(500));
    late.write_all(b"ROXY UNKNOWN\r\n").unwrap();
    let name = late.local_addr().unwrap();
    is_reset(late);
    daemon.says(&format!("{name} is refused: held for WAKE_TIMEOUT"));
    assert_eq!(daemon.said("waking for"), 0);
    stage.nothing_called();
}

#[test]
fn a_client_counts_as_held_from_its_accept_on() {
    let stage = Stage::new();
    let limits = format!("{TRUST}MAX_CONNECTIONS=1\n");
    let (front, backend, daemon) = awake(&stage, &limits);
    let mut one = balanced(front, b"P");
    let mut two = balanced(front, b"P");
    until_accepted(&daemon, 2);
    let accepted = Instant::now();
    one.write_all(b"ROXY UNKNOWN\r\none").unwrap();
    let served = gets(&backend, b"one");
    // While its header comes, and while there is no room for it.
    std::thread::sleep(Duration::from_millis(100));
    two.write_all(b"ROXY UNKNOWN\r\ntwo").unwrap();
    let name = two.local_addr().unwrap();
    daemon.says(&format!("{name} comes by way of"));
    std::thread::sleep(Duration::from_millis(100));
    let waited = accepted.elapsed();
    drop((one, served));
    drop(gets(&backend, b"two"));
    assert_eq!(rest(&mut two), "");
    drop(two);
    let line = daemon.says(&format!("{name} to {}", backend.addr));
    let held = line.split("(held ").nth(1).unwrap();
    let held: f64 = held.split(' ').next().unwrap().parse().unwrap();
    assert!(held >= waited.as_secs_f64() - 0.001, "{line}: {waited:?}");
}
