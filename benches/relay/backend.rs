//! The other end of every connection: one process, one thread, as little work as can be.
//!
//! The first byte of a connection says what it is for, and is sent back as soon as it is there, so
//! that whoever sent it knows that the whole way is open.

use std::{
    env,
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        socket::{MsgFlags, recv, send},
    },
};
use socket2::{Domain, Socket, Type};

use crate::{Result, common::clock::now, order::LIMIT, roles};

/// The first argument of this role; the others are the addresses to listen on.
pub const ROLE: &str = "play-backend";

/// What is written at once, and read at most.
pub const CHUNK: usize = 256 * 1024;

/// Connections taken before those that are there are looked at again.
const ACCEPTS: usize = 16;

/// What a source hears when its client has had enough.
const ENDED: EpollFlags = EpollFlags::EPOLLIN.union(EpollFlags::EPOLLHUP);

/// More than that is a mistake.
const MOST_CONNECTIONS: usize = 65_536;

/// What a connection is for: its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// Send back what comes.
    Echo = b'e',
    /// The same; and nothing is left of the connection in the kernel once it is closed, as there
    /// would be for a minute otherwise.
    EchoTraceless = b't',
    /// Send, as much as will go.
    Source = b's',
    /// Receive, as much as comes.
    Sink = b'k',
    /// For each byte say how many bytes the sinks have received, and when that was.
    Count = b'c',
}

/// An answer to a byte of [`Purpose::Count`].
#[derive(Debug, Clone, Copy)]
pub struct Received {
    /// Bytes, in all sinks, ever.
    pub bytes: u64,
    /// Nanoseconds of CLOCK_MONOTONIC.
    pub at: u64,
}

struct Server {
    epoll: Epoll,
    /// By descriptor.
    slots: Vec<Slot>,
    buffer: Vec<u8>,
    received: u64,
}

enum Slot {
    Empty,
    Listener(Socket),
    Connection(Connection),
}

struct Connection {
    socket: Socket,
    /// Unknown until its first byte.
    purpose: Option<Purpose>,
}

/// Whether a connection goes on.
#[derive(PartialEq, Eq)]
enum After {
    Open,
    Closed,
}

/// Plays it, if this process has this role.
pub fn play() -> Option<Result<()>> {
    let mut arguments = env::args().skip(1);
    (arguments.next()? == ROLE).then(|| {
        roles::end_with_parent()?;
        let mut server = Server::new()?;
        for address in arguments {
            server.listen(address.parse()?)?;
        }
        server.serve()
    })
}

// === impl Server ===

impl Server {
    fn new() -> Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            slots: Vec::new(),
            buffer: vec![0x55; CHUNK],
            received: 0,
        })
    }

    fn listen(&mut self, address: SocketAddr) -> Result<()> {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        listener.set_reuse_address(true)?;
        // Accepted sockets have it from here.
        listener.set_tcp_nodelay(true)?;
        listener.set_write_timeout(Some(LIMIT))?;
        listener.bind(&address.into())?;
        listener.listen(4096)?;
        listener.set_nonblocking(true)?;
        self.keep(listener, Slot::Listener)
    }

    /// Keeps a socket, and will be told when there is something to read.
    fn keep(&mut self, socket: Socket, slot: impl FnOnce(Socket) -> Slot) -> Result<()> {
        let number = usize::try_from(socket.as_raw_fd())?;
        if number >= MOST_CONNECTIONS {
            return Err("too many connections".into());
        }
        let interest = EpollEvent::new(EpollFlags::EPOLLIN, number as u64);
        self.epoll.add(&socket, interest)?;
        if self.slots.len() <= number {
            self.slots.resize_with(number + 1, || Slot::Empty);
        }
        self.slots[number] = slot(socket);
        Ok(())
    }

    fn serve(mut self) -> Result<()> {
        let mut events = [EpollEvent::empty(); 128];
        loop {
            let ready = match self.epoll.wait(&mut events, EpollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            for event in &events[..ready] {
                let number = usize::try_from(event.data())?;
                if matches!(self.slots[number], Slot::Listener(_)) {
                    self.accept(number)?;
                } else if self.step(number, event.events())? == After::Closed {
                    // Closing takes it out of the epoll.
                    self.slots[number] = Slot::Empty;
                }
            }
        }
    }

    fn accept(&mut self, listener: usize) -> Result<()> {
        for _ in 0..ACCEPTS {
            let Slot::Listener(listener) = &self.slots[listener] else {
                return Ok(());
            };
            let socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                // It is gone already.
                Err(e) if e.kind() == ErrorKind::ConnectionAborted => continue,
                Err(e) => return Err(e.into()),
            };
            self.keep(socket, |socket| {
                Slot::Connection(Connection {
                    socket,
                    purpose: None,
                })
            })?;
        }
        Ok(())
    }

    fn step(&mut self, number: usize, events: EpollFlags) -> Result<After> {
        let Slot::Connection(connection) = &mut self.slots[number] else {
            return Err("an event of nobody".into());
        };
        match connection.purpose {
            None => connection.begin(&self.epoll),
            Some(Purpose::Source) if !events.intersects(ENDED) => connection.pour(&self.buffer),
            Some(purpose) => connection.take(purpose, &mut self.buffer, &mut self.received),
        }
    }
}

// === impl Connection ===

impl Connection {
    fn begin(&mut self, epoll: &Epoll) -> Result<After> {
        let mut first = [0];
        if !matches!(self.socket.read(&mut first), Ok(1)) {
            return Ok(After::Closed);
        }
        let purpose = Purpose::of(first[0]).ok_or("a connection for nothing")?;
        self.purpose = Some(purpose);
        if self.socket.write_all(&first).is_err() {
            return Ok(After::Closed);
        }
        if purpose == Purpose::EchoTraceless {
            self.socket.set_linger(Some(Duration::ZERO))?;
        }
        if purpose == Purpose::Source {
            let both = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT;
            let number = self.socket.as_raw_fd() as u64;
            epoll.modify(self.socket.as_fd(), &mut EpollEvent::new(both, number))?;
        }
        Ok(After::Open)
    }

    /// As a source.
    fn pour(&self, bytes: &[u8]) -> Result<After> {
        match send(self.socket.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT) {
            // Whether it has gone is the client's to say.
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => Ok(After::Open),
            Err(_) => Ok(After::Closed),
        }
    }

    /// Takes what there is, and does with it what it is for.
    fn take(&mut self, purpose: Purpose, buffer: &mut [u8], received: &mut u64) -> Result<After> {
        let flags = match purpose {
            // What comes is counted, and not copied: the relay is to be measured.
            Purpose::Sink => MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC,
            _ => MsgFlags::MSG_DONTWAIT,
        };
        let count = match recv(self.socket.as_raw_fd(), buffer, flags) {
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(After::Open),
            // However it ends.
            Ok(0) | Err(_) => return Ok(After::Closed),
            Ok(count) => count,
        };
        let answered = match purpose {
            Purpose::Echo | Purpose::EchoTraceless => self.socket.write_all(&buffer[..count]),
            Purpose::Count => self.socket.write_all(&Received::now(*received).bytes()),
            Purpose::Sink => {
                *received += count as u64;
                Ok(())
            }
            Purpose::Source => Ok(()),
        };
        match answered {
            Ok(()) => Ok(After::Open),
            Err(_) => Ok(After::Closed),
        }
    }
}

// === impl Purpose ===

impl Purpose {
    fn of(byte: u8) -> Option<Self> {
        let all = [
            Self::Echo,
            Self::EchoTraceless,
            Self::Source,
            Self::Sink,
            Self::Count,
        ];
        all.into_iter().find(|purpose| *purpose as u8 == byte)
    }
}

// === impl Received ===

impl Received {
    /// As many bytes as an answer has.
    pub const SIZE: usize = 16;

    fn now(bytes: u64) -> Self {
        let at = now().as_nanos() as u64;
        Self { bytes, at }
    }

    /// As it is sent.
    pub fn bytes(self) -> [u8; Self::SIZE] {
        let both = u128::from(self.bytes) << 64 | u128::from(self.at);
        both.to_be_bytes()
    }

    /// As it was sent.
    pub fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self {
            bytes: (both >> 64) as u64,
            at: both as u64,
        }
    }
}
