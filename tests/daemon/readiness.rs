//! Listening is not serving: what a wake waits for before it lets a client through.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::mpsc,
    time::{Duration, Instant},
};

use crate::harness::{
    Backend, PATIENCE, Server, Stage, connect, in_state, proxy, rest, take, until, wildcard_port,
};

#[test]
fn ready_cmd_gates_the_client_until_it_succeeds() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\nREADY_CMD={cue}\n"
    ));
    let _client = connect(front);
    let start = stage.called("start");
    let backend = Backend::at(back);
    start.succeeds();
    stage.called("ready").fails();
    stage.called("ready").fails();
    let last = stage.called("ready");
    backend.nobody_came();
    assert_eq!(daemon.state("web"), "waking");
    last.succeeds();
    backend.accept();
}

#[test]
fn ready_url_gates_the_client_until_it_says_200() {
    let stage = Stage::new();
    let (front, back, health) = (stage.address(), stage.address(), stage.address());
    let answers = ["503 Starting", "404 Not Found", "200 OK"];
    let mut asked = 0;
    let (to, all_asked) = std::sync::mpsc::channel();
    let _health = Server::with(health, move |mut stream| {
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap();
        assert!(request[..length].starts_with(b"GET /healthz HTTP/1.1\r\n"));
        write!(
            stream,
            "HTTP/1.1 {}\r\nContent-Length: 0\r\n\r\n",
            answers[asked]
        )
        .unwrap();
        asked += 1;
        to.send(asked).unwrap();
    });
    let backend = Backend::at(back);
    let _daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nSTART_CMD={}\nREADY_URL=http://{health}/healthz\n",
        stage.cue("")
    ));
    let _client = connect(front);
    stage.called("start").says(back);
    assert_eq!(all_asked.recv(), Ok(1));
    assert_eq!(all_asked.recv(), Ok(2));
    backend.nobody_came();
    backend.accept();
    assert_eq!(all_asked.recv(), Ok(3));
}

#[test]
fn a_wake_pauses_for_wait_after_start() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\nWAIT_AFTER_START=400ms\n",
        stage.cue("")
    ));
    let _client = connect(front);
    let start = stage.called("start");
    let backend = Backend::at(back);
    let listening = Instant::now();
    start.succeeds();
    backend.accept();
    assert!(listening.elapsed() >= Duration::from_millis(400));
    // Only after a START.
    let _client = connect(front);
    let again = Instant::now();
    backend.accept();
    assert!(again.elapsed() < Duration::from_millis(400));
}

#[test]
fn a_destination_that_accepts_and_closes_is_tried_until_it_is_real() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\nSETTLE_TIME=100ms\n",
        stage.cue("")
    ));
    let mut client = connect(front);
    client.write_all(b"the request").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let start = stage.called("start");
    // As docker's forwarder does while the container boots.
    let mut turn = 0;
    let server = Server::with(back, move |mut stream| {
        turn += 1;
        if turn == 1 || turn == 3 {
            crate::harness::reset(stream);
        } else if turn > 4 {
            let mut request = String::new();
            stream.read_to_string(&mut request).unwrap();
            write!(stream, "{} it is", request).unwrap();
        }
    });
    start.succeeds();
    assert_eq!(rest(&mut client), "the request it is");
    assert_eq!(server.count(), 5);
}

#[test]
fn once_awake_a_close_is_a_close() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\nSETTLE_TIME=50ms\n",
        stage.cue("")
    ));
    let mut first = connect(front);
    let start = stage.called("start");
    let backend = Backend::at(back);
    start.succeeds();
    let mut server = backend.accept();
    server.write_all(b"here I am").unwrap();
    assert_eq!(take(&mut first, 9), b"here I am");
    let mut second = connect(front);
    drop(backend.accept());
    assert_eq!(rest(&mut second), "");
    drop(second);
    until("one is left", || daemon.status("web")["relays"] == 1);
    backend.nobody_came();
}

#[test]
fn a_backend_that_takes_its_time_to_listen_is_waited_for() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let mut client = connect(front);
    stage.called("start").succeeds();
    daemon.says("a command exited with status 0");
    // START has ended, and nobody listens yet.
    assert_eq!(daemon.state("web"), "waking");
    let _server = Server::greeting(back, "page");
    assert_eq!(rest(&mut client), "page");
}

// === the connection that was a probe ===

/// A service whose backend is only known to be up by a connection, for it is a name; READY_CMD
/// then leaves time between that connection and its first client.
fn by_name(stage: &Stage, port: u16, more: &str) -> SocketAddr {
    let (front, cue) = (stage.address(), stage.cue(""));
    stage.configure(&format!(
        "[web]\nPORT={front}\nTARGET=localhost:{port}\nSTART_CMD={cue}\nREADY_CMD={cue}\n{more}"
    ));
    front
}

/// A backend that does this with its first connection, the probe's, and answers what it reads on
/// any other until its end. Says when the first is done with.
fn with_first(
    loopback: SocketAddr,
    mut first: impl FnMut(TcpStream) + Send + 'static,
) -> (Server, mpsc::Receiver<()>) {
    let (to, done) = mpsc::channel();
    let mut turn = 0;
    let server = Server::with(loopback, move |mut stream| {
        turn += 1;
        if turn == 1 {
            first(stream);
            return to.send(()).unwrap();
        }
        let request = rest(&mut stream);
        write!(stream, "{request} it is").unwrap();
    });
    (server, done)
}

/// The daemon's machine knows that the first connection is over.
fn has_heard_of_the_end(loopback: SocketAddr) {
    // Neither open nor waiting for the acknowledgement of its FIN.
    until("the end has arrived", || {
        in_state(loopback, "01") + in_state(loopback, "04") == 0
    });
}

#[test]
fn a_probes_connection_that_has_ended_since_is_given_to_nobody() {
    let ends: [fn(TcpStream); 2] = [drop, crate::harness::reset];
    for end in ends {
        let stage = Stage::new();
        let loopback = SocketAddr::from(([127, 0, 0, 1], wildcard_port()));
        let front = by_name(&stage, loopback.port(), "");
        let _daemon = stage.daemon_again();
        let mut client = connect(front);
        client.write_all(b"the request").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let start = stage.called("start");
        let (server, done) = with_first(loopback, end);
        start.succeeds();
        done.recv_timeout(PATIENCE).unwrap();
        has_heard_of_the_end(loopback);
        stage.called("ready").succeeds();
        assert_eq!(rest(&mut client), "the request it is");
        assert_eq!(server.count(), 2);
    }
}

#[test]
fn instead_of_a_probes_connection_that_has_ended_another_begins_with_the_header() {
    let stage = Stage::new();
    let loopback = SocketAddr::from(([127, 0, 0, 1], wildcard_port()));
    let front = by_name(&stage, loopback.port(), "SEND_PROXY=v1\n");
    let _daemon = stage.daemon_again();
    let mut client = connect(front);
    client.write_all(b"the request").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let start = stage.called("start");
    // It heard no header in time.
    let (server, done) = with_first(loopback, drop);
    start.succeeds();
    done.recv_timeout(PATIENCE).unwrap();
    has_heard_of_the_end(loopback);
    stage.called("ready").succeeds();
    let own = client.local_addr().unwrap().to_string();
    let header = String::from_utf8(proxy::v1(&own, &front.to_string())).unwrap();
    assert_eq!(rest(&mut client), format!("{header}the request it is"));
    assert_eq!(server.count(), 2);
}

#[test]
fn a_probes_connection_on_which_the_backend_has_spoken_is_its_first_clients_even_if_it_said_all() {
    let stage = Stage::new();
    let loopback = SocketAddr::from(([127, 0, 0, 1], wildcard_port()));
    let front = by_name(&stage, loopback.port(), "");
    let _daemon = stage.daemon_again();
    let mut client = connect(front);
    let start = stage.called("start");
    let (server, done) = with_first(loopback, |mut stream| {
        stream.write_all(b"the time of day").unwrap();
    });
    start.succeeds();
    done.recv_timeout(PATIENCE).unwrap();
    has_heard_of_the_end(loopback);
    stage.called("ready").succeeds();
    assert_eq!(rest(&mut client), "the time of day");
    assert_eq!(server.count(), 1);
}
