//! The rows: what is measured, and what must be reached.

use std::fmt;

use crate::order::{Direction, Report, Work};

/// Parts of the run that can be asked for alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Bytes in one direction.
    Bulk,
    /// Messages there and back.
    Pingpong,
    /// Connections.
    Connect,
}

/// One measurement, of each candidate, in each round.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// What it belongs to.
    pub part: Part,
    /// As it is called in the table.
    pub name: &'static str,
    /// What the load does.
    pub work: Work,
    /// What of it is told.
    pub figures: &'static [(Figure, Bar)],
}

/// A figure of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Gbit/s.
    Throughput,
    /// Thousands in a second.
    Rate,
    /// Half took no longer, in microseconds.
    P50,
    /// Of a hundred, ninety-nine took no longer, in microseconds.
    P99,
    /// Processor seconds of the relay's processes, for a GiB or for 100,000.
    RelayCpu,
    /// The same of the whole machine: load and backend too.
    MachineCpu,
}

/// What must be reached, as a ratio to the best rival's figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// Nothing: it is told because it explains.
    None,
    /// So much as the best rival, at least where more is better, at most where less is.
    Best(f64),
}

const BULK: &[(Figure, Bar)] = &[
    (Figure::Throughput, Bar::Best(1.0)),
    (Figure::RelayCpu, Bar::Best(0.95)),
    (Figure::MachineCpu, Bar::Best(0.95)),
];

const ALONE: &[(Figure, Bar)] = &[
    (Figure::Rate, Bar::Best(1.0)),
    (Figure::P50, Bar::Best(1.0)),
    (Figure::P99, Bar::None),
    (Figure::RelayCpu, Bar::Best(1.0)),
    (Figure::MachineCpu, Bar::Best(1.0)),
];

const TOGETHER: &[(Figure, Bar)] = &[
    (Figure::Rate, Bar::Best(1.05)),
    (Figure::P50, Bar::None),
    (Figure::P99, Bar::None),
    (Figure::RelayCpu, Bar::Best(0.95)),
    (Figure::MachineCpu, Bar::Best(0.95)),
];

const CONNECTIONS: &[(Figure, Bar)] = &[
    (Figure::Rate, Bar::Best(1.15)),
    (Figure::P50, Bar::None),
    (Figure::P99, Bar::None),
    (Figure::RelayCpu, Bar::Best(1.0)),
    (Figure::MachineCpu, Bar::Best(1.0)),
];

/// All of them.
pub const ROWS: &[Row] = &[
    bulk("bulk down x1", Direction::Down, 1),
    bulk("bulk down x8", Direction::Down, 8),
    ping_pong("64 B x1", 64, 1, ALONE),
    ping_pong("64 B x64", 64, 64, TOGETHER),
    ping_pong("16 KiB x64", 16 * 1024, 64, TOGETHER),
    Row {
        part: Part::Connect,
        name: "connections x32",
        work: Work::Connect { lanes: 32 },
        figures: CONNECTIONS,
    },
];

const fn bulk(name: &'static str, direction: Direction, connections: usize) -> Row {
    Row {
        part: Part::Bulk,
        name,
        work: Work::Bulk {
            direction,
            connections,
        },
        figures: BULK,
    }
}

const fn ping_pong(
    name: &'static str,
    size: usize,
    connections: usize,
    figures: &'static [(Figure, Bar)],
) -> Row {
    Row {
        part: Part::Pingpong,
        name,
        work: Work::PingPong { size, connections },
        figures,
    }
}

// === impl Figure ===

impl Figure {
    /// What it was in this report. `idle` is how many processors of the machine were in use while
    /// nothing happened.
    pub fn of(self, work: Work, report: &Report, idle: f64) -> Option<f64> {
        let count = report.count as f64;
        // A GiB, or 100,000 operations.
        let unit = match work {
            Work::Bulk { .. } => count / (1u64 << 30) as f64,
            _ => count / 1e5,
        };
        match self {
            Self::Throughput => Some(count * 8.0 / 1e9 / report.seconds),
            Self::Rate => Some(count / 1e3 / report.seconds),
            Self::P50 => report.latency.map(|latency| latency.p50),
            Self::P99 => report.latency.map(|latency| latency.p99),
            Self::RelayCpu => Some(report.cpu.relay / unit),
            Self::MachineCpu => Some((report.cpu.machine - idle * report.seconds) / unit),
        }
    }

    /// Whether more of it is better.
    pub fn more_is_better(self) -> bool {
        matches!(self, Self::Throughput | Self::Rate)
    }

    /// Its unit, in this kind of row.
    pub fn unit(self, part: Part) -> &'static str {
        match (self, part) {
            (Self::Throughput, _) => "Gbit/s",
            (Self::Rate, _) => "k/s",
            (Self::P50 | Self::P99, _) => "us",
            (Self::RelayCpu | Self::MachineCpu, Part::Bulk) => "s/GiB",
            (Self::RelayCpu | Self::MachineCpu, _) => "s/100k",
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Throughput => "throughput",
            Self::Rate => "rate",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::RelayCpu => "CPU relay",
            Self::MachineCpu => "CPU machine",
        })
    }
}
