//! ACCEPT_PROXY: clients of a balancer are who its header says, and nobody else's header counts.
//!
//! | file | the promises in it |
//! | --- | --- |
//! | `mod` | who a client is, what that decides, and what is no header |
//! | `room` | how many may be at it, and what becomes of those who wait |

mod room;

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::harness::{
    Backend, Daemon, PATIENCE, Server, Stage, connect_from, is_reset, is_silent, proxy, rest, take,
    until,
};

/// In ACCEPT_PROXY, unless a test says otherwise.
const BALANCER: [u8; 4] = [127, 0, 0, 2];
const STRANGER: [u8; 4] = [127, 0, 0, 3];

const ANN: &str = "192.0.2.1:56324";
const BOB: &str = "192.0.2.2:56324";
const SITE: &str = "198.51.100.7:443";

/// On a slow and busy machine three seconds are little.
const TRUST: &str = "ACCEPT_PROXY=127.0.0.2\nPROXY_TIMEOUT=1min\n";

/// Both ways to say the same.
fn headers(source: &str) -> [Vec<u8>; 2] {
    [proxy::v1(source, SITE), proxy::v2(source, SITE)]
}

/// The balancer, having sent this.
#[track_caller]
fn balanced(front: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut client = connect_from(BALANCER, front);
    client.set_nodelay(true).unwrap();
    // It may be refused in the middle of it.
    let _ = client.write_all(bytes);
    client
}

/// A service with a START that asks, before a backend that is not there yet.
fn sleeping(stage: &Stage, more: &str) -> (SocketAddr, SocketAddr, Daemon) {
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("$SLEEPINGD_LOCAL_ADDR:$SLEEPINGD_LOCAL_PORT $SOCAT_PEERADDR");
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={cue}\n{more}"
    ));
    (front, back, daemon)
}

/// A service that forwards to a backend of the test's.
fn awake(stage: &Stage, more: &str) -> (SocketAddr, Backend, Daemon) {
    let (front, back) = (stage.address(), stage.address());
    let backend = Backend::at(back);
    let daemon = stage.daemon(&format!("[web]\nPORT={front}\nTARGET={back}\n{more}"));
    (front, backend, daemon)
}

/// The same, listening on a unix socket.
fn behind_unix(stage: &Stage, more: &str) -> (PathBuf, Backend, Daemon) {
    let (front, back) = (stage.path("front.sock"), stage.address());
    let backend = Backend::at(back);
    let port = front.display();
    let daemon = stage.daemon(&format!("[web]\nPORT={port}\nTARGET={back}\n{more}"));
    (front, backend, daemon)
}

/// A client of it, having sent this.
fn over_unix(front: &Path, bytes: &[u8]) -> UnixStream {
    let mut client = UnixStream::connect(front).unwrap();
    client.write_all(bytes).unwrap();
    client
}

/// So many more clients of the balancer's have been accepted.
#[track_caller]
fn until_accepted(daemon: &Daemon, clients: usize) {
    for _ in 0..clients {
        daemon.says("to send its PROXY header");
    }
}

/// The next connection to the backend begins with this.
#[track_caller]
fn gets(backend: &Backend, bytes: &[u8]) -> TcpStream {
    let mut server = backend.accept();
    assert_eq!(take(&mut server, bytes.len()), bytes);
    server
}

// === who it is ===

#[test]
fn a_header_says_who_the_client_is_and_what_it_connected_to() {
    for header in headers(ANN) {
        let stage = Stage::new();
        let (front, back, daemon) = sleeping(&stage, TRUST);
        let mut client = balanced(front, &header);
        client.write_all(b"hello").unwrap();
        let start = stage.called("start");
        assert_eq!(start.remote, ANN);
        assert_eq!(start.argument, format!("{SITE} 192.0.2.1"));
        let backend = Backend::at(back);
        start.succeeds();
        drop(gets(&backend, b"hello"));
        daemon.says(&format!("woken by {ANN}"));
        assert_eq!(rest(&mut client), "");
    }
}

#[test]
fn a_header_may_come_byte_by_byte_and_not_one_of_them_is_the_clients() {
    let stage = Stage::new();
    let (front, backend, daemon) = behind_unix(&stage, "ACCEPT_PROXY=unix\nPROXY_TIMEOUT=1min\n");
    let long = proxy::v2_with(ANN, SITE, &[0xee; 30]);
    for header in headers(ANN).into_iter().chain([long]) {
        let mut client = over_unix(&front, &[]);
        for byte in &header {
            client.write_all(&[*byte]).unwrap();
            proxy::until_read(&client);
        }
        let mut server = backend.accept();
        is_silent(&server);
        daemon.says(&format!("{ANN} comes by way of unix"));
        client.write_all(b"x").unwrap();
        assert_eq!(take(&mut server, 1), b"x");
    }
}

#[test]
fn a_header_in_two_pieces_may_be_cut_anywhere() {
    let stage = Stage::new();
    let (front, backend, _daemon) = behind_unix(&stage, "ACCEPT_PROXY=unix\nPROXY_TIMEOUT=1min\n");
    for header in headers(ANN) {
        for cut in 1..header.len() {
            let mut client = over_unix(&front, &header[..cut]);
            proxy::until_read(&client);
            client
                .write_all(&[&header[cut..], b"data"].concat())
                .unwrap();
            gets(&backend, b"data");
        }
    }
}

#[test]
fn a_header_may_come_in_many_segments() {
    let stage = Stage::new();
    let (front, backend, _daemon) = awake(&stage, TRUST);
    for header in headers(ANN) {
        let mut client = balanced(front, &[]);
        for byte in header.iter().chain(b"data") {
            client.write_all(&[*byte]).unwrap();
        }
        gets(&backend, b"data");
    }
}

#[test]
fn what_comes_in_one_piece_with_a_header_is_the_clients() {
    let stage = Stage::new();
    let (front, backend, _daemon) = awake(&stage, TRUST);
    let long = proxy::v2_with(ANN, SITE, &[0xee; 4000]);
    for header in headers(ANN).into_iter().chain([long]) {
        // Data that looks like a header is data.
        let data = [&header[..], b"and more"].concat();
        let mut client = balanced(front, &[&header[..], &data].concat());
        client.shutdown(Shutdown::Write).unwrap();
        let mut server = backend.accept();
        let mut got = Vec::new();
        server.read_to_end(&mut got).unwrap();
        assert_eq!(got, data);
        // As long as nothing of it may be lost to a close.
        let answer = "answer ".repeat(300_000);
        let sent = answer.clone();
        std::thread::spawn(move || server.write_all(sent.as_bytes()).unwrap());
        assert!(rest(&mut client) == answer);
    }
}

#[test]
fn the_balancer_may_speak_for_itself() {
    let stage = Stage::new();
    let (front, back, _daemon) = sleeping(&stage, &format!("{TRUST}WAKE_ON=connect\n"));
    let server = Server::greeting(back, "page");
    let own = [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ::1 ::1 1 1\r\n".to_vec(),
        proxy::v2_local(),
        // A unix socket's paths, and nothing.
        proxy::raw_v2(0x21, 0x31, &[b'/'; 216]),
        proxy::raw_v2(0x21, 0x00, &[]),
    ];
    for header in own {
        assert_eq!(rest(&mut balanced(front, &header)), "page");
    }
    drop(server);
    let client = balanced(front, &proxy::v2_local());
    let start = stage.called("start");
    assert_eq!(start.remote, client.local_addr().unwrap().to_string());
    assert_eq!(start.argument, format!("{front} 127.0.0.2"));
}

#[test]
fn an_ipv4_address_that_is_written_as_ipv6_is_ipv4() {
    let stage = Stage::new();
    let (front, _back, _daemon) = sleeping(&stage, TRUST);
    let _client = balanced(
        front,
        &proxy::v2("[::ffff:192.0.2.1]:7", "[::ffff:192.0.2.9]:8"),
    );
    let start = stage.called("start");
    assert_eq!(start.remote, "192.0.2.1:7");
    assert_eq!(start.argument, "192.0.2.9:8 192.0.2.1");
}

#[test]
fn of_a_stranger_a_header_is_data() {
    let stage = Stage::new();
    let (front, backend, daemon) = awake(&stage, TRUST);
    for header in headers(ANN) {
        let mut client = connect_from(STRANGER, front);
        let name = client.local_addr().unwrap();
        client.write_all(&header).unwrap();
        drop(gets(&backend, &header));
        assert_eq!(rest(&mut client), "");
        drop(client);
        daemon.says(&format!("{name} to {}", backend.addr));
    }
    assert_eq!(daemon.said("comes by way of"), 0);
}

#[test]
fn a_client_of_a_unix_socket_is_trusted_if_the_list_says_unix() {
    let stage = Stage::new();
    let (front, backend, daemon) = behind_unix(&stage, "ACCEPT_PROXY=unix\nDENY=192.0.2.2\n");
    let hello = |header: Vec<u8>| over_unix(&front, &[&header[..], b"hello"].concat());
    let _client = hello(proxy::v1(ANN, SITE));
    gets(&backend, b"hello");
    daemon.says(&format!("{ANN} comes by way of unix"));
    let _denied = hello(proxy::v1(BOB, SITE));
    daemon.says(&format!("{BOB} is refused: not allowed to connect"));
    // Without the word it is nobody's.
    stage.configure(&format!(
        "[web]\nPORT={}\nTARGET={}\nACCEPT_PROXY=0.0.0.0/0 ::/0\n",
        front.display(),
        backend.addr
    ));
    daemon.reload();
    let _client = hello(b"PROXY ".to_vec());
    gets(&backend, b"PROXY hello");
}

#[test]
fn a_reload_changes_whose_header_is_expected() {
    let stage = Stage::new();
    let (front, backend, daemon) = awake(&stage, "");
    let header = proxy::v1(ANN, SITE);
    let _before = balanced(front, &header);
    gets(&backend, &header);
    let back = backend.addr;
    let with = |more: &str| format!("[web]\nPORT={front}\nTARGET={back}\n{more}");
    stage.configure(&with(TRUST));
    daemon.reload();
    let mut client = balanced(front, &header);
    until_accepted(&daemon, 1);
    client.write_all(b"data").unwrap();
    gets(&backend, b"data");
    // Whoever is in the middle of it goes on.
    let mut slow = balanced(front, &header[..10]);
    until_accepted(&daemon, 1);
    stage.configure(&with("ACCEPT_PROXY=no\n"));
    daemon.reload();
    slow.write_all(&header[10..]).unwrap();
    slow.write_all(b"late").unwrap();
    gets(&backend, b"late");
    let _after = balanced(front, &header);
    gets(&backend, &header);
}

// === what the named address decides ===

#[test]
fn allow_and_deny_see_the_named_address() {
    let stage = Stage::new();
    let lists = format!("{TRUST}ALLOW=192.0.2.0/24 127.0.0.3\nDENY=192.0.2.2\n");
    let (front, backend, daemon) = awake(&stage, &lists);
    for header in headers(ANN) {
        let mut client = balanced(front, &header);
        client.write_all(b"let me in").unwrap();
        gets(&backend, b"let me in");
    }
    for header in headers(BOB) {
        is_reset(balanced(front, &header));
        daemon.says(&format!("{BOB} is refused: not allowed to connect"));
    }
    // The balancer itself is not among them.
    is_reset(balanced(front, &proxy::v2_local()));
    daemon.says("is refused: not allowed to connect");
    backend.nobody_came();
}

#[test]
fn a_monitor_is_known_by_its_named_address() {
    let stage = Stage::new();
    let (front, back, daemon) = sleeping(&stage, &format!("{TRUST}IGNORE=192.0.2.2 127.0.0.2\n"));
    is_reset(balanced(front, &proxy::v1(BOB, SITE)));
    daemon.says(&format!(
        "{BOB} is refused: asleep, and this address does not wake it"
    ));
    is_reset(balanced(front, &proxy::v2_local()));
    daemon.says("is refused: asleep, and this address does not wake it");
    stage.nothing_called();
    let mut client = balanced(front, &proxy::v1(ANN, SITE));
    let start = stage.called("start");
    let _server = Server::greeting(back, "page");
    start.succeeds();
    assert_eq!(rest(&mut client), "page");
}

#[test]
fn each_named_address_has_its_own_max_connections_per_source() {
    let stage = Stage::new();
    let limit = format!("{TRUST}MAX_CONNECTIONS_PER_SOURCE=1\n");
    let (front, backend, daemon) = awake(&stage, &limit);
    let _ann = balanced(front, &proxy::v2(ANN, SITE));
    let served = backend.accept();
    is_reset(balanced(front, &proxy::v1("192.0.2.1:9", SITE)));
    daemon.says("192.0.2.1:9 is refused: too many connections from this address");
    let _bob = balanced(front, &proxy::v1(BOB, SITE));
    backend.accept();
    drop(served);
}

#[test]
fn with_wake_on_data_a_mere_header_wakes_nothing() {
    for header in headers(ANN) {
        let stage = Stage::new();
        let (front, back, daemon) = sleeping(&stage, &format!("{TRUST}WAKE_ON=data\n"));
        let mut client = balanced(front, &header);
        until("it is held", || daemon.status("web")["held"] == 1);
        assert_eq!(daemon.state("web"), "asleep");
        stage.nothing_called();
        client.write_all(b"x").unwrap();
        let start = stage.called("start");
        assert_eq!(start.remote, ANN);
        let backend = Backend::at(back);
        start.succeeds();
        gets(&backend, b"x");
    }
}

// === what is refused ===

#[test]
fn what_is_no_header_is_refused_with_a_reset_and_wakes_and_reaches_nobody() {
    let bad: [(&[u8], &str); 5] = [
        (
            b"GET / HTTP/1.1\r\n\r\n",
            "sent no PROXY header, it begins with \"GET / HTTP",
        ),
        (
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 99999\r\n",
            "with a port that is no number",
        ),
        (b"PROXY UNKNOWN\n", "with another end than CR LF"),
        (
            &proxy::raw_v2(0x21, 0x11, &[1; 11]),
            "of 11 bytes, where its addresses alone take 12",
        ),
        (
            &proxy::raw_v2(0x21, 0x11, &[1; 5000]),
            "of 5000 bytes, and 4096 is the most",
        ),
    ];
    let stage = Stage::new();
    let (front, back, daemon) = sleeping(&stage, TRUST);
    let all_are_refused = || {
        for (bytes, why) in bad {
            is_reset(balanced(front, bytes));
            let line = daemon.says("is refused: it is in ACCEPT_PROXY, but ");
            assert!(line.contains(why), "{line}");
            assert!(line.contains("127.0.0.2:"), "{line}");
        }
        stage.nothing_called();
    };
    all_are_refused();
    assert_eq!(daemon.state("web"), "asleep");
    let backend = Backend::at(back);
    all_are_refused();
    backend.nobody_came();
}

#[test]
fn whoever_leaves_in_the_middle_of_a_header_is_refused_and_a_port_check_is_no_matter() {
    let stage = Stage::new();
    let (front, backend, daemon) = awake(&stage, TRUST);
    drop(balanced(front, b""));
    let line = daemon.says("left without having sent anything");
    assert!(line.contains("debug"), "{line}");
    let early = balanced(front, b"PROXY TCP4 1.2");
    early.shutdown(Shutdown::Write).unwrap();
    is_reset(early);
    let line = daemon.says("left in the middle of its PROXY header");
    assert!(line.contains("warn"), "{line}");
    backend.nobody_came();
}

#[test]
fn a_header_that_takes_longer_than_proxy_timeout_is_refused() {
    let stage = Stage::new();
    let (front, backend, daemon) = awake(&stage, "ACCEPT_PROXY=127.0.0.2\nPROXY_TIMEOUT=500ms\n");
    let begun = Instant::now();
    let slow = balanced(front, b"PROXY TCP4 ");
    is_reset(slow);
    daemon.says("did not complete its PROXY header within 500ms (PROXY_TIMEOUT)");
    assert!(begun.elapsed() >= Duration::from_millis(500));
    is_reset(balanced(front, b""));
    daemon.says("sent no PROXY header within 500ms (PROXY_TIMEOUT)");
    // It is a limit for the whole of it: a byte now and then does not help.
    let mut dripping = balanced(front, &[]);
    let mut bytes = proxy::v2_with(ANN, SITE, &[0xee; 4000]).into_iter();
    let begun = Instant::now();
    while dripping.write_all(&[bytes.next().unwrap()]).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it is never refused");
        std::thread::sleep(Duration::from_millis(20));
    }
    daemon.says("did not complete its PROXY header");
    backend.nobody_came();
}

#[test]
fn many_refusals_are_one_line_in_ten_seconds() {
    let stage = Stage::new();
    let (front, _backend, daemon) = awake(&stage, TRUST);
    for _ in 0..20 {
        is_reset(balanced(front, b"GET / HTTP/1.1\r\n\r\n"));
        daemon.says("is refused: it is in ACCEPT_PROXY");
    }
    assert_eq!(daemon.said("warning: web: 127.0.0.2:"), 1);
    // At debug all of them are there.
    assert_eq!(daemon.said("is refused: it is in ACCEPT_PROXY"), 20);
}
