//! Two peers with a relay between them.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike},
};
use sleepingd::{
    model::{End, Outcome},
    relay::{Activity, Limits, Tuning, Word, relay_tuned},
    sys::{clock, net::Socket, stream::Stream},
};
use socket2::{Domain, SockAddr, SockRef, Type};
use tokio::sync::oneshot;

/// Nothing here takes as long; a test that hangs fails.
pub const HANGS: Duration = Duration::from_secs(20);

/// A peer, over TCP or a unix socket.
#[derive(Debug)]
pub enum Peer {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// How a relay is to be set up.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub client: Kind,
    pub backend: Kind,
    pub limits: Limits,
    pub tuning: Tuning,
}

/// A kind of connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Tcp,
    /// TCP with buffers of a few KiB in each direction.
    Narrow,
    /// TCP where only the peer's receive buffer is so small.
    Reluctant,
    Unix,
}

/// A relay that has not begun: what the peers do now, happens to a held client.
pub struct Ready {
    pub client: Peer,
    pub backend: Peer,
    ours: (OwnedFd, OwnedFd),
    setup: Setup,
}

/// A relay that runs.
pub struct Running {
    pub client: Peer,
    pub backend: Peer,
    activity: Activity,
    drain: oneshot::Sender<()>,
    relay: JoinHandle<(Outcome, Duration)>,
}

/// A relay whose peers the test has taken.
pub struct Watch {
    pub activity: Activity,
    /// Dropped, it does nothing.
    _drain: oneshot::Sender<()>,
    relay: JoinHandle<(Outcome, Duration)>,
}

/// Copying only, splicing from the first byte on, and as it comes.
pub fn tunings() -> [Tuning; 3] {
    let own = Tuning::default();
    [
        Tuning {
            promote_after: None,
            ..own
        },
        SPLICE,
        own,
    ]
}

/// Splicing from the first byte on, through the smallest pipe that is used.
pub const SPLICE: Tuning = Tuning {
    pipe_size: 64 * 1024,
    promote_after: Some(0),
    demote_below: 0,
};

// === impl Setup ===

impl Default for Setup {
    fn default() -> Self {
        Self {
            client: Kind::Tcp,
            backend: Kind::Tcp,
            limits: Limits::default(),
            tuning: Tuning::default(),
        }
    }
}

impl Setup {
    pub fn ready(self) -> Ready {
        let (client, to_client) = pair(self.client);
        let (backend, to_backend) = pair(self.backend);
        Ready {
            client,
            backend,
            ours: (to_client, to_backend),
            setup: self,
        }
    }

    pub fn run(self) -> Running {
        self.ready().run()
    }
}

// === impl Ready ===

impl Ready {
    pub fn run(self) -> Running {
        let Self {
            client,
            backend,
            ours,
            setup,
        } = self;
        let activity = Activity::new(clock::now());
        let (drain, drained) = oneshot::channel();
        let shared = activity.clone();
        let relay = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let outcome = runtime.unwrap().block_on(async {
                let [client, backend] =
                    [ours.0, ours.1].map(|fd| Stream::new(Socket::from_fd(fd).unwrap()).unwrap());
                let drain = Box::pin(async {
                    if drained.await.is_err() {
                        std::future::pending().await
                    }
                    Word::End(End::DrainTimeout)
                });
                relay_tuned(client, backend, setup.limits, setup.tuning, drain, shared).await
            });
            (outcome, thread_cpu())
        });
        Running {
            client,
            backend,
            activity,
            drain,
            relay,
        }
    }
}

// === impl Running ===

impl Running {
    /// Gives the peers away, so that each can be closed or moved to a thread.
    pub fn split(self) -> (Peer, Peer, Watch) {
        let Self {
            client,
            backend,
            activity,
            drain,
            relay,
        } = self;
        (
            client,
            backend,
            Watch {
                activity,
                _drain: drain,
                relay,
            },
        )
    }

    /// Ends the relay as DRAIN_TIMEOUT does.
    pub fn drain(self) -> (Peer, Peer, Outcome) {
        self.drain.send(()).unwrap();
        (self.client, self.backend, self.relay.join().unwrap().0)
    }
}

impl Watch {
    /// Waits until the relay has ended by itself.
    pub fn outcome(self) -> Outcome {
        self.outcome_and_cpu().0
    }

    /// The same, and what the relay's thread has used of the processor.
    pub fn outcome_and_cpu(self) -> (Outcome, Duration) {
        self.relay.join().unwrap()
    }
}

// === impl Peer ===

impl Peer {
    pub fn new(fd: OwnedFd, tcp: bool) -> Self {
        SockRef::from(&fd).set_read_timeout(Some(HANGS)).unwrap();
        SockRef::from(&fd).set_write_timeout(Some(HANGS)).unwrap();
        if tcp {
            Self::Tcp(fd.into())
        } else {
            Self::Unix(fd.into())
        }
    }

    pub fn sock(&self) -> SockRef<'_> {
        match self {
            Self::Tcp(stream) => SockRef::from(stream),
            Self::Unix(stream) => SockRef::from(stream),
        }
    }

    pub fn try_clone(&self) -> Self {
        match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone().unwrap()),
            Self::Unix(stream) => Self::Unix(stream.try_clone().unwrap()),
        }
    }

    /// FIN.
    pub fn end(&self) {
        self.sock().shutdown(Shutdown::Write).unwrap();
    }

    /// RST, when the other end has what was sent: a reset throws away what is on its way.
    pub fn reset(self) {
        let fd: OwnedFd = match self {
            Self::Tcp(stream) => stream.into(),
            Self::Unix(stream) => stream.into(),
        };
        let socket = Socket::from_fd(fd).unwrap();
        while socket.unacknowledged().unwrap() > 0 {
            thread::yield_now();
        }
        socket.reset_on_close().unwrap();
    }

    /// RST at once.
    pub fn abort(self) {
        self.sock().set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub fn say(&mut self, bytes: &[u8]) {
        self.write_all(bytes).unwrap();
    }

    /// Exactly so many bytes.
    pub fn hear(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// All until FIN.
    pub fn hear_all(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// All until the connection fails, and how it does.
    pub fn hear_until_failure(&mut self) -> (Vec<u8>, io::ErrorKind) {
        let mut bytes = Vec::new();
        let error = self
            .read_to_end(&mut bytes)
            .expect_err("a reset came as a clean end");
        (bytes, error.kind())
    }

    /// Writes until no byte has been taken for a good while: every buffer on the way is full.
    /// What was written.
    pub fn fill(&mut self) -> Vec<u8> {
        self.sock()
            .set_write_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let mut written = 0;
        let bytes = noise(64 << 20, 7);
        loop {
            match self.write(&bytes[written..]) {
                Ok(len) => written += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        self.sock().set_write_timeout(Some(HANGS)).unwrap();
        bytes[..written].to_vec()
    }
}

impl Read for Peer {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buf),
            Self::Unix(stream) => stream.read(buf),
        }
    }
}

impl Write for Peer {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buf),
            Self::Unix(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn thread_cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).unwrap();
    let time = |time: TimeVal| Duration::from_micros(time.num_microseconds().unsigned_abs());
    time(usage.user_time()) + time(usage.system_time())
}

/// A connection: the peer's end and ours.
pub fn pair(kind: Kind) -> (Peer, OwnedFd) {
    if kind == Kind::Unix {
        let (peer, ours) = UnixStream::pair().unwrap();
        return (Peer::new(peer.into(), false), ours.into());
    }
    let open = || socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let (listener, peer) = (open(), open());
    if kind == Kind::Narrow {
        for socket in [&listener, &peer] {
            socket.set_recv_buffer_size(4096).unwrap();
            socket.set_send_buffer_size(4096).unwrap();
        }
    }
    if kind == Kind::Reluctant {
        peer.set_recv_buffer_size(4096).unwrap();
    }
    let any: SockAddr = "127.0.0.1:0"
        .parse::<std::net::SocketAddr>()
        .unwrap()
        .into();
    listener.bind(&any).unwrap();
    listener.listen(1).unwrap();
    peer.connect(&listener.local_addr().unwrap()).unwrap();
    peer.set_tcp_nodelay(true).unwrap();
    let (ours, _) = listener.accept().unwrap();
    (Peer::new(peer.into(), true), ours.into())
}

/// Bytes of which no two stretches are alike.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// `assert_eq` that does not print megabytes.
#[track_caller]
pub fn assert_same(got: &[u8], sent: &[u8]) {
    assert_eq!(got.len(), sent.len(), "length");
    let differs = got.iter().zip(sent).position(|(a, b)| a != b);
    assert_eq!(differs, None, "first byte that differs");
}
