//! Finding backends: real listeners, and network namespaces where one machine is not enough.
#![allow(clippy::unwrap_used)] // The helpers are as much tests as the tests.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    os::{fd::AsFd, unix::net::UnixListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use sleepingd::{
    model::{Destination, Timestamp},
    readiness::{Reason, Target, Verdict, http_ok, is_gone, look, wait},
    sys::clock,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{task::JoinSet, time::timeout};

#[path = "daemon/harness/namespaces.rs"]
#[allow(dead_code, reason = "the daemon's tests need more of it")]
mod namespaces;
#[path = "daemon/harness/needs.rs"]
#[allow(dead_code, reason = "the daemon's tests need more of it")]
mod needs;

use namespaces::{INSIDE, inside};

/// More than any of this takes, on any machine.
const LONG: Duration = Duration::from_secs(30);

/// A TCP port of the loopback interface that is ours, with nobody listening yet.
fn bound() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

fn target<'a>(destinations: &'a [Destination], own: &'a [SocketAddr]) -> Target<'a> {
    Target {
        destinations,
        own_listeners: own,
        connect_timeout: Duration::from_secs(5),
    }
}

/// Whether anybody has connected.
fn was_touched(listener: &Socket) -> bool {
    listener.set_nonblocking(true).unwrap();
    listener.accept().is_ok()
}

fn is_up(verdict: &Verdict, by_connection: bool) -> bool {
    matches!(verdict, Verdict::Up { connection, .. } if connection.is_some() == by_connection)
}

#[tokio::test]
async fn a_backend_that_comes_up_is_found_and_not_touched() {
    let (socket, address) = bound();
    let destinations = [Destination::Tcp(address)];
    let reason = Reason::default();
    assert!(matches!(
        look(target(&destinations, &[])).await,
        Verdict::Down(_)
    ));

    let waiting = wait(target(&destinations, &[]), &reason);
    tokio::pin!(waiting);
    // The wait has looked once, and says what is missing.
    while reason.last().is_none() {
        assert!(
            timeout(Duration::from_millis(1), &mut waiting)
                .await
                .is_err()
        );
    }
    assert_eq!(
        reason.last().unwrap().to_string(),
        format!("nobody listens at {address}")
    );
    socket.listen(1).unwrap();
    let verdict = timeout(LONG, waiting).await.unwrap();
    assert!(is_up(&verdict, false), "{verdict:?}");
    assert!(is_up(&look(target(&destinations, &[])).await, false));
    assert!(!was_touched(&socket), "a one-shot server would be spent");

    assert_eq!(is_gone(&destinations[0]), Some(false));
    drop(socket);
    assert_eq!(is_gone(&destinations[0]), Some(true));
}

#[tokio::test]
async fn a_backend_is_found_well_within_a_millisecond_of_its_listen() {
    const ROUNDS: usize = 60;
    let mut delays = Vec::new();
    for round in 0..ROUNDS {
        let (socket, address) = bound();
        // Anywhere in the first phase of the wait.
        let pause = Duration::from_micros(500 + 700 * round as u64);
        let listening = thread::spawn(move || -> (Timestamp, Socket) {
            #[allow(clippy::disallowed_methods)] // A backend's start takes time; that is the test.
            thread::sleep(pause);
            let at = clock::now();
            socket.listen(1).unwrap();
            (at, socket)
        });
        let verdict = wait(
            target(&[Destination::Tcp(address)], &[]),
            &Reason::default(),
        )
        .await;
        let found = clock::now();
        assert!(is_up(&verdict, false), "{verdict:?}");
        let (at, _socket) = listening.join().unwrap();
        delays.push(found.since(at));
    }
    delays.sort();
    println!(
        "from listen to found: p50 {:?}, p90 {:?}",
        delays[ROUNDS / 2],
        delays[ROUNDS * 9 / 10]
    );
    // The bar is 0.3 ms on a quiet machine; a timer of 1 ms would need twice this.
    assert!(delays[ROUNDS / 2] < Duration::from_millis(1), "{delays:?}");
}

/// After a second connects are tried beside the questions to the kernel. Where the listener comes
/// up just then both find it, and what has been connected must not be closed: the backend would
/// serve nobody, and one that serves once would be spent.
#[tokio::test]
async fn no_connection_is_made_and_then_forgotten() {
    let mut waits = JoinSet::new();
    let mut listeners = Vec::new();
    for _ in 0..40 {
        let (socket, address) = bound();
        listeners.push(socket.try_clone().unwrap());
        waits.spawn(async move {
            let destinations = [Destination::Tcp(address)];
            let verdict = wait(target(&destinations, &[]), &Reason::default()).await;
            let Verdict::Up { connection, .. } = &verdict else {
                panic!("{verdict:?}");
            };
            let touched = was_touched(&socket);
            assert_eq!(touched, connection.is_some(), "a connection was forgotten");
            assert!(!was_touched(&socket), "there were two connections");
        });
    }
    // Most between the last question before the first connect, and that connect. Whenever it is,
    // it must be true.
    let listening = thread::spawn(move || {
        #[allow(clippy::disallowed_methods)] // A backend's start takes time; that is the test.
        thread::sleep(Duration::from_millis(994));
        for listener in listeners {
            listener.listen(8).unwrap();
            #[allow(clippy::disallowed_methods)] // As above.
            thread::sleep(Duration::from_micros(100));
        }
    });
    while let Some(ended) = waits.join_next().await {
        ended.unwrap();
    }
    listening.join().unwrap();
}

#[tokio::test]
async fn a_unix_backend_is_found_and_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path: PathBuf = directory.path().join("s");
    let destinations = [Destination::Unix(path.clone())];
    assert!(matches!(
        look(target(&destinations, &[])).await,
        Verdict::Down(_)
    ));
    let reason = Reason::default();
    let waiting = wait(target(&destinations, &[]), &reason);
    tokio::pin!(waiting);
    while reason.last().is_none() {
        assert!(
            timeout(Duration::from_millis(1), &mut waiting)
                .await
                .is_err()
        );
    }
    let listener = UnixListener::bind(&path).unwrap();
    let verdict = timeout(LONG, waiting).await.unwrap();
    assert!(is_up(&verdict, false), "{verdict:?}");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
    drop(listener);
    assert_eq!(
        is_gone(&destinations[0]),
        Some(true),
        "the file alone is nobody"
    );
}

#[tokio::test]
async fn whichever_destination_is_up_first_wins() {
    let (never, nowhere) = bound();
    let (socket, address) = bound();
    let destinations = [Destination::Tcp(nowhere), Destination::Tcp(address)];
    let reason = Reason::default();
    let waiting = wait(target(&destinations, &[]), &reason);
    let listening = async {
        tokio::task::yield_now().await;
        socket.listen(1).unwrap();
    };
    let (verdict, ()) = tokio::join!(waiting, listening);
    assert!(matches!(verdict, Verdict::Up { destination, .. } if destination == destinations[1]));
    drop(never);
}

#[tokio::test]
async fn the_services_own_listener_is_never_a_destination() {
    let (socket, address) = bound();
    socket.listen(1).unwrap();
    let (other, elsewhere) = bound();
    other.listen(1).unwrap();
    let wildcard: SocketAddr = format!("[::]:{}", address.port()).parse().unwrap();
    for own in [address, wildcard] {
        let alone = [Destination::Tcp(address)];
        for verdict in [
            look(target(&alone, &[own])).await,
            wait(target(&alone, &[own]), &Reason::default()).await,
        ] {
            let Verdict::Failed(why) = verdict else {
                panic!("{verdict:?}")
            };
            assert!(why.contains("where the service itself listens"), "{why}");
        }
        let both = [Destination::Tcp(address), Destination::Tcp(elsewhere)];
        let verdict = look(target(&both, &[own])).await;
        assert!(matches!(verdict, Verdict::Up { destination, .. } if destination == both[1]));
    }
    assert!(!was_touched(&socket));
}

#[tokio::test]
async fn a_name_is_connected_to_and_the_connection_is_kept_for_the_client() {
    let (socket, address) = bound();
    socket.listen(1).unwrap();
    let name = Destination::Host {
        name: "localhost".to_owned(),
        port: address.port(),
    };
    assert_eq!(is_gone(&name), None);
    let Verdict::Up {
        connection: Some(connection),
        ..
    } = look(target(&[name], &[])).await
    else {
        panic!("not up by a connection")
    };
    let (mut served, _) = socket.accept().unwrap();
    nix::unistd::write(connection.as_fd(), b"hello").unwrap();
    let mut text = [0; 5];
    served.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"hello");

    // A name that does not exist may exist later (RFC 6761: .invalid never does).
    let name = Destination::Host {
        name: "nobody.invalid".to_owned(),
        port: 1,
    };
    let verdict = look(target(&[name], &[])).await;
    assert!(matches!(verdict, Verdict::Down(_)), "{verdict:?}");
}

#[tokio::test]
async fn without_destinations_nothing_is_waited_for() {
    assert!(matches!(look(target(&[], &[])).await, Verdict::Failed(_)));
    assert!(matches!(
        wait(target(&[], &[]), &Reason::default()).await,
        Verdict::Failed(_)
    ));
}

// === READY_URL ===

/// Answers one request with these bytes; says what was asked.
fn answers(answer: &'static [u8]) -> (SocketAddr, mpsc::Receiver<String>) {
    let (socket, address) = bound();
    socket.listen(1).unwrap();
    let (asked, request) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = socket.accept().unwrap();
        let mut head = BufReader::new(stream.try_clone().unwrap());
        let mut text = String::new();
        while !text.ends_with("\r\n\r\n") && head.read_line(&mut text).unwrap() > 0 {}
        stream.write_all(answer).unwrap();
        asked.send(text).unwrap();
        // Held open until the test is over: only the head may be waited for.
        let _ = head.read_to_string(&mut String::new());
    });
    (address, request)
}

#[tokio::test]
async fn a_url_is_ready_at_200_before_its_body_has_come() {
    let (address, request) = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    let url = format!("http://{address}/health?deep=1");
    http_ok(&url, LONG).await.unwrap();
    let request = request.recv().unwrap();
    assert!(
        request.starts_with("GET /health?deep=1 HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains(&format!("\r\nhost: {address}\r\n")),
        "{request}"
    );
}

#[tokio::test]
async fn a_url_that_is_not_ready_says_why() {
    let (address, _request) = answers(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
    let url = format!("http://{address}/");
    let why = http_ok(&url, LONG).await.unwrap_err();
    assert_eq!(
        why,
        format!("{url}: the answer is 503 Service Unavailable, not 200")
    );

    let (mute, mute_address) = bound();
    mute.listen(1).unwrap();
    let url = format!("http://{mute_address}");
    let why = http_ok(&url, Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(why, format!("{url}: no answer within 50ms"));

    let (address, _request) = answers(b"220 mail.example ESMTP\r\n\r\n");
    let why = http_ok(&format!("http://{address}/"), LONG)
        .await
        .unwrap_err();
    assert!(why.contains("invalid HTTP"), "{why}");

    for (url, text) in [
        ("https://x/", "not an http:// URL"),
        ("/health", "not an http:// URL"),
        ("http://me@x/", "it must name a host, and no user"),
        ("http:// /", "not a URL"),
    ] {
        let why = http_ok(url, LONG).await.unwrap_err();
        assert!(why.starts_with(&format!("{url}: {text}")), "{why}");
    }
}

#[tokio::test]
async fn a_head_without_end_is_given_up() {
    let (socket, address) = bound();
    socket.listen(1).unwrap();
    let endless = thread::spawn(move || {
        let (mut stream, _) = socket.accept().unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        // Ends when the client hangs up.
        while stream
            .write_all(b"X: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n")
            .is_ok()
        {}
    });
    http_ok(&format!("http://{address}/"), LONG)
        .await
        .unwrap_err();
    endless.join().unwrap();
}

// === In network namespaces ===

/// Kills a process that a failed test would leave behind.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The backend's port may be bound at any moment, whatever `look` has just done. Gives how often it
/// found itself.
fn looks_and_binds() -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], 40000));
    let mut found_itself = 0;
    for _ in 0..200 {
        let verdict = runtime.block_on(look(target(&[Destination::Tcp(address)], &[])));
        let Verdict::Down(down) = verdict else {
            panic!("{verdict:?}")
        };
        found_itself += usize::from(down.text.contains("connected to ourselves"));
        // No SO_REUSEADDR: a TIME_WAIT would be in the way.
        let backend = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        backend.bind(&address.into()).unwrap();
    }
    found_itself
}

#[test]
fn a_port_in_the_ephemeral_range_is_never_taken_from_its_backend() {
    // Two ports only: every other connect would find itself.
    let script = "echo 40000 40001 > /proc/sys/net/ipv4/ip_local_port_range";
    if inside(
        "a_port_in_the_ephemeral_range_is_never_taken_from_its_backend",
        script,
    ) {
        assert_eq!(looks_and_binds(), 0);
    }
}

#[test]
fn a_connect_that_finds_itself_gives_the_port_back_at_once() {
    // One port only: there is no other to connect from.
    let script = "echo 40000 40000 > /proc/sys/net/ipv4/ip_local_port_range";
    if inside(
        "a_connect_that_finds_itself_gives_the_port_back_at_once",
        script,
    ) {
        assert!(looks_and_binds() > 0, "the case did not arise");
    }
}

/// A backend that takes one client, and has a word for it.
fn serve_one() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket
        .bind(&SocketAddr::from(([0, 0, 0, 0], 7000)).into())
        .unwrap();
    socket.listen(1).unwrap();
    let (mut client, _) = socket.accept().unwrap();
    client.write_all(b"hello").unwrap();
}

#[test]
fn a_remote_backend_is_connected_to_once_it_no_longer_refuses() {
    if env::var(INSIDE).is_ok_and(|name| name == "the backend") {
        return serve_one();
    }
    if !inside(
        "a_remote_backend_is_connected_to_once_it_no_longer_refuses",
        "",
    ) {
        return;
    }
    let run = |command: &str| {
        assert!(
            Command::new("sh")
                .args(["-ec", command])
                .status()
                .unwrap()
                .success(),
            "{command}"
        );
    };
    // Another machine: a namespace that lives as long as this shell, which says when it is there.
    let mut other = Command::new("unshare")
        .args(["-n", "sh", "-c", "ip link set lo up; echo up; read gone"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map(Reaped)
        .unwrap();
    let mut line = String::new();
    BufReader::new(other.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "up\n");
    let pid = other.0.id();
    run(&format!(
        "ip link add near type veth peer name far netns {pid}"
    ));
    run("ip addr add 10.9.0.1/24 dev near; ip link set near up");
    let there = format!("nsenter -t {pid} -n");
    run(&format!(
        "{there} ip addr add 10.9.0.2/24 dev far; {there} ip link set far up"
    ));

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let destinations = [Destination::Tcp("10.9.0.2:7000".parse().unwrap())];
        assert_eq!(is_gone(&destinations[0]), None, "nobody here can know");
        let reason = Reason::default();
        let waiting = wait(target(&destinations, &[]), &reason);
        tokio::pin!(waiting);
        while reason.last().is_none() {
            assert!(
                timeout(Duration::from_millis(1), &mut waiting)
                    .await
                    .is_err()
            );
        }
        let refused = reason.last().unwrap();
        assert_eq!(
            refused.kind,
            std::io::ErrorKind::ConnectionRefused,
            "{refused}"
        );

        let backend = Command::new("nsenter")
            .args(["-t", &pid.to_string(), "-n"])
            .arg(env::current_exe().unwrap())
            .args([
                "--exact",
                "a_remote_backend_is_connected_to_once_it_no_longer_refuses",
            ])
            .env(INSIDE, "the backend")
            .stdout(Stdio::null())
            .spawn();
        let _backend = Reaped(backend.unwrap());
        let verdict = timeout(LONG, waiting).await.unwrap();
        let Verdict::Up {
            connection: Some(connection),
            ..
        } = verdict
        else {
            panic!("{verdict:?}")
        };
        // The one connection that this server takes is the one we were given.
        let stream = std::net::TcpStream::from(connection);
        stream.set_nonblocking(false).unwrap();
        let mut text = String::new();
        (&stream).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    });
}

#[test]
fn silent_and_unreachable_machines_are_not_up_yet_and_forbidden_ones_never_are() {
    let script = "ip link add net0 type veth peer name net1; ip link set net1 up; \
                  ip addr add 10.8.0.1/24 dev net0; ip link set net0 up; \
                  ip route add prohibit 10.6.0.7";
    if !inside(
        "silent_and_unreachable_machines_are_not_up_yet_and_forbidden_ones_never_are",
        script,
    ) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let kind = |address: &str| {
        let destinations = [Destination::Tcp(address.parse().unwrap())];
        let connect_timeout = Duration::from_millis(100);
        let target = Target {
            connect_timeout,
            ..target(&destinations, &[])
        };
        match runtime.block_on(look(target)) {
            Verdict::Down(down) => down.kind,
            other => panic!("{other:?}"),
        }
    };
    // A route that forbids it (EACCES); waiting does not change that.
    let forbidden = [Destination::Tcp("10.6.0.7:1".parse().unwrap())];
    let reason = Reason::default();
    let verdict = runtime
        .block_on(async { timeout(LONG, wait(target(&forbidden, &[]), &reason)).await })
        .unwrap();
    assert!(matches!(verdict, Verdict::Failed(_)), "{verdict:?}");
    assert_eq!(kind("10.8.0.7:1"), std::io::ErrorKind::TimedOut);
    assert_eq!(kind("10.7.0.7:1"), std::io::ErrorKind::NetworkUnreachable);
    // An address of this machine beside the loopback ones: the kernel is asked.
    assert_eq!(
        is_gone(&Destination::Tcp("10.8.0.1:1".parse().unwrap())),
        Some(true)
    );
}
