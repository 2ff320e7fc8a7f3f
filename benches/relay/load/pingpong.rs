//! A message there, the same back, the next.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::{
    line::{self, Lines},
    window::{Phase, Samples, Seen, Window},
};
use crate::{
    Result,
    backend::Purpose,
    common::clock::now,
    order::{Order, Report},
};

/// What is counted.
#[derive(Default)]
struct Tally {
    /// The window has opened then. What was under way by that time is not a sample: reading the
    /// clocks has held it up.
    since: Option<Duration>,
    count: u64,
    samples: Samples,
}

/// What one of many connections waits for.
#[derive(Clone, Copy)]
struct Awaited {
    sent: Duration,
    bytes: usize,
}

/// One connection without epoll, many with it.
pub fn play(order: &Order, size: usize, connections: usize) -> Result<Report> {
    let message = vec![0x55; size];
    if connections == 1 {
        alone(order, &message)
    } else {
        together(order, &message, connections)
    }
}

fn alone(order: &Order, message: &[u8]) -> Result<Report> {
    let mut stream = line::open(order.front, Purpose::Echo)?;
    let mut answer = vec![0; message.len()];
    let mut window = Window::new(order);
    let mut tally = Tally::default();
    loop {
        let sent = now();
        stream.write_all(message)?;
        stream.read_exact(&mut answer)?;
        let came = now();
        tally.add(sent, came);
        if let Some(seen) = tally.turn(&mut window, came)? {
            return tally.report(&seen);
        }
    }
}

fn together(order: &Order, message: &[u8], connections: usize) -> Result<Report> {
    let mut lines = Lines::open(order.front, Purpose::Echo, connections, EpollFlags::EPOLLIN)?;
    let mut awaited = Vec::new();
    let mut window = Window::new(order);
    for stream in &mut lines.all {
        awaited.push(ask(stream, message)?);
    }
    let mut tally = Tally::default();
    let mut buffer = vec![0; message.len()];
    let mut events = vec![EpollEvent::empty(); connections];
    loop {
        for event in lines.ready(&mut events)? {
            let number = usize::try_from(event.data())?;
            let (stream, awaited) = (&mut lines.all[number], &mut awaited[number]);
            // There is something, so this does not wait.
            match stream.read(&mut buffer[..awaited.bytes])? {
                0 => return Err("a connection has ended too soon".into()),
                count => awaited.bytes -= count,
            }
            if awaited.bytes == 0 {
                tally.add(awaited.sent, now());
                *awaited = ask(stream, message)?;
            }
        }
        if let Some(seen) = tally.turn(&mut window, now())? {
            return tally.report(&seen);
        }
    }
}

/// May wait for room: the relay makes some, whatever else it does.
fn ask(stream: &mut TcpStream, message: &[u8]) -> Result<Awaited> {
    let sent = now();
    stream.write_all(message)?;
    Ok(Awaited {
        sent,
        bytes: message.len(),
    })
}

// === impl Tally ===

impl Tally {
    fn add(&mut self, sent: Duration, came: Duration) {
        self.count += 1;
        if self.since.is_some_and(|since| sent >= since) {
            self.samples.add(came - sent);
        }
    }

    fn turn(&mut self, window: &mut Window<'_>, at: Duration) -> Result<Option<Seen>> {
        match window.phase(at)? {
            Phase::Warming | Phase::Open => Ok(None),
            Phase::Opened => {
                self.since = Some(now());
                self.count = 0;
                Ok(None)
            }
            Phase::Over(seen) => Ok(Some(seen)),
        }
    }

    fn report(self, seen: &Seen) -> Result<Report> {
        seen.report(self.count, self.samples.latency())
    }
}
