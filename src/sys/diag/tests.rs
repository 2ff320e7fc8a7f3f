use std::{
    net::IpAddr,
    os::unix::net::{UnixListener, UnixStream},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::*;

/// A bound socket, not listening yet.
fn bound(address: &str, only_v6: bool) -> (Socket, u16) {
    let address: SocketAddr = address.parse().unwrap();
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).unwrap();
    if domain == Domain::IPV6 {
        socket.set_only_v6(only_v6).unwrap();
    }
    socket.bind(&address.into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

fn found(address: (&str, u16)) -> bool {
    let ip: IpAddr = address.0.parse().unwrap();
    Diag::open()
        .unwrap()
        .tcp(SocketAddr::new(ip, address.1))
        .unwrap()
        .is_some()
}

#[test]
fn a_listener_is_found_once_it_listens_and_not_before() {
    let (socket, port) = bound("127.0.0.1:0", false);
    let mut diag = Diag::open().unwrap();
    let address = ([127, 0, 0, 1], port).into();
    assert_eq!(diag.tcp(address).unwrap(), None, "bound is not listening");
    socket.listen(1).unwrap();
    let listener = diag.tcp(address).unwrap().unwrap();
    let inode = nix::sys::stat::fstat(&socket).unwrap().st_ino;
    assert_eq!(u64::from(listener.inode), inode);
    assert_eq!(listener.uid, Some(nix::unistd::geteuid().as_raw()));
    drop(socket);
    assert_eq!(diag.tcp(address).unwrap(), None, "closed");
}

#[test]
fn wildcard_and_dual_stack_listeners_are_found_at_every_address_they_serve() {
    let (wildcard, port) = bound("0.0.0.0:0", false);
    wildcard.listen(1).unwrap();
    assert!(found(("127.0.0.1", port)) && found(("127.0.0.9", port)));
    assert!(!found(("::1", port)));

    let (dual, port) = bound("[::]:0", false);
    dual.listen(1).unwrap();
    assert!(found(("::1", port)) && found(("127.0.0.1", port)));
    assert!(found(("::ffff:127.0.0.1", port)));

    let (v6, port) = bound("[::]:0", true);
    v6.listen(1).unwrap();
    assert!(found(("::1", port)) && !found(("127.0.0.1", port)));

    let (one, port) = bound("127.0.0.1:0", false);
    one.listen(1).unwrap();
    assert!(!found(("127.0.0.2", port)));
}

#[test]
fn a_unix_listener_is_found_by_its_file_whatever_the_path_looks_like() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let mut diag = Diag::open().unwrap();
    assert_eq!(diag.unix(&path).unwrap(), None, "nothing there");
    let listener = UnixListener::bind(&path).unwrap();
    let inode = nix::sys::stat::fstat(&listener).unwrap().st_ino;
    assert_eq!(
        diag.unix(&path).unwrap().map(|l| u64::from(l.inode)),
        Some(inode)
    );
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(diag.unix(&link).unwrap().is_some());

    // The file of a dead listener, and a path that somebody else has taken meanwhile.
    let moved = directory.path().join("old");
    std::fs::rename(&path, &moved).unwrap();
    let taken = UnixListener::bind(&path).unwrap();
    drop(taken);
    assert_eq!(diag.unix(&path).unwrap(), None);
    assert!(diag.unix(&moved).unwrap().is_some());
}

#[test]
fn a_unix_socket_with_clients_only_is_not_a_listener() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let _client = UnixStream::connect(&path).unwrap();
    let (_served, _) = listener.accept().unwrap();
    drop(listener);
    assert_eq!(Diag::open().unwrap().unix(&path).unwrap(), None);
}

#[test]
fn a_long_list_of_listeners_is_read_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = |n: usize| directory.path().join(format!("{n}-{}", "x".repeat(60)));
    let _many: Vec<_> = (0..600)
        .map(|n| UnixListener::bind(path(n)).unwrap())
        .collect();
    let mut diag = Diag::open().unwrap();
    for n in [0, 299, 599] {
        assert!(diag.unix(&path(n)).unwrap().is_some(), "{n}");
    }
    // Nothing is left over for the next question.
    let (socket, port) = bound("127.0.0.1:0", false);
    socket.listen(1).unwrap();
    assert!(diag.tcp(([127, 0, 0, 1], port).into()).unwrap().is_some());
}

#[test]
fn a_protocol_that_the_kernel_does_not_know_is_told_from_an_empty_list() {
    let mut diag = Diag::open().unwrap();
    let mut request = inet_request(&([0, 0, 0, 0], 0).into(), 0);
    request[1] = 254; // RFC 3692: for experiments, so nobody's.
    let error = diag.ask(&request, libc::NLM_F_DUMP, |_| ()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
}

#[test]
fn a_truncated_reply_is_no_reply() {
    assert!(Reply::split(&[]).is_none());
    assert!(Reply::split(&[200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_none());
    assert!(Reply::split(&[3; 15]).is_none());
    assert_eq!(inet_listener(&[2, LISTEN, 0]), None);
}

#[test]
fn an_end_is_held_open_until_it_is_closed_though_its_bytes_are_still_on_their_way() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (listener, port) = bound(address, true);
        listener.listen(1).unwrap();
        let at = SocketAddr::new(address.parse::<SocketAddr>().unwrap().ip(), port);
        let ours = std::net::TcpStream::connect(at).unwrap();
        let mut theirs = listener.accept().unwrap().0;
        let us = ours.local_addr().unwrap();
        let mut diag = Diag::open().unwrap();
        assert!(diag.holds_open(at, us).unwrap());
        theirs.set_nonblocking(true).unwrap();
        while std::io::Write::write(&mut theirs, &[0; 65536]).is_ok() {}
        assert!(diag.holds_open(at, us).unwrap());
        drop(theirs);
        assert!(!diag.holds_open(at, us).unwrap(), "{address}");
        // Nobody has such an end; there is a listener at its address.
        let nobody = SocketAddr::new(us.ip(), 1);
        assert!(!diag.holds_open(at, nobody).unwrap());
    }
}
