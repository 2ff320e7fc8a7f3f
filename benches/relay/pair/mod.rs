//! Two sleepingd that differ in one thing, measured in turn: what does that thing cost?
//!
//! | module | what they differ in |
//! | --- | --- |
//! | [`crowd`] | one source holds all the places it may have, and is silent |
//! | [`streams`] | the user may have pipes, or has none left |

mod crowd;
mod streams;

use std::{net::SocketAddr, path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    Result,
    common::{ports::free_addresses, rank::percentile},
    interruption,
    load::Load,
    order::{Order, Report, Watched, Work},
    relays::{Candidate, Kind, Relay, Room, Running},
};

pub use streams::play;

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Pair {
    /// Others, beside a source with thousands of silent clients.
    Crowd,
    /// More streams than an unprivileged user has pipes for.
    Streams,
}

/// How it is to be measured.
pub struct Plan<'a> {
    /// The daemon.
    pub daemon: &'a Path,
    /// How often.
    pub rounds: usize,
    /// How long each time.
    pub window: Duration,
}

/// One of the two, running, with a backend for itself.
struct Side {
    relay: Relay,
    backend: Running,
    at: SocketAddr,
}

/// One figure of both, round by round.
struct Compared {
    what: &'static str,
    rounds: Vec<[f64; 2]>,
}

/// Measures it, prints it, and gives it for the file.
pub fn measure(pair: Pair, plan: &Plan<'_>) -> Result<Value> {
    match pair {
        Pair::Crowd => crowd::measure(plan),
        Pair::Streams => streams::measure(plan),
    }
}

/// All these loads on both sides in each round, in an order that changes.
fn in_turn(sides: [&Side; 2], plan: &Plan<'_>, work: Work) -> Result<Vec<[Report; 2]>> {
    let mut rounds = Vec::new();
    for number in 0..plan.rounds {
        let first = number % 2;
        let one = sides[first].load(work, plan.window)?;
        let other = sides[1 - first].load(work, plan.window)?;
        rounds.push(if first == 0 {
            [one, other]
        } else {
            [other, one]
        });
    }
    Ok(rounds)
}

// === impl Side ===

impl Side {
    fn start(plan: &Plan<'_>, user: Option<u32>, head: &[String]) -> Result<Self> {
        let at = free_addresses(1)?[0];
        let kind = Kind::Sleepingd {
            program: plan.daemon.to_owned(),
            head: head.to_vec(),
            user,
        };
        let backend = Running::backend(&[at])?;
        let relay = Candidate::new("sleepingd", kind).start(at, Room::Crowd)?;
        Ok(Self { relay, backend, at })
    }

    fn load(&self, work: Work, window: Duration) -> Result<Report> {
        interruption::check()?;
        Load::start(&self.order(work, window))?.report()
    }

    fn order(&self, work: Work, window: Duration) -> Order {
        Order {
            work,
            front: self.relay.front,
            backend: self.at,
            watched: Watched {
                relay: self.relay.process(),
                backend: self.backend.id(),
            },
            warm_up: Duration::from_millis(200),
            window,
        }
    }
}

// === impl Compared ===

impl Compared {
    fn of(
        what: &'static str,
        rounds: &[[Report; 2]],
        value: fn(&Report) -> Option<f64>,
    ) -> Result<Self> {
        let both = |[one, other]: &[Report; 2]| Some([value(one)?, value(other)?]);
        let rounds = rounds.iter().map(both).collect::<Option<_>>();
        let rounds = rounds.ok_or_else(|| format!("{what} was not seen"))?;
        Ok(Self { what, rounds })
    }

    /// The medians of both, the ratio of these, and the least and the most of any round.
    fn print(&self) -> Value {
        let median = |value: &dyn Fn(&[f64; 2]) -> f64| {
            let mut all: Vec<f64> = self.rounds.iter().map(value).collect();
            all.sort_by(f64::total_cmp);
            percentile(&all, 50).unwrap_or(f64::NAN)
        };
        let (one, other) = (median(&|both| both[0]), median(&|both| both[1]));
        let ratios = || self.rounds.iter().map(|[one, other]| one / other);
        let (least, most) = (
            ratios().fold(f64::INFINITY, f64::min),
            ratios().fold(f64::NEG_INFINITY, f64::max),
        );
        let what = self.what;
        let ratio = one / other;
        println!("{what:<34} {one:10.3} {other:10.3}   {ratio:.3}   {least:.3}..{most:.3}");
        json!({ "figure": what, "rounds": self.rounds, "ratio": ratio })
    }
}
