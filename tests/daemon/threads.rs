//! THREADS: clients on several threads are served as they are on one.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use nix::sys::signal::Signal;

use crate::harness::{Server, Stage, connect, is_reset, rest, until};

const CLIENTS: usize = 24;

/// Asks, and is answered.
fn ask(client: &mut TcpStream) {
    client.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    // A client that resets is an end like any other here.
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

#[test]
fn clients_of_all_threads_are_held_served_counted_and_put_to_sleep_after() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "THREADS=3\n[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\nSTOP_CMD={}\nIDLE_TIME=1ms\n",
        stage.cue(""),
        stage.cue(""),
    ));
    assert_eq!(daemon.relay_threads(), 0, "a daemon that sleeps has none");
    let before = daemon.descriptors_in_use();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(front)).collect();
    let start = stage.called("start");
    until("all are held", || daemon.status("web")["held"] == CLIENTS);
    assert_eq!(daemon.relay_threads(), 2);
    let server = Server::with(back, |stream| {
        std::thread::spawn(move || echo(stream));
    });
    start.succeeds();
    clients.iter_mut().for_each(ask);
    assert_eq!(daemon.status("web")["relays"], CLIENTS);
    for client in &mut clients {
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(client), "");
    }
    let stop = stage.called("stop");
    drop(server);
    stop.succeeds();
    until("it sleeps", || daemon.state("web") == "asleep");
    assert_eq!(daemon.counters()["outcomes"]["finished"], CLIENTS);
    until("the descriptors are back", || {
        daemon.descriptors_in_use() <= before
    });
}

#[test]
fn the_end_of_the_daemon_cuts_relays_on_all_threads() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _server = Server::with(back, |stream| {
        std::thread::spawn(move || echo(stream));
    });
    let mut daemon = stage.daemon(&format!(
        "THREADS=2\n[web]\nPORT={front}\nTARGET={back}\nDRAIN_TIMEOUT=1ms\n"
    ));
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(front)).collect();
    clients.iter_mut().for_each(ask);
    assert_eq!(daemon.relay_threads(), 1);
    daemon.signal(Signal::SIGTERM);
    for client in clients {
        is_reset(client);
    }
    assert_eq!(daemon.ends(), Some(0));
}

#[test]
fn one_thread_is_one_thread_and_a_change_waits_for_a_restart() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _server = Server::with(back, |stream| {
        std::thread::spawn(move || echo(stream));
    });
    let section = format!("[web]\nPORT={front}\nTARGET={back}\n");
    let daemon = stage.daemon(&format!("THREADS=1\n{section}"));
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(front)).collect();
    clients.iter_mut().for_each(ask);
    assert_eq!(daemon.relay_threads(), 0);
    stage.configure(&format!("THREADS=2\n{section}"));
    daemon.reload();
    assert_eq!(daemon.said("THREADS has changed"), 1);
    clients.iter_mut().for_each(ask);
    assert_eq!(daemon.relay_threads(), 0);
}
