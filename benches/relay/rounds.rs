//! The run: in each round every candidate does every row once, one right after the other.

use std::{net::SocketAddr, time::Duration};

use crate::{
    Result,
    load::Load,
    meter,
    order::{Order, Report, Watched},
    relays::{Candidate, Relay, Running},
    rows::Row,
};

/// Before the window of each measurement.
const WARM_UP: Duration = Duration::from_millis(200);

/// How long the machine is watched doing nothing, in each round.
const NOTHING: Duration = Duration::from_secs(1);

/// Everybody, running.
pub struct Field {
    /// The candidates, in the order of the table.
    pub runners: Vec<(Candidate, Relay)>,
    backend: Running,
    at: SocketAddr,
}

/// What one round has seen.
pub struct Round {
    /// How many processors were in use while nothing happened.
    pub idle: f64,
    /// For each row, the report of each candidate, in the order of the table.
    pub reports: Vec<Vec<Report>>,
}

// === impl Field ===

impl Field {
    /// Starts them all.
    pub fn start(candidates: Vec<Candidate>) -> Result<Self> {
        let at = crate::common::ports::free_addresses(1)?[0];
        let backend = Running::backend(at)?;
        let mut runners = Vec::new();
        for candidate in candidates {
            let relay = candidate
                .start(at)
                .map_err(|e| format!("{}: {e}", candidate.name))?;
            runners.push((candidate, relay));
        }
        Ok(Self {
            runners,
            backend,
            at,
        })
    }

    /// One round. The order of the candidates moves on with each, and every other is turned round,
    /// so that none always comes first, or always after the same one.
    pub fn round(&self, number: usize, rows: &[&Row], window: Duration) -> Result<Round> {
        let idle = meter::in_use(|| std::thread::park_timeout(NOTHING))?;
        let mut order: Vec<usize> = (0..self.runners.len()).collect();
        order.rotate_left(number / 2 % self.runners.len());
        if number % 2 == 1 {
            order.reverse();
        }
        eprintln!(
            "round {}, the machine {:.0} % busy with others",
            number + 1,
            idle * 100.0
        );
        let mut reports = Vec::new();
        for row in rows {
            let mut of_row: Vec<(usize, Report)> = Vec::new();
            for &which in &order {
                let report = self
                    .measure(row, which, window)
                    .map_err(|e| format!("{}, {}: {e}", row.name, self.name(which)))?;
                of_row.push((which, report));
            }
            of_row.sort_by_key(|(which, _)| *which);
            reports.push(of_row.into_iter().map(|(_, report)| report).collect());
        }
        Ok(Round { idle, reports })
    }

    fn measure(&self, row: &Row, which: usize, window: Duration) -> Result<Report> {
        let relay = &self.runners[which].1;
        let order = Order {
            work: row.work,
            front: relay.front,
            backend: self.at,
            watched: Watched {
                relay: relay.process(),
                backend: self.backend.id(),
            },
            warm_up: WARM_UP,
            window,
        };
        Load::start(&order)?.report()
    }

    fn name(&self, which: usize) -> &str {
        &self.runners[which].0.name
    }
}
