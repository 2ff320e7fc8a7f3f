//! The other end of every connection: one process, one thread, as little work as can be.
//!
//! The first byte of a connection says what it is for, and is sent back as soon as it is there, so
//! that whoever sent it knows that the whole way is open.

use std::{
    env,
    io::{Read, Write},
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

/// The first argument of this role; the second is the address.
pub const ROLE: &str = "play-backend";

/// What is written at once, and read at most.
pub const CHUNK: usize = 256 * 1024;

/// Connections taken before those that are there are looked at again.
const ACCEPTS: usize = 16;

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
    listener: Socket,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    buffer: Vec<u8>,
    received: u64,
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
        let address: SocketAddr = arguments.next().ok_or("no address")?.parse()?;
        Server::listen(address)?.serve()
    })
}

// === impl Server ===

impl Server {
    fn listen(address: SocketAddr) -> Result<Self> {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        listener.set_reuse_address(true)?;
        // Accepted sockets have it from here.
        listener.set_tcp_nodelay(true)?;
        listener.bind(&address.into())?;
        listener.listen(4096)?;
        listener.set_nonblocking(true)?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let number = listener.as_raw_fd() as u64;
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, number))?;
        Ok(Self {
            epoll,
            listener,
            connections: Vec::new(),
            buffer: vec![0x55; CHUNK],
            received: 0,
        })
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
                if event.data() == self.listener.as_raw_fd() as u64 {
                    self.accept()?;
                } else if self.step(number, event.events())? == After::Closed {
                    // Closing takes it out of the epoll.
                    self.connections[number] = None;
                }
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        for _ in 0..ACCEPTS {
            let socket = match self.listener.accept() {
                Ok((socket, _)) => socket,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                // It is gone already.
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionAborted => continue,
                Err(e) => return Err(e.into()),
            };
            let number = usize::try_from(socket.as_raw_fd())?;
            if number >= MOST_CONNECTIONS {
                return Err("too many connections".into());
            }
            let interest = EpollEvent::new(EpollFlags::EPOLLIN, number as u64);
            self.epoll.add(&socket, interest)?;
            if self.connections.len() <= number {
                self.connections.resize_with(number + 1, || None);
            }
            self.connections[number] = Some(Connection {
                socket,
                purpose: None,
            });
        }
        Ok(())
    }

    fn step(&mut self, number: usize, events: EpollFlags) -> Result<After> {
        let slot = self.connections.get_mut(number).and_then(Option::as_mut);
        let connection = slot.ok_or("an event of nobody")?;
        let Some(purpose) = connection.purpose else {
            return connection.begin(&self.epoll);
        };
        let at_once = MsgFlags::MSG_DONTWAIT;
        let fd = connection.socket.as_raw_fd();
        if purpose == Purpose::Source && events.contains(EpollFlags::EPOLLOUT) {
            // Whether it has gone is the client's to say.
            if let Err(Errno::EPIPE | Errno::ECONNRESET) = send(fd, &self.buffer, at_once) {
                return Ok(After::Closed);
            }
            if !events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP) {
                return Ok(After::Open);
            }
        }
        let flags = match purpose {
            // What comes is counted, and not copied: the relay is to be measured.
            Purpose::Sink => at_once | MsgFlags::MSG_TRUNC,
            _ => at_once,
        };
        let count = match recv(fd, &mut self.buffer, flags) {
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(After::Open),
            // However it ends.
            Ok(0) | Err(_) => return Ok(After::Closed),
            Ok(count) => count,
        };
        let written = match purpose {
            Purpose::Sink => {
                self.received += count as u64;
                Ok(())
            }
            Purpose::Echo | Purpose::EchoTraceless => {
                connection.socket.write_all(&self.buffer[..count])
            }
            Purpose::Count => connection.socket.write_all(
                &Received {
                    bytes: self.received,
                    at: now().as_nanos() as u64,
                }
                .bytes(),
            ),
            Purpose::Source => Ok(()),
        };
        Ok(if written.is_ok() {
            After::Open
        } else {
            After::Closed
        })
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
            self.socket.set_write_timeout(Some(LIMIT))?;
        }
        Ok(After::Open)
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
