//! The made-up sockets, their peers, and what is between them.

use std::{collections::VecDeque, io};

use crate::{
    choices::Choices,
    relay::{
        BUFFER_SIZE,
        flow::{Fill, Means, Moved, Way, Wires},
    },
};

const SLOTS: usize = 16;

/// What a receive buffer takes, and a peer that reads all the time.
pub(super) const ROOM: usize = 4_000_000;

/// Our socket to one peer, and that peer.
#[derive(Debug, Default)]
pub(super) struct Socket {
    /// Segments that have come and were not read.
    queue: VecDeque<usize>,
    /// Bytes the peer has sent in all.
    pub(super) sent: u64,
    pub(super) fin: bool,
    pub(super) reset: bool,
    /// The error that the kernel has not told yet.
    pub(super) error: Option<i32>,
    /// Bytes that the peer has not read, of `window`.
    pub(super) unread: usize,
    pub(super) window: usize,
    /// Bytes that it got in all, and whether FIN came after them.
    pub(super) got: u64,
    pub(super) got_fin: bool,
    /// Events that have not been taken, and whether they wake the relay.
    pub(super) readable: Event,
    pub(super) writable: Event,
    pub(super) failed: Event,
    no_space: bool,
}

#[derive(Debug, Default)]
pub(super) struct Event {
    set: bool,
    waited_for: bool,
}

/// Bytes between the sockets, as their place in the stream.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) from: u64,
    pub(super) to: u64,
    kind: Option<Means>,
    pub(super) parked: bool,
}

pub(super) struct World {
    pub(super) choices: Choices,
    pub(super) sockets: [Socket; 2],
    pub(super) held: [Held; 2],
    pub(super) woken: bool,
    /// Reads stop anywhere, as on a unix socket with passed descriptors.
    choppy: bool,
    resets: bool,
}

pub(super) fn index(way: Way) -> usize {
    usize::from(way == Way::ToClient)
}

// === impl Event ===

impl Event {
    pub(super) fn happen(&mut self, woken: &mut bool) {
        self.set = true;
        if self.waited_for {
            self.waited_for = false;
            *woken = true;
        }
    }

    /// Takes it, or waits for it.
    pub(super) fn poll(&mut self, sticky: bool) -> bool {
        let was = self.set;
        self.set = was && sticky;
        self.waited_for = !was;
        was
    }
}

// === impl World ===

impl World {
    /// Closes both of our sockets: whoever has no FIN yet gets one, if nothing is unread.
    pub(super) fn close(&mut self) {
        for way in Way::BOTH {
            let source = &self.sockets[index(way)];
            assert!(source.fin, "closed before the end");
            let total = source.sent;
            let sink = &mut self.sockets[1 - index(way)];
            assert_eq!(sink.got, total, "closed before the last byte");
            sink.got_fin = true;
        }
    }

    pub(super) fn new(mut choices: Choices) -> Self {
        let mut socket = || Socket {
            window: choices.usize(4_000..300_000),
            ..Socket::default()
        };
        let sockets = [socket(), socket()];
        let (choppy, resets) = (choices.bool(), choices.bool());
        Self {
            choices,
            sockets,
            held: Default::default(),
            woken: true,
            choppy,
            resets,
        }
    }

    /// One peer does something.
    pub(super) fn peer_acts(&mut self) {
        let side = self.choices.usize(0..2);
        let Self {
            choices,
            sockets,
            woken,
            resets,
            ..
        } = self;
        let socket = &mut sockets[side];
        if socket.reset {
            return;
        }
        match choices.u32(0..40) {
            0..=14 if !socket.fin => {
                let most = choices.one_of(&[1, 100, 1448, 65_536, 400_000, 2_000_000]);
                for _ in 0..choices.usize(1..20) {
                    // The peer cannot send more than our receive buffer takes.
                    if socket.queue.iter().sum::<usize>() > ROOM {
                        break;
                    }
                    let bytes = choices.usize(1..most + 1);
                    socket.queue.push_back(bytes);
                    socket.sent += bytes as u64;
                }
                socket.readable.happen(woken);
            }
            15 if !socket.fin => {
                socket.fin = true;
                socket.readable.happen(woken);
            }
            16 if *resets => socket.reset(woken),
            17..=30 => {
                let most = socket.unread;
                socket.read(choices.usize(0..most + 1), woken);
            }
            // Events for nothing, as epoll gives them.
            31 => socket.readable.happen(woken),
            32 => socket.writable.happen(woken),
            _ => {}
        }
    }

    fn maybe_interfere(&mut self) {
        if self.choices.u32(0..6) == 0 {
            self.peer_acts();
        }
    }

    fn try_fill(&mut self, way: Way, by: Means) -> Fill {
        let i = index(way);
        assert_eq!(self.pending(way), 0, "took while bytes were pending");
        if by == Means::Splice && self.choices.u32(0..20) == 0 {
            return if self.choices.u32(0..4) == 0 {
                Fill::CannotSplice
            } else {
                Fill::NoPipe
            };
        }
        let choppy = self.choppy;
        let socket = &mut self.sockets[i];
        if socket.queue.is_empty() {
            return socket.dry();
        }
        let taken = match by {
            Means::Splice => socket.take(usize::MAX, SLOTS),
            Means::Copy if choppy => socket.take(BUFFER_SIZE, self.choices.usize(1..4)),
            Means::Copy => socket.take(BUFFER_SIZE, usize::MAX),
        };
        let blocked = by == Means::Copy && taken < BUFFER_SIZE && !choppy;
        let held = &mut self.held[i];
        held.to += taken as u64;
        held.kind = Some(by);
        held.parked = false;
        Fill::Moved(Moved {
            bytes: taken,
            blocked,
        })
    }

    fn try_flush(&mut self, way: Way) -> io::Result<Moved> {
        let (i, pending) = (index(way), self.pending(way));
        assert!(pending > 0, "gave when nothing was pending");
        let socket = &mut self.sockets[1 - i];
        assert!(!socket.got_fin, "gave after FIN");
        socket.check_dead()?;
        let bytes = pending.min(socket.window - socket.unread);
        socket.no_space |= bytes < pending;
        socket.unread += bytes;
        assert_eq!(socket.got, self.held[i].from, "out of order");
        socket.got += bytes as u64;
        self.held[i].from += bytes as u64;
        let copied = self.held[i].kind == Some(Means::Copy);
        Ok(Moved {
            bytes,
            blocked: bytes == 0 || (copied && bytes < pending),
        })
    }
}

// === impl Socket ===

impl Socket {
    fn reset(&mut self, woken: &mut bool) {
        self.error = Some(if self.fin {
            libc::EPIPE
        } else {
            libc::ECONNRESET
        });
        self.reset = true;
        self.readable.happen(woken);
        self.writable.happen(woken);
        self.failed.happen(woken);
    }

    pub(super) fn read(&mut self, bytes: usize, woken: &mut bool) {
        self.unread -= bytes;
        if bytes > 0 && self.no_space {
            self.no_space = false;
            self.writable.happen(woken);
        }
    }

    /// A read that finds no bytes.
    fn dry(&mut self) -> Fill {
        // As tcp_recvmsg: a FIN that was received comes before an error.
        if self.fin {
            return Fill::End;
        }
        if let Some(errno) = self.error.take() {
            return Fill::Failed(io::Error::from_raw_os_error(errno));
        }
        if self.reset {
            return Fill::End;
        }
        Fill::Moved(Moved {
            bytes: 0,
            blocked: true,
        })
    }

    /// Takes up to so many bytes, in up to so many segments.
    fn take(&mut self, bytes: usize, segments: usize) -> usize {
        let mut taken = 0;
        for _ in 0..segments {
            let Some(segment) = self.queue.front_mut() else {
                break;
            };
            let part = (*segment).min(bytes - taken);
            *segment -= part;
            taken += part;
            if *segment > 0 {
                break;
            }
            self.queue.pop_front();
        }
        taken
    }

    fn check_dead(&mut self) -> io::Result<()> {
        match self.error.take() {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None if self.reset => Err(io::Error::from_raw_os_error(libc::EPIPE)),
            None => Ok(()),
        }
    }
}

impl Wires for World {
    fn pending(&self, way: Way) -> usize {
        let held = &self.held[index(way)];
        usize::try_from(held.to - held.from).expect("it was a usize")
    }

    fn fill(&mut self, way: Way, by: Means) -> Fill {
        self.maybe_interfere();
        let filled = self.try_fill(way, by);
        self.maybe_interfere();
        filled
    }

    fn flush(&mut self, way: Way) -> io::Result<Moved> {
        self.maybe_interfere();
        let flushed = self.try_flush(way);
        self.maybe_interfere();
        flushed
    }

    fn finish(&mut self, way: Way) -> io::Result<()> {
        let source = &self.sockets[index(way)];
        assert!(source.fin, "passed on a FIN that was not sent");
        let total = source.sent;
        let sink = &mut self.sockets[1 - index(way)];
        assert!(!sink.got_fin, "passed on FIN twice");
        sink.check_dead()?;
        assert_eq!(sink.got, total, "FIN before the last byte");
        sink.got_fin = true;
        Ok(())
    }

    fn park(&mut self, way: Way) {
        self.held[index(way)].parked = true;
    }

    fn discard(&mut self, way: Way) {
        let held = &mut self.held[index(way)];
        held.from = held.to;
    }
}
