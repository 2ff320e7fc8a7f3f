//! Backends and clients.

use std::{
    collections::HashSet,
    fs,
    io::{self, Read, Write},
    net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};

use super::{PATIENCE, tcp_socket};

/// A listening socket of the test's. Dropped, it refuses.
pub struct Backend {
    pub addr: SocketAddr,
    listener: TcpListener,
}

/// A backend that answers by itself. Dropped, it refuses.
pub struct Server {
    /// How many it has accepted.
    accepted: Arc<AtomicU32>,
    listener: Arc<TcpListener>,
    thread: Option<thread::JoinHandle<()>>,
}

// === impl Backend ===

impl Backend {
    /// Listens there; the test accepts.
    #[track_caller]
    pub fn at(addr: SocketAddr) -> Self {
        listen(addr).into()
    }

    /// The next connection.
    #[track_caller]
    pub fn accept(&self) -> TcpStream {
        let (stream, _) = self
            .listener
            .accept()
            .expect("a connection from the daemon");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Nobody has connected by now.
    #[track_caller]
    pub fn nobody_came(&self) {
        self.listener.set_nonblocking(true).unwrap();
        let came = self.listener.accept();
        self.listener.set_nonblocking(false).unwrap();
        assert!(came.is_err(), "somebody connected: {came:?}");
    }
}

impl From<TcpListener> for Backend {
    fn from(listener: TcpListener) -> Self {
        // accept(2) obeys SO_RCVTIMEO.
        SockRef::from(&listener)
            .set_read_timeout(Some(PATIENCE))
            .unwrap();
        let addr = listener.local_addr().unwrap();
        Self { addr, listener }
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // Closing is not enough: a program that another test starts in this moment has it too,
        // until it is executed.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
    }
}

#[track_caller]
fn listen(addr: SocketAddr) -> TcpListener {
    let socket = tcp_socket(addr.ip());
    socket.bind(&addr.into()).unwrap();
    socket.listen(4096).unwrap();
    socket.into()
}

// === impl Server ===

impl Server {
    /// Sends this to whoever connects, and closes.
    pub fn greeting(addr: SocketAddr, text: &'static str) -> Self {
        Self::with(addr, move |mut stream| {
            // The client may have gone.
            let _ = stream.write_all(text.as_bytes());
        })
    }

    /// The same, at an address that nobody may have had a connection at: a TIME_WAIT is in its way.
    #[track_caller]
    pub fn without_reuse(addr: SocketAddr, text: &'static str) -> Self {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).unwrap();
        socket.bind(&addr.into()).expect("the port is its own");
        socket.listen(10).unwrap();
        Self::of(socket.into(), move |mut stream| {
            stream.write_all(text.as_bytes()).unwrap();
            // Whoever ends first is left with the TIME_WAIT.
            while matches!(stream.read(&mut [0]), Ok(1..)) {}
        })
    }

    /// Answers what it is sent, once that has ended, with the same in capitals.
    pub fn shouting(addr: SocketAddr) -> Self {
        Self::with(addr, |mut stream| {
            thread::spawn(move || {
                let mut said = String::new();
                if stream.read_to_string(&mut said).is_ok() {
                    let _ = stream.write_all(said.to_uppercase().as_bytes());
                }
            });
        })
    }

    /// Does this with each connection, one after the other.
    pub fn with(addr: SocketAddr, serve: impl FnMut(TcpStream) + Send + 'static) -> Self {
        Self::of(listen(addr), serve)
    }

    fn of(listener: TcpListener, mut serve: impl FnMut(TcpStream) + Send + 'static) -> Self {
        let listener = Arc::new(listener);
        let accepted = Arc::new(AtomicU32::new(0));
        let thread = thread::spawn({
            let (listener, accepted) = (Arc::clone(&listener), Arc::clone(&accepted));
            move || {
                // Until it is shut down.
                while let Ok((stream, _)) = listener.accept() {
                    accepted.fetch_add(1, Ordering::Relaxed);
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    serve(stream);
                }
            }
        });
        Self {
            accepted,
            listener,
            thread: Some(thread),
        }
    }

    pub fn count(&self) -> u32 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It listens no more; accept(2) fails.
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A port that is free on all addresses. Beyond those that the kernel gives to clients.
pub fn wildcard_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let turn = std::process::id().wrapping_mul(7) + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 61_000 + u16::try_from(turn % 4_000).unwrap();
        // It does not listen, for the reason of `Stage::address`.
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        if tcp_socket(any.ip()).bind(&any.into()).is_ok() {
            return port;
        }
    }
}

/// Connections of this address in this state, one of /proc/net/tcp: `08` is CLOSE_WAIT.
pub fn in_state(local: SocketAddr, state: &str) -> usize {
    let SocketAddr::V4(local) = local else {
        unreachable!("stages are on 127.*")
    };
    let ip = u32::from_ne_bytes(local.ip().octets());
    let local = format!("{ip:08X}:{:04X}", local.port());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    // It is read in parts, and some rows are in two of them.
    let mut remotes = HashSet::new();
    for row in table.lines() {
        let mut words = row.split_ascii_whitespace().skip(1);
        let (at, remote, now) = (words.next(), words.next(), words.next());
        if at == Some(&local) && now == Some(state) {
            remotes.insert(remote);
        }
    }
    remotes.len()
}

#[test]
fn a_backend_that_is_dropped_refuses_though_another_program_has_its_socket_still() {
    let stage = super::Stage::new();
    let backend = Backend::at(stage.address());
    let addr = backend.addr;
    let _other = backend.listener.try_clone().unwrap();
    drop(backend);
    let refused = try_connect(None, addr).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

// === clients ===

#[track_caller]
pub fn connect(addr: SocketAddr) -> TcpStream {
    try_connect(None, addr).expect("the daemon listens")
}

/// From an address of its own.
#[track_caller]
pub fn connect_from(source: [u8; 4], addr: SocketAddr) -> TcpStream {
    try_connect(Some(source), addr).expect("the daemon listens")
}

/// The same; `None`: it was reset before connect(2) had returned.
#[track_caller]
pub fn knock_from(source: [u8; 4], addr: SocketAddr) -> Option<TcpStream> {
    match try_connect(Some(source), addr) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => None,
        connected => Some(connected.expect("the daemon listens")),
    }
}

fn try_connect(source: Option<[u8; 4]>, addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    if let Some(source) = source {
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    socket.connect(&addr.into())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// A client is reset as soon as it comes, which it may see when it connects or when it reads.
#[track_caller]
pub fn is_turned_away(addr: SocketAddr) {
    turned_away(try_connect(None, addr));
}

/// The same, from an address of its own.
#[track_caller]
pub fn is_turned_away_from(source: [u8; 4], addr: SocketAddr) {
    turned_away(try_connect(Some(source), addr));
}

#[track_caller]
fn turned_away(connected: io::Result<TcpStream>) {
    match connected {
        Ok(stream) => is_reset(stream),
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {}
        Err(e) => panic!("not reset: {e}"),
    }
}

/// All that comes until the end.
#[track_caller]
pub fn rest(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    text
}

/// A client that connects, sends nothing, and reads what comes.
#[track_caller]
pub fn fetch(addr: SocketAddr) -> String {
    rest(&mut connect(addr))
}

/// So many bytes.
#[track_caller]
pub fn take(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).expect("as many bytes");
    bytes
}

/// It is reset, having sent nothing more.
#[track_caller]
pub fn is_reset(mut stream: TcpStream) {
    let mut byte = [0];
    match stream.read(&mut byte) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {}
        other => panic!("not reset: {other:?}"),
    }
}

/// Closes with a reset.
pub fn reset(stream: TcpStream) {
    SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Nothing has come by now.
#[track_caller]
pub fn is_silent(stream: &TcpStream) {
    stream.set_nonblocking(true).unwrap();
    let mut byte = [0];
    let peeked = stream.peek(&mut byte);
    stream.set_nonblocking(false).unwrap();
    match peeked {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
        other => panic!("not silent: {other:?}"),
    }
}
