use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    thread,
    time::Duration,
};

use nix::fcntl::{FcntlArg, fcntl};
use socket2::SockRef;

use super::{
    options::{KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES},
    *,
};
use crate::model::{ClientAddr, ListenAddr};

fn loopback() -> ListenSocket {
    ListenSocket::bind(&ListenAddr::Tcp("127.0.0.1:0".parse().unwrap())).unwrap()
}

fn port(socket: &ListenSocket) -> u16 {
    socket.listen_addr().unwrap().port().unwrap()
}

/// The client that is on its way: its connect has returned, so it is there at once or soon.
fn accept(socket: &ListenSocket) -> (Socket, ClientAddr) {
    loop {
        match socket.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::yield_now(),
            done => {
                let accepted = done.unwrap();
                return (accepted.socket, accepted.client);
            }
        }
    }
}

fn assert_flags(fd: impl AsFd) {
    let fd = fd.as_fd();
    assert_eq!(
        fcntl(fd, FcntlArg::F_GETFD).unwrap() & libc::FD_CLOEXEC,
        libc::FD_CLOEXEC
    );
    assert_eq!(
        fcntl(fd, FcntlArg::F_GETFL).unwrap() & libc::O_NONBLOCK,
        libc::O_NONBLOCK
    );
}

fn why(refused: io::Result<ListenSocket>) -> NotAListener {
    let error = refused.unwrap_err();
    *error
        .get_ref()
        .and_then(|inner| inner.downcast_ref())
        .unwrap()
}

#[test]
fn only_listening_streams_are_taken() {
    let datagram = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_eq!(
        why(ListenSocket::from_fd(datagram.into())),
        NotAListener::NotStream
    );
    let (connected, _peer) = UnixStream::pair().unwrap();
    assert_eq!(
        why(ListenSocket::from_fd(connected.into())),
        NotAListener::NotListening
    );
    let file = OwnedFd::from(tempfile::tempfile().unwrap());
    let error = ListenSocket::from_fd(file).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOTSOCK));
}

#[test]
fn an_inherited_listener_is_made_nonblocking_and_closed_on_exec() {
    let socket = socket2::Socket::new_raw(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
        .unwrap();
    socket.listen(1).unwrap();
    let listener = ListenSocket::from_fd(socket.into()).unwrap();
    assert_flags(&listener);
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn accepted_sockets_have_what_their_listener_has() {
    // Six system calls a client are saved by it, so it must be true.
    let listener = loopback();
    let peer = TcpStream::connect(("127.0.0.1", port(&listener))).unwrap();
    let (socket, client) = accept(&listener);
    assert_flags(&socket);
    let sock = SockRef::from(&socket);
    assert!(sock.tcp_nodelay().unwrap());
    assert!(sock.keepalive().unwrap());
    assert!(sock.out_of_band_inline().unwrap());
    assert_eq!(sock.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
    assert_eq!(sock.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
    assert_eq!(sock.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
    assert_eq!(client, ClientAddr::tcp(peer.local_addr().unwrap()));
    assert_eq!(
        socket.local_addr().unwrap(),
        LocalAddr::tcp(peer.peer_addr().unwrap())
    );
}

#[test]
fn clients_that_came_before_an_inherited_listener_was_tuned_have_what_later_ones_have() {
    let socket = socket2::Socket::new_raw(Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
        .unwrap();
    socket.listen(2).unwrap();
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    // Their sockets are made, with the listener's options of this moment, before anybody accepts.
    let _early = [(); 2].map(|()| TcpStream::connect(addr).unwrap());
    let listener = ListenSocket::from_fd(socket.into()).unwrap();
    for _ in 0..2 {
        let (client, _) = accept(&listener);
        let sock = SockRef::from(&client);
        assert!(sock.tcp_nodelay().unwrap());
        assert!(sock.out_of_band_inline().unwrap());
        assert_eq!(sock.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
    }
}

#[test]
fn a_connection_of_ours_has_the_same_when_it_lasts() {
    let listener = loopback();
    let addr = ([127, 0, 0, 1], port(&listener)).into();
    let socket = Socket::begin_connect(addr, First::Anybody).unwrap();
    while !socket.is_connected(addr).unwrap() {}
    socket.make_lasting().unwrap();
    assert_flags(&socket);
    let sock = SockRef::from(&socket);
    assert!(sock.tcp_nodelay().unwrap());
    assert!(sock.keepalive().unwrap());
    assert!(sock.out_of_band_inline().unwrap());
    assert_eq!(sock.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
    assert_eq!(sock.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
    assert_eq!(sock.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
}

#[test]
fn a_bare_port_serves_both_families_and_shows_ipv4_as_ipv4() {
    let listener = ListenSocket::bind(&ListenAddr::Any(0)).unwrap();
    let port = port(&listener);
    assert_eq!(listener.listen_addr().unwrap(), ListenAddr::Any(port));
    for ip in ["127.0.0.1", "::1"] {
        let peer = TcpStream::connect((ip, port)).unwrap();
        let (socket, client) = accept(&listener);
        assert_eq!(client.ip().unwrap(), ip.parse::<IpAddr>().unwrap());
        assert_eq!(
            socket.local_addr().unwrap(),
            LocalAddr::Tcp(peer.peer_addr().unwrap())
        );
    }
}

#[test]
fn an_ipv6_address_that_is_written_out_leaves_ipv4_alone() {
    let any6 = ListenSocket::bind(&ListenAddr::Tcp("[::]:0".parse().unwrap())).unwrap();
    let port = port(&any6);
    assert_eq!(
        any6.listen_addr().unwrap(),
        ListenAddr::Tcp(([0; 8], port).into())
    );
    assert!(SockRef::from(&any6).only_v6().unwrap());
}

#[test]
fn wildcards_of_a_port_serve_the_bare_port() {
    let serves = |own: &str, asked: fn(u16) -> ListenAddr| {
        let socket = ListenSocket::bind(&ListenAddr::Tcp(own.parse().unwrap())).unwrap();
        socket.serves(&asked(port(&socket))).unwrap()
    };
    assert!(serves("0.0.0.0:0", ListenAddr::Any));
    assert!(serves("[::]:0", ListenAddr::Any));
    assert!(serves("127.0.0.1:0", |port| ListenAddr::Tcp(
        ([127, 0, 0, 1], port).into()
    )));
    assert!(!serves("127.0.0.1:0", ListenAddr::Any));
    assert!(!serves("127.0.0.1:0", |port| ListenAddr::Tcp(
        ([0; 4], port).into()
    )));
    assert!(!serves("0.0.0.0:0", |port| ListenAddr::Any(port ^ 1)));
}

#[test]
fn a_restart_does_not_wait_for_the_last_connections() {
    let listener = loopback();
    let addr = listener.listen_addr().unwrap();
    let peer = TcpStream::connect(("127.0.0.1", port(&listener))).unwrap();
    // We close first, so TIME_WAIT is ours.
    drop(accept(&listener));
    drop((listener, peer));
    assert_eq!(
        ListenSocket::bind(&addr).unwrap().listen_addr().unwrap(),
        addr
    );
}

#[test]
fn a_stale_unix_socket_is_replaced_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("service.sock");
    let addr = ListenAddr::Unix(path.clone());
    let first = ListenSocket::bind(&addr).unwrap();
    assert_eq!(first.listen_addr().unwrap(), addr);
    let mode =
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o7777, 0o666, "everybody may connect");
    let taken = ListenSocket::bind(&addr).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse, "somebody listens there");
    drop(first);
    let second = ListenSocket::bind(&addr).unwrap();
    let _peer = UnixStream::connect(&path).unwrap();
    let (socket, client) = accept(&second);
    assert_flags(&socket);
    assert_eq!(client, ClientAddr::Unix);
    assert_eq!(socket.local_addr().unwrap(), LocalAddr::Unix(path));
    assert_eq!(socket.peer_addr().unwrap(), None);

    let file: PathBuf = dir.path().join("precious");
    std::fs::write(&file, "data").unwrap();
    let kept = ListenSocket::bind(&ListenAddr::Unix(file.clone())).unwrap_err();
    assert_eq!(kept.kind(), ErrorKind::AddrInUse);
    assert_eq!(std::fs::read(&file).unwrap(), b"data");
}

#[test]
fn a_glance_reads_nothing_and_takes_no_error() {
    let listener = loopback();
    let peer = TcpStream::connect(("127.0.0.1", port(&listener))).unwrap();
    let (socket, _) = accept(&listener);
    let quiet = Glance {
        data: false,
        ended: false,
        dead: false,
    };
    assert_eq!(socket.glance().unwrap(), quiet);
    SockRef::from(&peer).send(b"12345").unwrap();
    while !socket.glance().unwrap().data {
        thread::yield_now();
    }
    assert_eq!(socket.pending_input().unwrap(), 5);
    SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(peer);
    while !socket.glance().unwrap().dead {
        thread::yield_now();
    }
    let mut buffer = [0; 10];
    assert_eq!(
        socket.recv(&mut buffer).unwrap(),
        5,
        "a reset takes no byte away"
    );
    let error = socket.recv(&mut buffer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(
        socket.recv(&mut buffer).unwrap(),
        0,
        "the kernel tells it once"
    );
}
