//! Real pipes of the pool between made-up connections, over schedules of a fuzzer.
//!
//! Each connection's stream is a pattern of its own, so that a byte that comes out anywhere else,
//! or at another place, is seen.

use std::{
    io::{ErrorKind, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
};

use super::pool::{self, Lease};
use crate::choices::Choices;

/// The smallest pipe that is leased.
const SIZE: usize = 64 * 1024;

/// How much a peer writes or reads at once.
const MOST: usize = 100_000;

struct Connection {
    pattern: u8,
    client: UnixStream,
    source: UnixStream,
    sink: UnixStream,
    backend: UnixStream,
    lease: Option<Lease>,
    sent: usize,
    got: usize,
}

/// Plays the schedule that a fuzzer's bytes are, and panics where a byte is lost or astray.
pub(crate) fn play(script: &[u8]) {
    let _alone = pool::Alone::new();
    let mut choices = Choices::of_bytes(script);
    let mut connections = [const { None }; 3];
    let mut made = 0;
    while !choices.is_spent() {
        let which = choices.usize(0..connections.len());
        let connection = connections[which].get_or_insert_with(|| {
            made += 1;
            Connection::new(made)
        });
        match choices.u8(0..8) {
            0..=1 => connection.send(choices.usize(1..MOST)),
            2..=3 => connection.fill(),
            4 => connection.drain(),
            5 => drop(connection.receive(choices.usize(1..MOST))),
            6 => connection.let_go(choices.bool()),
            // With whatever is in its pipe.
            _ => connections[which] = None,
        }
    }
    for mut connection in connections.into_iter().flatten() {
        connection.finish();
    }
}

// === impl Connection ===

impl Connection {
    fn new(pattern: u8) -> Self {
        let pair = || {
            let pair = UnixStream::pair().expect("there are descriptors");
            for end in [&pair.0, &pair.1] {
                end.set_nonblocking(true).expect("a socket can be that");
            }
            pair
        };
        let ((client, source), (sink, backend)) = (pair(), pair());
        Self {
            pattern,
            client,
            source,
            sink,
            backend,
            lease: None,
            sent: 0,
            got: 0,
        }
    }

    /// The byte at this place of the stream; no two streams agree for long.
    fn byte(&self, at: usize) -> u8 {
        let place = at.wrapping_mul(usize::from(self.pattern) * 2 + 1);
        (place ^ (place >> 8)) as u8 ^ self.pattern
    }

    fn pending(&self) -> usize {
        self.lease.as_ref().map_or(0, Lease::len)
    }

    fn send(&mut self, most: usize) {
        let bytes: Vec<u8> = (self.sent..self.sent + most)
            .map(|at| self.byte(at))
            .collect();
        self.sent += tried((&self.client).write(&bytes));
    }

    fn fill(&mut self) {
        if self.pending() > 0 {
            return;
        }
        if self.lease.is_none() {
            self.lease = pool::lease(SIZE);
        }
        let lease = self.lease.as_mut().expect("the budget is larger");
        assert_eq!(lease.len(), 0, "leased with something in it");
        tried(lease.pipe().fill_from(self.source.as_fd()));
    }

    fn drain(&mut self) {
        if let Some(lease) = self.lease.as_mut().filter(|lease| lease.len() > 0) {
            tried(lease.pipe().drain_to(self.sink.as_fd()));
        }
    }

    fn receive(&mut self, most: usize) -> usize {
        let mut bytes = vec![0; most];
        let got = tried((&self.backend).read(&mut bytes));
        self.expect(&bytes[..got]);
        got
    }

    fn expect(&mut self, bytes: &[u8]) {
        for byte in bytes {
            assert_eq!(*byte, self.byte(self.got), "byte {} is another's", self.got);
            self.got += 1;
        }
        assert!(self.got <= self.sent, "bytes from nowhere");
    }

    /// Gives the pipe back; what is in it is taken into memory first, or must not be there.
    fn let_go(&mut self, take: bool) {
        if take && self.pending() > 0 {
            // Not in the middle of the stream: what was given before is read first.
            while self.receive(MOST) > 0 {}
            let lease = self.lease.as_mut().expect("something is in it");
            let bytes = lease.pipe().take().expect("so many bytes are in it");
            self.expect(&bytes);
        }
        if self.pending() == 0 {
            self.lease = None;
        }
    }

    /// With nobody in the way, every byte arrives.
    fn finish(&mut self) {
        while self.got < self.sent {
            let before = (self.pending(), self.got);
            self.fill();
            self.drain();
            self.receive(MOST);
            assert_ne!((self.pending(), self.got), before, "it stands still");
        }
    }
}

/// Nothing, where it would block.
fn tried(done: std::io::Result<usize>) -> usize {
    match done {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}
