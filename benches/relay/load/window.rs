//! When to measure: a while after the beginning, and for so long.

use std::time::Duration;

use crate::{
    Result,
    common::{clock::now, rank::percentile},
    meter::Reading,
    order::{Latency, Order, Report},
};

/// Samples kept at most. More than a minute of the fastest row.
const MOST_SAMPLES: usize = 16 << 20;

/// The window of one measurement.
pub struct Window<'a> {
    order: &'a Order,
    opens: Duration,
    begun: Option<Reading>,
}

/// What the clock says.
pub enum Phase {
    /// Not yet.
    Warming,
    /// This is the first moment that counts.
    Opened,
    /// It counts.
    Open,
    /// It does not count any more.
    Over(Seen),
}

/// What was used in the window.
pub struct Seen {
    /// When it opened.
    pub begun: Reading,
    /// When it closed.
    pub ended: Reading,
}

/// How long each took.
#[derive(Default)]
pub struct Samples(Vec<u32>);

// === impl Window ===

impl<'a> Window<'a> {
    /// It opens when it is warm.
    pub fn new(order: &'a Order) -> Self {
        Self {
            order,
            opens: now() + order.warm_up,
            begun: None,
        }
    }

    /// Where we are in it. Reads everybody's clocks as it opens and closes.
    pub fn phase(&mut self, now: Duration) -> Result<Phase> {
        match self.begun {
            None if now < self.opens => Ok(Phase::Warming),
            None => {
                self.begun = Some(Reading::take(self.order.watched)?);
                Ok(Phase::Opened)
            }
            Some(begun) if now < begun.at + self.order.window => Ok(Phase::Open),
            Some(begun) => Ok(Phase::Over(Seen {
                begun,
                ended: Reading::take(self.order.watched)?,
            })),
        }
    }
}

// === impl Seen ===

impl Seen {
    /// So many were counted between its ends.
    pub fn report(&self, count: u64, latency: Option<Latency>) -> Result<Report> {
        Ok(Report {
            seconds: (self.ended.at - self.begun.at).as_secs_f64(),
            count,
            latency,
            cpu: Some(self.ended.since(&self.begun)?),
        })
    }
}

// === impl Samples ===

impl Samples {
    /// One more.
    pub fn add(&mut self, took: Duration) {
        if self.0.len() < MOST_SAMPLES {
            self.0
                .push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
        }
    }

    /// What they have in common.
    pub fn latency(mut self) -> Option<Latency> {
        self.0.sort_unstable();
        let at = |percent| percentile(&self.0, percent).map(|nanos| f64::from(nanos) / 1000.0);
        Some(Latency {
            p50: at(50)?,
            p90: at(90)?,
            p99: at(99)?,
            most: at(100)?,
        })
    }
}
