//! What a load is told to do, and what it says when it has done it.

use std::{net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize};

/// Longer than anything here may stand still: what takes longer has broken.
pub const LIMIT: Duration = Duration::from_secs(20);

/// One piece of work for one load process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Order {
    /// What to do.
    pub work: Work,
    /// Where the relay listens, or the backend where there is none between.
    pub front: SocketAddr,
    /// The backend itself, to be asked how much has arrived.
    pub backend: SocketAddr,
    /// Whose processor time counts.
    pub watched: Watched,
    /// What is not counted, until everything has found its pace.
    pub warm_up: Duration,
    /// What is counted.
    pub window: Duration,
}

/// What a load does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// A message there, the same back, the next: as fast as it goes.
    PingPong {
        /// Bytes of the message.
        size: usize,
        /// How many do so side by side.
        connections: usize,
    },
    /// Bytes in one direction, as many as will go.
    Bulk {
        /// Which.
        direction: Direction,
        /// How many side by side.
        connections: usize,
    },
    /// Connect, a byte there, a byte back, close; and again.
    Connect {
        /// How many side by side.
        lanes: usize,
    },
    /// Messages at fixed moments, whether or not the last one has come back.
    Steady {
        /// Bytes of the message.
        size: usize,
        /// Messages in a second.
        rate: u32,
    },
    /// Nothing, on connections of one source, until the load's standard input ends.
    Silent {
        /// How many come.
        connections: usize,
        /// How many of them are taken.
        places: usize,
    },
    /// A few messages on each connection, then nothing, until the load's standard input ends.
    Still {
        /// How many connections.
        connections: usize,
    },
}

/// As the client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// From the client to the backend.
    Up,
    /// From the backend to the client.
    Down,
}

/// Processes whose time is told apart.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Watched {
    /// The relay, with all that it starts; none where clients connect to the backend itself.
    pub relay: Option<u32>,
    /// The backend.
    pub backend: u32,
}

/// What was seen in the window.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// How long it really was.
    pub seconds: f64,
    /// Bytes, messages or connections.
    pub count: u64,
    /// How long each took, where that is a question.
    pub latency: Option<Latency>,
    /// Who used the processors; not told of steady messages, whose time is not theirs alone.
    pub cpu: Option<Spent>,
}

/// In microseconds, of every single one.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50: f64,
    /// Nine in ten.
    pub p90: f64,
    /// Ninety-nine in a hundred.
    pub p99: f64,
    /// The longest.
    pub most: f64,
}

/// Processor time, in seconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Spent {
    /// Of the relay.
    pub relay: f64,
    /// Of the load itself.
    pub load: f64,
    /// Of the backend.
    pub backend: f64,
    /// Of the whole machine, whoever it was for.
    pub machine: f64,
}
