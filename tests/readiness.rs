//! Finding backends: real listeners, and network namespaces where one machine is not enough.
#![allow(clippy::unwrap_used)] // The helpers are as much tests as the tests.

#[path = "readiness/found.rs"]
mod found;
#[path = "readiness/url.rs"]
mod url;

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use sleepingd::{
    model::Destination,
    readiness::{Reason, Target, Verdict, is_gone, look, wait},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::timeout;

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
