//! The rows: what is measured, and what must be reached.

use crate::{
    figures::{Bar, Disturbed, Subject},
    order::{Direction, Report, Work},
    relays::Family,
    rounds::Seen,
};

/// Parts of the run that can be asked for alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// What a relay weighs, and each connection at rest.
    Memory,
    /// Bytes in one direction.
    Bulk,
    /// Messages there and back.
    Pingpong,
    /// Connections.
    Connect,
    /// A small flow beside bulk ones.
    Beside,
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
    /// What another load does meanwhile.
    pub beside: Option<Work>,
    /// What of it is told.
    pub figures: &'static [(Figure, Bar)],
}

/// A figure of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    /// Gbit/s.
    Throughput,
    /// The same, of the load beside.
    ThroughputBeside,
    /// Thousands in a second.
    Rate,
    /// Half took no longer, in microseconds.
    P50,
    /// Of a hundred, ninety-nine took no longer, in microseconds.
    P99,
    /// Processor seconds of the relay's processes, for a GiB or for 100,000.
    RelayCpu,
    /// The same of relay, load and backend.
    TogetherCpu,
    /// The same of the whole machine.
    MachineCpu,
}

use Figure::{MachineCpu, P50, P99, Rate, RelayCpu, Throughput, ThroughputBeside, TogetherCpu};

const BULK: &[(Figure, Bar)] = &[
    (Throughput, Bar::Best(1.0)),
    (RelayCpu, Bar::Best(0.95)),
    (TogetherCpu, Bar::None),
    (MachineCpu, Bar::Best(0.95)),
];

const ALONE: &[(Figure, Bar)] = &[
    (Rate, Bar::Best(1.0)),
    (P50, Bar::Best(1.0)),
    (P99, Bar::None),
    (RelayCpu, Bar::Best(1.0)),
    (TogetherCpu, Bar::None),
    (MachineCpu, Bar::Best(1.0)),
];

const TOGETHER: &[(Figure, Bar)] = &[
    (Rate, Bar::Best(1.05)),
    (P50, Bar::None),
    (P99, Bar::None),
    (RelayCpu, Bar::Best(0.95)),
    (TogetherCpu, Bar::None),
    (MachineCpu, Bar::Best(0.95)),
];

const CONNECTIONS: &[(Figure, Bar)] = &[
    (Rate, Bar::Best(1.15)),
    (P50, Bar::None),
    (P99, Bar::None),
    (RelayCpu, Bar::Best(1.0)),
    (TogetherCpu, Bar::None),
    (MachineCpu, Bar::Best(1.0)),
];

const BESIDE: &[(Figure, Bar)] = &[
    (P50, Bar::None),
    (P99, Bar::Than(Family::Haproxy, 1.0)),
    (ThroughputBeside, Bar::None),
];

/// All of them, memory aside.
pub const ROWS: &[Row] = &[
    bulk("bulk down x1", Direction::Down, 1),
    bulk("bulk down x8", Direction::Down, 8),
    bulk("bulk up x1", Direction::Up, 1),
    bulk("bulk up x8", Direction::Up, 8),
    ping_pong("64 B x1", 64, 1, ALONE),
    ping_pong("64 B x64", 64, 64, TOGETHER),
    ping_pong("16 KiB x1", 16 * 1024, 1, ALONE),
    ping_pong("16 KiB x64", 16 * 1024, 64, TOGETHER),
    connect("connect x1", 1, ALONE),
    connect("connect x32", 32, CONNECTIONS),
    Row {
        part: Part::Beside,
        name: "64 B beside bulk",
        work: Work::Steady {
            size: 64,
            rate: 2000,
        },
        beside: Some(Work::Bulk {
            direction: Direction::Down,
            connections: 4,
        }),
        figures: BESIDE,
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
        beside: None,
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
        beside: None,
        figures,
    }
}

const fn connect(name: &'static str, lanes: usize, figures: &'static [(Figure, Bar)]) -> Row {
    Row {
        part: Part::Connect,
        name,
        work: Work::Connect { lanes },
        beside: None,
        figures,
    }
}

// === impl Row ===

impl Row {
    /// What this figure of it is about.
    pub fn subject(&self, figure: Figure, bar: Bar) -> Subject {
        Subject {
            row: self.name,
            figure: figure.name(),
            unit: figure.unit(self.part),
            more_is_better: figure.more_is_better(),
            disturbed: figure.disturbed(),
            bar,
        }
    }

    /// A figure of what was seen of it, while others used so many processors.
    pub fn value(&self, figure: Figure, seen: &Seen, others: f64) -> Option<f64> {
        let report = &seen.report;
        match figure {
            Throughput => Some(throughput(report)),
            ThroughputBeside => seen.beside.as_ref().map(throughput),
            Rate => Some(report.count as f64 / 1e3 / report.seconds),
            P50 => report.latency.map(|latency| latency.p50),
            P99 => report.latency.map(|latency| latency.p99),
            RelayCpu | TogetherCpu | MachineCpu => {
                let cpu = report.cpu?;
                let seconds = match figure {
                    RelayCpu => cpu.relay,
                    TogetherCpu => cpu.relay + cpu.load + cpu.backend,
                    _ => cpu.machine - others * report.seconds,
                };
                Some(seconds / self.units(report))
            }
        }
    }

    /// How many GiB, or how many times 100,000.
    fn units(&self, report: &Report) -> f64 {
        let unit = match self.part {
            Part::Bulk => (1u64 << 30) as f64,
            _ => 1e5,
        };
        report.count as f64 / unit
    }
}

// === impl Figure ===

impl Figure {
    fn more_is_better(self) -> bool {
        matches!(self, Throughput | ThroughputBeside | Rate)
    }

    fn disturbed(self) -> Disturbed {
        match self {
            RelayCpu | TogetherCpu => Disturbed::Unharmed,
            MachineCpu => Disturbed::Void,
            _ => Disturbed::Doubtful,
        }
    }

    fn unit(self, part: Part) -> &'static str {
        match (self, part) {
            (Throughput | ThroughputBeside, _) => "Gbit/s",
            (Rate, _) => "k/s",
            (P50 | P99, _) => "us",
            (_, Part::Bulk) => "s/GiB",
            _ => "s/100k",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Throughput => "throughput",
            ThroughputBeside => "of the bulk",
            Rate => "rate",
            P50 => "p50",
            P99 => "p99",
            RelayCpu => "CPU relay",
            TogetherCpu => "CPU all three",
            MachineCpu => "CPU machine",
        }
    }
}

fn throughput(report: &Report) -> f64 {
    report.count as f64 * 8.0 / 1e9 / report.seconds
}
