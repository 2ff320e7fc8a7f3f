//! How many, how long, and who.

use std::{
    io::Write,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use crate::harness::{
    Backend, Server, Stage, connect, connect_from, is_reset, is_silent, is_turned_away,
    is_turned_away_from, reset, rest, until, wildcard_port,
};

#[test]
fn a_held_client_is_reset_when_wake_timeout_runs_out() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\nWAKE_TIMEOUT=700ms\n",
        stage.cue("")
    ));
    let connected = Instant::now();
    let client = connect(front);
    let start = stage.called("start");
    is_reset(client);
    let took = connected.elapsed();
    assert!(took >= Duration::from_millis(700), "{took:?}");
    assert!(took < Duration::from_millis(2000), "{took:?}");
    // START is not left running, and the wake is over with it.
    start.dies();
    daemon.says("cannot be woken: it took longer than WAKE_TIMEOUT; START_CMD had not ended");
    assert_eq!(daemon.state("web"), "asleep");

    let mut next = connect(front);
    let start = stage.called("start");
    let _server = Server::greeting(back, "page");
    start.succeeds();
    assert_eq!(rest(&mut next), "page");
}

#[test]
fn a_backend_that_never_listens_ends_the_wake_when_wake_timeout_runs_out() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\n\
         WAKE_TIMEOUT=300ms\nIDLE_TIME=100ms\n"
    ));
    let client = connect(front);
    stage.called("start").succeeds();
    is_reset(client);
    let why = format!("it took longer than WAKE_TIMEOUT; nobody listened at {back}");
    daemon.says(&why);
    // What START has left running is put to sleep.
    stage.called("stop").succeeds();
}

#[test]
fn exactly_max_connections_are_relayed_and_the_next_waits_for_one_to_end() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let backend = Backend::at(back);
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nMAX_CONNECTIONS=2\n"
    ));
    let clients = [connect(front), connect(front)];
    let servers = [backend.accept(), backend.accept()];
    // In the backlog: connected as far as it can tell, and seen by nobody.
    let mut third = connect(front);
    third.write_all(b"patience").unwrap();
    assert_eq!(daemon.status("web")["relays"], 2);
    assert_eq!(daemon.status("web")["held"], 0);
    backend.nobody_came();
    drop(clients);
    drop(servers);
    let mut server = backend.accept();
    assert_eq!(crate::harness::take(&mut server, 8), b"patience");
}

#[test]
fn exactly_max_waiting_are_held_and_the_next_is_served_all_the_same() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\nMAX_WAITING=2\n",
        stage.cue("")
    ));
    let mut clients: Vec<_> = (0..5).map(|_| connect(front)).collect();
    let start = stage.called("start");
    until("two are held", || daemon.status("web")["held"] == 2);
    let _server = Server::greeting(back, "page");
    start.succeeds();
    for client in &mut clients {
        assert_eq!(rest(client), "page");
    }
    assert_eq!(daemon.said("left before it was served"), 0);
}

#[test]
fn a_held_client_that_leaves_makes_room_for_another() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\nMAX_WAITING=1\n",
        stage.cue("")
    ));
    let first = connect(front);
    let start = stage.called("start");
    let mut second = connect(front);
    let second_name = second.local_addr().unwrap();
    reset(first);
    daemon.says("left before it was served");
    until("the second is held", || daemon.status("web")["held"] == 1);
    let _server = Server::greeting(back, "page");
    start.succeeds();
    assert_eq!(rest(&mut second), "page");
    drop(second);
    daemon.says(&format!("{second_name} to {back}"));
    stage.nothing_called();
}

#[test]
fn one_address_gets_max_connections_per_source_and_others_their_own() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let backend = Backend::at(back);
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nMAX_CONNECTIONS_PER_SOURCE=1\n"
    ));
    let first = connect_from([127, 0, 0, 2], front);
    let server = backend.accept();
    is_turned_away_from([127, 0, 0, 2], front);
    daemon.says("is refused: too many connections from this address");
    let other = connect_from([127, 0, 0, 3], front);
    backend.accept();
    drop(other);
    // The count goes back, however the connection ends.
    reset(first);
    is_reset(server);
    until("it is over", || daemon.status("web")["relays"] == 0);
    let again = connect_from([127, 0, 0, 2], front);
    backend.accept();
    drop(again);
}

#[test]
fn failed_wakes_give_back_what_was_counted_for_their_source() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nMAX_CONNECTIONS_PER_SOURCE=1\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let client = connect(front);
    stage.called("start").fails();
    is_reset(client);
    let mut client = connect(front);
    let start = stage.called("start");
    let _server = Server::greeting(back, "page");
    start.succeeds();
    assert_eq!(rest(&mut client), "page");
}

#[test]
fn only_who_is_allowed_and_not_denied_is_let_in_and_nobody_else_wakes_it() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\n\
         ALLOW=127.0.0.0/29 127.0.0.9\nDENY=127.0.0.3\n",
        stage.cue("")
    ));
    for denied in [[127, 0, 0, 8], [127, 0, 0, 3]] {
        is_turned_away_from(denied, front);
        daemon.says("is refused: not allowed to connect");
    }
    stage.nothing_called();
    let mut client = connect_from([127, 0, 0, 9], front);
    let start = stage.called("start");
    let _server = Server::greeting(back, "page");
    start.succeeds();
    assert_eq!(rest(&mut client), "page");
    assert_eq!(rest(&mut connect_from([127, 0, 0, 2], front)), "page");
    is_turned_away_from([127, 0, 0, 3], front);
}

#[test]
fn a_monitor_is_served_while_it_is_awake_and_neither_wakes_it_nor_keeps_it_awake() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\n\
         IGNORE=127.0.0.2\nIDLE_TIME=300ms\n"
    ));
    is_turned_away_from([127, 0, 0, 2], front);
    daemon.says("is refused: asleep, and this address does not wake it");
    stage.nothing_called();

    let person = connect(front);
    let start = stage.called("start");
    let backend = Backend::at(back);
    start.succeeds();
    let _server = backend.accept();
    // Its connection stays open, and it is put to sleep all the same.
    let mut monitor = connect_from([127, 0, 0, 2], front);
    let mut served = backend.accept();
    monitor.write_all(b"how are you").unwrap();
    assert_eq!(crate::harness::take(&mut served, 11), b"how are you");
    drop(person);
    drop(_server);
    let stop = stage.called("stop");
    drop(backend);
    stop.succeeds();
    daemon.says("web: asleep");
    is_reset(monitor);
}

#[test]
fn a_list_of_ipv4_addresses_holds_for_a_dual_stack_listener_too() {
    let stage = Stage::new();
    let port = wildcard_port();
    let back = stage.address();
    let _server = Server::greeting(back, "page");
    let (monitored, asleep) = (wildcard_port(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={port}\nTARGET={back}\nDENY=127.0.0.2 ::1\n\
         [asleep]\nPORT={monitored}\nTARGET={asleep}\nSTART_CMD={}\nIGNORE=127.0.0.2\n",
        stage.cue("")
    ));
    is_turned_away_from([127, 0, 0, 2], (Ipv4Addr::LOCALHOST, monitored).into());
    daemon.says("asleep: 127.0.0.2:");
    stage.nothing_called();
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    is_turned_away_from([127, 0, 0, 2], v4);
    is_turned_away((Ipv6Addr::LOCALHOST, port).into());
    assert_eq!(rest(&mut connect(v4)), "page");
}

#[test]
fn with_wake_on_data_a_byte_wakes_it_and_a_mere_connection_does_not() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\nWAKE_ON=data\n",
        stage.cue("")
    ));
    drop(connect(front));
    daemon.says("left before it was served");
    let mut holding = connect(front);
    until("it is held", || daemon.status("web")["held"] == 1);
    assert_eq!(daemon.state("web"), "asleep");
    stage.nothing_called();

    let mut asking = connect(front);
    asking.write_all(b"x").unwrap();
    let start = stage.called("start");
    assert_eq!(start.remote, asking.local_addr().unwrap().to_string());
    is_silent(&holding);
    let _server = Server::greeting(back, "page");
    start.succeeds();
    // Whoever was there is served as well, in whatever order.
    assert_eq!(rest(&mut holding), "page");
    drop::<TcpStream>(asking);
}
