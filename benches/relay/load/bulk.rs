//! Bytes in one direction, as many as will go. Counted where they arrive.

use std::net::TcpStream;

use nix::{
    errno::Errno,
    sys::{
        epoll::{EpollEvent, EpollFlags},
        socket::{MsgFlags, recv, send},
    },
};

use super::{
    line::{self, Lines},
    window::{Phase, Window},
};
use crate::{
    Result,
    backend::{CHUNK, Purpose},
    common::clock::now,
    order::{Direction, Order, Report},
};

/// Where bytes are counted.
enum Counter {
    /// Here.
    Ours(u64),
    /// At the backend, which is asked past the relay.
    Theirs(TcpStream),
}

/// A moment, and how many bytes have arrived by then.
#[derive(Clone, Copy, Default)]
struct Mark {
    bytes: u64,
    nanos: u64,
}

/// Down or up.
pub fn play(order: &Order, direction: Direction, connections: usize) -> Result<Report> {
    let (purpose, ready) = match direction {
        Direction::Down => (Purpose::Source, EpollFlags::EPOLLIN),
        Direction::Up => (Purpose::Sink, EpollFlags::EPOLLOUT),
    };
    let lines = Lines::open(order.front, purpose, connections, ready)?;
    let mut counter = match direction {
        Direction::Down => Counter::Ours(0),
        Direction::Up => Counter::Theirs(line::open(order.backend, Purpose::Count)?),
    };
    let mut buffer = vec![0x55; CHUNK];
    let mut events = vec![EpollEvent::empty(); connections];
    let mut window = Window::new(order);
    let mut begun = Mark::default();
    loop {
        for event in lines.ready(&mut events)? {
            let fd = lines.fd(usize::try_from(event.data())?);
            let moved = step(fd, direction, &mut buffer)?;
            if let Counter::Ours(count) = &mut counter {
                *count += moved as u64;
            }
        }
        match window.phase(now())? {
            Phase::Warming | Phase::Open => {}
            Phase::Opened => begun = counter.mark()?,
            Phase::Over(seen) => {
                let ended = counter.mark()?;
                let mut report = seen.report(ended.bytes - begun.bytes, None)?;
                report.seconds = (ended.nanos - begun.nanos) as f64 / 1e9;
                return Ok(report);
            }
        }
    }
}

fn step(fd: i32, direction: Direction, buffer: &mut [u8]) -> Result<usize> {
    let at_once = MsgFlags::MSG_DONTWAIT;
    let moved = match direction {
        // What comes is counted, and not copied: the relay is to be measured.
        Direction::Down => recv(fd, buffer, at_once | MsgFlags::MSG_TRUNC),
        Direction::Up => send(fd, buffer, at_once),
    };
    match moved {
        Ok(0) => Err("a connection has ended too soon".into()),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(0),
        other => Ok(other?),
    }
}

// === impl Counter ===

impl Counter {
    fn mark(&mut self) -> Result<Mark> {
        match self {
            Self::Ours(bytes) => Ok(Mark {
                bytes: *bytes,
                nanos: u64::try_from(now().as_nanos())?,
            }),
            Self::Theirs(stream) => {
                let received = line::received(stream)?;
                Ok(Mark {
                    bytes: received.bytes,
                    nanos: received.at,
                })
            }
        }
    }
}
