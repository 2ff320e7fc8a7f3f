//! The run: in each round every candidate does every row once, one right after the other.

use std::{net::SocketAddr, time::Duration};

use serde::Serialize;

use crate::{
    Result,
    common::{ports::free_addresses, rank::percentile},
    interruption,
    load::Load,
    meter,
    order::{Order, Report, Watched, Work},
    relays::{Candidate, Relay, Room, Running},
    rows::Row,
};

/// Before the window of each measurement.
const WARM_UP: Duration = Duration::from_millis(200);

/// What runs beside something goes on for so long after it.
const LONGER: Duration = Duration::from_millis(200);

/// How long the machine is watched doing nothing, before each row.
const NOTHING: Duration = Duration::from_millis(300);

/// Everybody, running.
pub struct Field {
    /// In the order of the table.
    runners: Vec<Runner>,
    backend: Running,
}

/// One candidate, running.
struct Runner {
    name: String,
    relay: Relay,
    /// The address of the backend that it alone connects to. Ports that are not free for a while,
    /// because of connections that have been closed, are nobody else's then.
    backend: SocketAddr,
}

/// What one round has seen.
pub struct Round {
    /// For each row.
    pub rows: Vec<RowSeen>,
}

/// One row in one round.
#[derive(Debug, Clone, Serialize)]
pub struct RowSeen {
    /// How many processors others used just before.
    pub others: f64,
    /// Of each candidate, in the order of the table.
    pub seen: Vec<Seen>,
}

/// One measurement.
#[derive(Debug, Clone, Serialize)]
pub struct Seen {
    /// What the load has seen.
    pub report: Report,
    /// What the load beside it has seen.
    pub beside: Option<Report>,
}

// === impl Field ===

impl Field {
    /// Starts them all.
    pub fn start(candidates: &[Candidate]) -> Result<Self> {
        let addresses = free_addresses(candidates.len())?;
        let backend = Running::backend(&addresses)?;
        let mut runners = Vec::new();
        for (candidate, backend) in candidates.iter().zip(addresses) {
            let name = candidate.name.clone();
            let relay = candidate
                .start(backend, Room::Crowd)
                .map_err(|e| format!("{name}: {e}"))?;
            runners.push(Runner {
                name,
                relay,
                backend,
            });
        }
        Ok(Self { runners, backend })
    }

    /// One round. The order of the candidates moves on with each two, and every other is turned
    /// round, so that none always comes first, or always after the same one.
    pub fn round(&mut self, number: usize, rows: &[&Row], window: Duration) -> Result<Round> {
        let mut order: Vec<usize> = (0..self.runners.len()).collect();
        order.rotate_left(number / 2 % self.runners.len());
        if number % 2 == 1 {
            order.reverse();
        }
        let mut all = Vec::new();
        for row in rows {
            let others = meter::in_use(|| std::thread::park_timeout(NOTHING))?;
            let mut of_row: Vec<(usize, Seen)> = Vec::new();
            for &which in &order {
                interruption::check()?;
                let seen = self.measure(row, &self.runners[which], window);
                let Runner { name, relay, .. } = &mut self.runners[which];
                let seen =
                    seen.map_err(|e| format!("{}, {name}: {e}{}", row.name, relay.state()))?;
                of_row.push((which, seen));
            }
            of_row.sort_by_key(|(which, _)| *which);
            all.push(RowSeen {
                others,
                seen: of_row.into_iter().map(|(_, seen)| seen).collect(),
            });
        }
        let round = Round { rows: all };
        let (number, others) = (number + 1, round.others());
        eprintln!("round {number}: others used {others:.2} processors");
        Ok(round)
    }

    fn measure(&self, row: &Row, runner: &Runner, window: Duration) -> Result<Seen> {
        let beside = row
            .beside
            .map(|work| Load::start(&self.order(work, runner, window + LONGER)))
            .transpose()?;
        let report = Load::start(&self.order(row.work, runner, window))?.report()?;
        let beside = beside.map(Load::report).transpose()?;
        Ok(Seen { report, beside })
    }

    fn order(&self, work: Work, runner: &Runner, window: Duration) -> Order {
        Order {
            work,
            front: runner.relay.front,
            backend: runner.backend,
            watched: Watched {
                relay: runner.relay.process(),
                backend: self.backend.id(),
            },
            warm_up: WARM_UP,
            window,
        }
    }
}

// === impl Round ===

impl Round {
    /// How many processors others used, before most of the rows at least: what is taken off the
    /// machine's, since it is hardly ours.
    pub fn others(&self) -> f64 {
        let mut all: Vec<f64> = self.rows.iter().map(|row| row.others).collect();
        all.sort_by(f64::total_cmp);
        percentile(&all, 50).unwrap_or_default()
    }
}
