//! What others notice of a source that holds all the places it may have with clients that say
//! nothing, and has been refused as many more.

use serde_json::{Value, json};

use super::{Compared, Plan, Side, in_turn};
use crate::{
    Result,
    common::process::Weight,
    load::Load,
    order::{Report, Work},
};

/// Places of one source.
const SHARE: usize = 4000;

/// Those who come from there.
const COMERS: usize = 10_000;

pub(super) fn measure(plan: &Plan<'_>) -> Result<Value> {
    let share = format!("MAX_CONNECTIONS_PER_SOURCE={SHARE}");
    let head = [share];
    let crowded = Side::start(plan, None, &head)?;
    let empty = Side::start(plan, None, &head)?;
    let process = crowded.relay.process().ok_or("it does not run")?;
    let before = Weight::of(process)?.private;
    let silent = Work::Silent {
        connections: COMERS,
        places: SHARE,
    };
    let crowd = Load::start(&crowded.order(silent, plan.window))?.at_rest()?;
    let each = (Weight::of(process)?.private - before) as f64 / SHARE as f64;

    println!("\n{:<34} {:>10} {:>10}   ratio", "", "crowded", "empty");
    let mut figures = Vec::new();
    let sides = [&crowded, &empty];
    for (p50, p99, work) in [
        (
            "connect x1, p50, us",
            "connect x1, p99, us",
            Work::Connect { lanes: 1 },
        ),
        (
            "64 B x1, p50, us",
            "64 B x1, p99, us",
            Work::PingPong {
                size: 64,
                connections: 1,
            },
        ),
    ] {
        let rounds = in_turn(sides, plan, work)?;
        let half = |report: &Report| Some(report.latency?.p50);
        let most = |report: &Report| Some(report.latency?.p99);
        figures.push(Compared::of(p50, &rounds, half)?.print());
        figures.push(Compared::of(p99, &rounds, most)?.print());
    }
    println!("{:<34} {each:10.3}", "memory of a silent client, KiB");
    crowd.end()?;
    Ok(json!({ "figures": figures, "memory_each": each }))
}
