//! SIGTERM, SIGKILL, and the daemon that comes after.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::harness::{Backend, Server, Stage, connect, fetch, is_reset, rest, take, until};

#[test]
fn sigterm_lets_open_relays_finish_then_runs_stop_and_leaves_nothing_behind() {
    let stage = Stage::new();
    let (front, back, asleep) = (stage.address(), stage.address(), stage.address());
    let cue = stage.cue("");
    let mut daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\n\
         [asleep]\nPORT={asleep}\nTARGET=127.0.0.1:1\nSTART_CMD={cue}\nSTOP_CMD={cue}\n"
    ));
    let mut client = connect(front);
    let start = stage.called("start");
    let backend = Backend::at(back);
    let running = start.does("sleep 1000 & exit 0");
    let mut server = backend.accept();

    daemon.signal(Signal::SIGTERM);
    daemon.says("stopping: 2 services, 1 awake, 1 connection");
    client.write_all(b"the rest").unwrap();
    assert_eq!(take(&mut server, 8), b"the rest");
    stage.nothing_called();
    drop((client, server));
    // STOP only for what is awake.
    stage.called("stop").does("pkill -KILL -fx 'sleep 1000'");
    assert_eq!(daemon.ends(), Some(0));
    running.ends();
    stage.nothing_called();
    assert_eq!(stage.processes(), []);
    assert!(!stage.path("run/control.sock").exists());
}

#[test]
fn what_is_open_at_the_end_of_drain_timeout_is_cut_and_counted() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let backend = Backend::at(back);
    let mut daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nDRAIN_TIMEOUT=300ms\n"
    ));
    let clients = [connect(front), connect(front)];
    let servers = [backend.accept(), backend.accept()];
    let begun = Instant::now();
    daemon.signal(Signal::SIGINT);
    daemon.says("web: 2 connections were open at the end of DRAIN_TIMEOUT, cut");
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!(daemon.ends(), Some(0));
    clients.into_iter().chain(servers).for_each(is_reset);
}

#[test]
fn a_stop_that_hangs_is_killed_at_the_second_signal() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let mut daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTOP_CMD={}\n",
        stage.cue("")
    ));
    let backend = Backend::at(back);
    let (client, server) = (connect(front), backend.accept());
    drop((client, server));
    daemon.signal(Signal::SIGTERM);
    let stop = stage.called("stop");
    daemon.signal(Signal::SIGINT);
    daemon.says("told again to end: connections are cut, commands killed");
    daemon.says("STOP_CMD was cancelled");
    assert_eq!(daemon.ends(), Some(0));
    stop.dies();
    assert_eq!(stage.processes(), []);
}

#[test]
fn a_stop_that_hangs_ends_with_the_limits_of_the_configuration() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let mut daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTOP_CMD={}\nDRAIN_TIMEOUT=0\nSTOP_TIMEOUT=100ms\n",
        stage.cue("")
    ));
    let backend = Backend::at(back);
    let (client, server) = (connect(front), backend.accept());
    drop((client, server));
    daemon.signal(Signal::SIGTERM);
    let stop = stage.called("stop");
    daemon.says("ending takes too long; waiting no more for web");
    assert_eq!(daemon.ends(), Some(0));
    stop.dies();
}

#[test]
fn held_clients_are_served_within_drain_timeout() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let mut daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\nDRAIN_TIMEOUT=10s\n",
        stage.cue("")
    ));
    let mut client = connect(front);
    let start = stage.called("start");
    daemon.signal(Signal::SIGTERM);
    daemon.says("stopping: ");
    let _server = Server::greeting(back, "page");
    start.succeeds();
    assert_eq!(rest(&mut client), "page");
    assert_eq!(daemon.ends(), Some(0));
}

#[test]
fn a_wake_that_does_not_end_is_given_up_at_drain_timeout() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let mut daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\nDRAIN_TIMEOUT=200ms\n",
        stage.cue("")
    ));
    let client = connect(front);
    let start = stage.called("start");
    assert_eq!(daemon.stop(), Some(0));
    is_reset(client);
    start.dies();
    assert_eq!(stage.processes(), []);
}

#[test]
fn a_client_that_is_connected_only_after_drain_timeout_is_cut_as_well() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let mut daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\nSETTLE_TIME=2s\nDRAIN_TIMEOUT=200ms\n",
        stage.cue("")
    ));
    let client = connect(front);
    let start = stage.called("start");
    let backend = Backend::at(back);
    start.succeeds();
    // For SETTLE_TIME it is being connected, and not yet relayed.
    let _server = backend.accept();
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.ends(), Some(0));
    is_reset(client);
}

#[test]
fn a_backend_survives_a_killed_daemon_and_is_adopted_by_the_next() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let mut daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\nIDLE_TIME=2s\n"
    ));
    let mut client = connect(front);
    let start = stage.called("start");
    let backend = Backend::at(back);
    start.succeeds();
    let server = backend.accept();
    client.write_all(b"x").unwrap();
    daemon.says("woken by");
    drop((client, server));
    until("it is over", || daemon.status("web")["relays"] == 0);
    let ended = Instant::now();
    // The last use is written down within a second of it.
    thread::sleep(Duration::from_millis(1300));
    daemon.signal(Signal::SIGKILL);
    daemon.ends();

    let daemon = stage.daemon_again();
    assert_eq!(daemon.state("web"), "awake");
    // Its clock goes on: IDLE_TIME from the last use, not from this start.
    let stop = stage.called("stop");
    let took = ended.elapsed();
    assert!(took >= Duration::from_millis(1950), "{took:?}");
    assert!(took < Duration::from_millis(3000), "{took:?}");
    drop(backend);
    stop.succeeds();
    daemon.says("web: asleep");
}

#[test]
fn what_was_in_use_when_the_daemon_was_killed_counts_as_used_until_then() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let mut daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\nIDLE_TIME=1s\n"
    ));
    let mut client = connect(front);
    let start = stage.called("start");
    let backend = Backend::at(back);
    start.succeeds();
    let mut server = backend.accept();
    daemon.says("woken by");
    thread::sleep(Duration::from_millis(1500));
    stage.nothing_called();
    daemon.signal(Signal::SIGKILL);
    daemon.ends();
    // Both see that it has ended; how is for the kernel to say.
    let mut byte = [0];
    assert!(!matches!(client.read(&mut byte), Ok(1)));
    assert!(!matches!(server.read(&mut byte), Ok(1)));

    let again = Instant::now();
    let daemon = stage.daemon_again();
    assert_eq!(daemon.state("web"), "awake");
    let _client = connect(front);
    backend.accept();
    stage.nothing_called();
    assert!(
        again.elapsed() < Duration::from_secs(1),
        "too slow a machine to tell"
    );
}

#[test]
fn the_destination_that_start_had_said_survives_a_killed_daemon() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let mut daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nCHECK_CMD={cue}\nSTART_CMD={cue}\n"
    ));
    stage.called("check").fails();
    let mut client = connect(front);
    stage.called("check").fails();
    let start = stage.called("start");
    let _server = Server::greeting(back, "page");
    start.says(back);
    assert_eq!(rest(&mut client), "page");
    daemon.signal(Signal::SIGKILL);
    daemon.ends();

    let daemon = stage.daemon_again();
    stage.called("check").succeeds();
    until("it is adopted", || daemon.state("web") == "awake");
    assert_eq!(fetch(front), "page");
    stage.nothing_called();
}

#[test]
fn what_start_per_connection_has_started_is_put_to_sleep_by_the_next_daemon() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let mut daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nSTART_CMD={cue}\nSTOP_CMD={cue}\nIDLE_TIME=500ms\n"
    ));
    let _server = Server::greeting(back, "page");
    let mut client = connect(front);
    stage.called("start").says(back);
    assert_eq!(rest(&mut client), "page");
    daemon.signal(Signal::SIGKILL);
    daemon.ends();

    let daemon = stage.daemon_again();
    assert_eq!(daemon.state("web"), "awake");
    stage.called("stop").succeeds();
    daemon.says("web: asleep");
}

#[test]
fn a_backend_that_ended_with_the_daemon_is_woken_again() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let mut daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\n"
    ));
    let mut client = connect(front);
    let start = stage.called("start");
    let server = Server::greeting(back, "page");
    start.succeeds();
    assert_eq!(rest(&mut client), "page");
    daemon.signal(Signal::SIGKILL);
    daemon.ends();
    drop(server);

    let mut daemon = stage.daemon_again();
    daemon.says("web: was awake, and is not there any more");
    assert_eq!(daemon.state("web"), "asleep");
    let mut client = connect(front);
    let start = stage.called("start");
    let server = Server::greeting(back, "again");
    start.succeeds();
    assert_eq!(rest(&mut client), "again");
    drop(client);
    daemon.signal(Signal::SIGTERM);
    drop(server);
    stage.called("stop").succeeds();
    assert_eq!(daemon.ends(), Some(0));
}

#[test]
fn a_unix_socket_of_a_killed_daemon_is_taken_over() {
    let stage = Stage::new();
    let (front, back) = (stage.path("front.sock"), stage.address());
    let _server = Server::greeting(back, "page");
    let mut daemon = stage.daemon(&format!("[web]\nPORT={}\nTARGET={back}\n", front.display()));
    daemon.signal(Signal::SIGKILL);
    daemon.ends();
    assert!(front.exists());
    let _daemon = stage.daemon_again();
    let mut page = String::new();
    let mut client = UnixStream::connect(&front).unwrap();
    client.read_to_string(&mut page).unwrap();
    assert_eq!(page, "page");
}

#[test]
fn after_a_stop_nothing_is_remembered() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let mut daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nSTOP_CMD={cue}\n",
        cue = stage.cue("")
    ));
    let mut client = connect(front);
    let start = stage.called("start");
    let server = Server::greeting(back, "page");
    start.succeeds();
    assert_eq!(rest(&mut client), "page");
    drop(client);
    daemon.signal(Signal::SIGTERM);
    drop(server);
    stage.called("stop").succeeds();
    assert_eq!(daemon.ends(), Some(0));
    assert!(!stage.path("run/state-other/web.json").exists());
    let daemon = stage.daemon_again();
    assert_eq!(daemon.said("was awake"), 0);
    assert_eq!(daemon.state("web"), "asleep");
}

#[test]
fn a_section_that_is_gone_at_the_next_start_is_said_to_have_been_awake() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let mut daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let mut client = connect(front);
    let start = stage.called("start");
    let _server = Server::greeting(back, "page");
    start.succeeds();
    assert_eq!(rest(&mut client), "page");
    daemon.signal(Signal::SIGKILL);
    daemon.ends();
    let mut daemon = stage.daemon(&format!("[other]\nPORT={front}\nTARGET={back}\n"));
    let said = "'web' was awake, and its section is gone";
    assert_eq!(daemon.said(said), 1);
    assert_eq!(fetch(front), "page");
    // Until somebody puts that into effect.
    daemon.reload();
    assert_eq!(daemon.said(said), 2);
    daemon.reload();
    assert_eq!(daemon.said(said), 2);
    daemon.stop();
    assert_eq!(stage.daemon_again().said(said), 0);
}
