//! What a client and a backend have agreed on, and the bytes between them.

use std::{
    io::{self, Read, Write},
    thread,
    time::Duration,
};

use fastrand::Rng;

/// One connection's plan. The client draws it and sends it first, so both know what must come.
#[derive(Debug, Clone, Copy)]
pub struct Talk {
    pub id: u64,
    pub plan: Plan,
    /// Bytes to the backend, after the plan itself.
    pub up: u64,
    /// Bytes to the client.
    pub down: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Both send all they have at once, and end.
    Exchange,
    /// The reply begins when the request has ended.
    Ask,
    /// The backend ends first, and gets the upload then.
    Serve,
    /// The client resets after its last byte: the backend gets each of them, and a reset.
    ClientResets,
    /// The other way round.
    BackendResets,
}

/// A stream of bytes that is told by its seed, and of which no two stretches are alike.
pub struct Pattern {
    seed: u64,
    at: u64,
    block: Vec<u8>,
}

/// How an end of a connection reads or writes.
pub struct Manner {
    rng: Rng,
    /// So many more calls are small, and some are late.
    awkward: u32,
}

const BLOCK: u64 = 4096;

// === impl Talk ===

impl Talk {
    pub const LENGTH: usize = 32;

    pub fn encode(&self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        let words = [self.id, self.plan as u64, self.up, self.down];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }

    pub fn decode(bytes: &[u8; Self::LENGTH]) -> Option<Self> {
        let mut words = bytes
            .chunks_exact(8)
            .map(|word| u64::from_be_bytes(word.try_into().unwrap()));
        let mut word = || words.next().unwrap();
        let (id, plan) = (word(), word());
        let plan = Plan::ALL.into_iter().find(|known| *known as u64 == plan)?;
        Some(Self {
            id,
            plan,
            up: word(),
            down: word(),
        })
    }

    pub fn up(&self) -> Pattern {
        Pattern::new(self.id * 2)
    }

    pub fn down(&self) -> Pattern {
        Pattern::new(self.id * 2 + 1)
    }
}

impl Plan {
    pub const ALL: [Self; 5] = [
        Self::Exchange,
        Self::Ask,
        Self::Serve,
        Self::ClientResets,
        Self::BackendResets,
    ];
}

// === impl Pattern ===

impl Pattern {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            at: 0,
            block: Vec::new(),
        }
    }

    /// How many bytes of it have gone by.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next bytes, up to so many.
    fn next(&mut self, most: usize) -> &[u8] {
        let from = usize::try_from(self.at % BLOCK).unwrap();
        if from == 0 {
            self.block.resize(BLOCK as usize, 0);
            Rng::with_seed(self.seed ^ (self.at / BLOCK).wrapping_mul(0x9e37_79b9_7f4a_7c15))
                .fill(&mut self.block);
        }
        let to = (from + most).min(self.block.len());
        self.at += (to - from) as u64;
        &self.block[from..to]
    }

    /// Whether these are the next.
    fn matches(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let expected = self.next(bytes.len());
            let (now, later) = bytes.split_at(expected.len());
            if now != expected {
                return false;
            }
            bytes = later;
        }
        true
    }

    /// Sends the first so many bytes of it.
    pub fn send(
        &mut self,
        to: &mut impl Write,
        length: u64,
        manner: &mut Manner,
    ) -> io::Result<()> {
        while self.at < length {
            let size = manner.size(64 << 10);
            let left = usize::try_from(length - self.at).unwrap_or(usize::MAX);
            let mut chunk = Vec::with_capacity(size);
            while chunk.len() < size.min(left) {
                let more = size.min(left) - chunk.len();
                chunk.extend_from_slice(self.next(more));
            }
            to.write_all(&chunk)?;
        }
        Ok(())
    }

    /// Reads to the end of the stream. `InvalidData`: other bytes than these.
    pub fn hear(&mut self, from: &mut impl Read, manner: &mut Manner) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let size = manner.size(buffer.len());
            let length = from.read(&mut buffer[..size])?;
            if length == 0 {
                return Ok(());
            }
            if !self.matches(&buffer[..length]) {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}

// === impl Manner ===

impl Manner {
    /// One in four is awkward for a while.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let awkward = if rng.u32(0..4) == 0 {
            rng.u32(1..200)
        } else {
            0
        };
        Self { rng, awkward }
    }

    fn size(&mut self, most: usize) -> usize {
        if self.awkward == 0 {
            return most;
        }
        self.awkward -= 1;
        if self.rng.u32(0..8) == 0 {
            thread::sleep(Duration::from_micros(self.rng.u64(0..2_000)));
        }
        self.rng.usize(1..=1448)
    }
}
