//! The system calls of a relay.

use std::{cell::RefCell, io, ops::Range, os::fd::AsFd};

use super::{
    BUFFER_SIZE, counters,
    flow::{Fill, Means, Moved, Way, Wires},
    pool::{self, Lease},
};
use crate::sys::stream::Stream;

thread_local! {
    /// What messages are copied through. One for the thread: an idle connection has no buffer.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_SIZE].into_boxed_slice());
}

/// Calls `work` with the thread's buffer.
pub(super) fn with_buffer<R>(work: impl FnOnce(&mut [u8]) -> R) -> R {
    BUFFER.with_borrow_mut(|buffer| work(buffer))
}

/// Where the bytes of one direction are while the sink has no room for them.
#[derive(Debug, Default)]
pub(super) enum Room {
    /// There are none.
    #[default]
    Empty,
    /// They had been read into the thread's buffer.
    Boxed { bytes: Box<[u8]>, sent: u32 },
    /// They are in a pipe.
    Pipe(Lease),
}

/// What a relay keeps between two turns.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    to_backend: Room,
    to_client: Room,
}

/// What the backend has been sent. Its socket is without TCP_NODELAY until the second time: only
/// then Nagle's algorithm has something that it would wait for. Many get but one request.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    #[default]
    Nothing,
    Once,
    More,
}

/// Two sockets and a turn's loan of the thread's buffer.
#[derive(Debug)]
pub(super) struct Sockets<'a> {
    client: &'a Stream,
    backend: &'a Stream,
    rooms: &'a mut Rooms,
    sent: &'a mut Sent,
    buffer: &'a mut [u8],
    /// What is in the buffer: bytes of the direction whose turn it is, not sent yet.
    fresh: Range<usize>,
    pipe_size: u32,
    copied: u64,
    spliced: u64,
}

// === impl Room ===

impl Room {
    fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Boxed { bytes, sent } => bytes.len() - *sent as usize,
            Self::Pipe(lease) => lease.len(),
        }
    }
}

// === impl Rooms ===

impl Rooms {
    fn of(&mut self, way: Way) -> &mut Room {
        match way {
            Way::ToBackend => &mut self.to_backend,
            Way::ToClient => &mut self.to_client,
        }
    }
}

// === impl Sockets ===

impl<'a> Sockets<'a> {
    pub(super) fn new(
        client: &'a Stream,
        backend: &'a Stream,
        rooms: &'a mut Rooms,
        sent: &'a mut Sent,
        buffer: &'a mut [u8],
        pipe_size: u32,
    ) -> Self {
        Self {
            client,
            backend,
            rooms,
            sent,
            buffer,
            fresh: 0..0,
            pipe_size,
            copied: 0,
            spliced: 0,
        }
    }

    fn source(&self, way: Way) -> &'a Stream {
        match way {
            Way::ToBackend => self.client,
            Way::ToClient => self.backend,
        }
    }

    fn sink(&self, way: Way) -> &'a Stream {
        self.source(way.back())
    }

    /// The backend is about to be sent something.
    fn before_backend(&mut self) {
        *self.sent = match *self.sent {
            Sent::Nothing => Sent::Once,
            Sent::Once => {
                // Fails for no socket of ours; a backend that is slower without is one still.
                let _ = self.backend.socket().set_nodelay(true);
                Sent::More
            }
            Sent::More => Sent::More,
        };
    }

    fn copy(&mut self, way: Way) -> Fill {
        let source = self.source(way);
        match source.socket().recv(self.buffer) {
            Ok(0) => Fill::End,
            Ok(bytes) => {
                self.fresh = 0..bytes;
                // A short read says that there is no more, and saves the call that would say so
                // again; what comes later is a new event. Not on a unix socket, where a read
                // stops at passed descriptors, nor at urgent data, where it stops as well.
                let blocked =
                    bytes < self.buffer.len() && source.socket().is_tcp() && !source.is_urgent();
                Fill::Moved(Moved { bytes, blocked })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => NOTHING,
            Err(error) => Fill::Failed(error),
        }
    }

    fn splice(&mut self, way: Way) -> Fill {
        let source = self.source(way);
        // Urgent data cannot be spliced past: it would be EAGAIN for ever.
        if source.is_urgent() {
            return Fill::CannotSplice;
        }
        let room = self.rooms.of(way);
        if !matches!(room, Room::Pipe(_)) {
            match pool::lease(self.pipe_size as usize) {
                Some(lease) => *room = Room::Pipe(lease),
                None => return Fill::NoPipe,
            }
        }
        let Room::Pipe(lease) = room else {
            return Fill::NoPipe;
        };
        match lease.pipe().fill_from(source.as_fd()) {
            Ok(0) => Fill::End,
            // Less than asked for proves nothing: the pipe's slots may be full.
            Ok(bytes) => Fill::Moved(Moved {
                bytes,
                blocked: false,
            }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => NOTHING,
            Err(error) if is_refusal(&error) => {
                counters::splice_refused();
                Fill::CannotSplice
            }
            Err(error) => Fill::Failed(error),
        }
    }

    /// Gives what is in the pipe; a sink that cannot be spliced to gets it copied.
    fn unsplice(&mut self, way: Way) -> io::Result<Moved> {
        let sink = self.sink(way);
        let Room::Pipe(lease) = self.rooms.of(way) else {
            return Ok(FULL);
        };
        match lease.pipe().drain_to(sink.as_fd()) {
            // No kernel is known to do that; trying again would not end.
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => {
                self.spliced += bytes as u64;
                Ok(Moved {
                    bytes,
                    blocked: false,
                })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(FULL),
            Err(error) if is_refusal(&error) => {
                counters::splice_refused();
                let bytes = lease.pipe().take()?;
                *self.rooms.of(way) = Room::Boxed { bytes, sent: 0 };
                Ok(Moved {
                    bytes: 0,
                    blocked: false,
                })
            }
            Err(error) => Err(error),
        }
    }
}

impl Wires for Sockets<'_> {
    fn pending(&self, way: Way) -> usize {
        let room = match way {
            Way::ToBackend => &self.rooms.to_backend,
            Way::ToClient => &self.rooms.to_client,
        };
        // The buffer is empty but for the direction whose turn it is, and that one's room is
        // empty while it is not.
        match room.len() {
            0 => self.fresh.len(),
            held => held,
        }
    }

    fn fill(&mut self, way: Way, by: Means) -> Fill {
        match by {
            Means::Copy => self.copy(way),
            Means::Splice => self.splice(way),
        }
    }

    fn flush(&mut self, way: Way) -> io::Result<Moved> {
        if way == Way::ToBackend {
            self.before_backend();
        }
        let sink = self.sink(way).socket();
        let sent = match self.rooms.of(way) {
            Room::Pipe(lease) if lease.len() > 0 => return self.unsplice(way),
            Room::Boxed { bytes, sent } => {
                let left = &bytes[*sent as usize..];
                let moved = moved_of(sink.send(left), left.len())?;
                if moved.bytes < left.len() {
                    *sent += u32::try_from(moved.bytes).expect("a buffer or a pipe at most");
                } else {
                    *self.rooms.of(way) = Room::Empty;
                }
                moved
            }
            Room::Empty | Room::Pipe(_) => {
                let moved = moved_of(
                    sink.send(&self.buffer[self.fresh.clone()]),
                    self.fresh.len(),
                )?;
                self.fresh.start += moved.bytes;
                moved
            }
        };
        self.copied += sent.bytes as u64;
        Ok(sent)
    }

    fn finish(&mut self, way: Way) -> io::Result<()> {
        let sink = self.sink(way).socket();
        match sink.shutdown_write() {
            // ENOTCONN is all that shutdown(2) says of a dead connection. What it died of has
            // not been told yet: if it had, nobody would pass on FIN.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                Err(sink.take_error()?.unwrap_or(error))
            }
            done => done,
        }
    }

    fn park(&mut self, way: Way) {
        let fresh = std::mem::take(&mut self.fresh);
        let room = self.rooms.of(way);
        if !fresh.is_empty() {
            *room = Room::Boxed {
                bytes: self.buffer[fresh].into(),
                sent: 0,
            };
        } else if room.len() == 0 {
            *room = Room::Empty;
        }
    }

    fn discard(&mut self, way: Way) {
        *self.rooms.of(way) = Room::Empty;
    }
}

impl Drop for Sockets<'_> {
    fn drop(&mut self) {
        counters::moved(self.copied, self.spliced);
    }
}

const NOTHING: Fill = Fill::Moved(Moved {
    bytes: 0,
    blocked: true,
});
const FULL: Moved = Moved {
    bytes: 0,
    blocked: true,
};

/// A short write means that the socket is full, and that the kernel will tell when it is not.
fn moved_of(sent: io::Result<usize>, asked: usize) -> io::Result<Moved> {
    match sent {
        Ok(bytes) => Ok(Moved {
            bytes,
            blocked: bytes < asked,
        }),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(FULL),
        Err(error) => Err(error),
    }
}

/// Whether splicing is what was refused: by the kind of socket, a seccomp filter, a want of
/// memory. Copying may still do.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::ENOSYS | libc::EPERM | libc::EOPNOTSUPP | libc::ENOMEM)
    )
}
