//! What the daemon costs while nothing happens: asleep, and waiting for a slow backend.

// This thread is nobody's runtime.
#![allow(clippy::disallowed_methods)]

use std::{net::TcpStream, path::Path, thread, time::Duration};

use crate::{
    Result,
    common::process::Weight,
    daemon::Daemon,
    figures::{Figures, Unit},
    script::Part,
};

/// What has begun has settled then.
const SETTLE: Duration = Duration::from_secs(10);

/// How long it is watched.
const WATCH: Duration = Duration::from_secs(30);

/// How long a backend is waited for.
const WAIT: Duration = Duration::from_secs(10);

/// Under 3 MiB, with one service. With many the row is there to show what each of them adds.
pub const PSS_BAR: f64 = 3072.0;

/// Nothing of this ever wakes.
const LINES: &str = "STOP_CMD=/bin/true\nIDLE_TIME=10min\n";

/// A daemon that nobody has ever connected to, with few services and with many. One after the
/// other: side by side they would share the pages of the program, and each seem to weigh half.
pub fn idle(figures: &mut Figures, program: &Path) -> Result<()> {
    for count in [1, 100] {
        eprintln!("idle, {count} asleep: {} s", (SETTLE + WATCH).as_secs());
        let daemon = Daemon::start(program, count, LINES)?;
        thread::sleep(SETTLE);
        let ((_, switches), cpu) = (daemon.threads()?, daemon.cpu()?);
        thread::sleep(WATCH);
        let (threads, switched) = daemon.threads()?;
        let spent = daemon.cpu()?.saturating_sub(cpu);
        let name = format!("idle, {count} asleep");
        weigh(
            figures,
            &name,
            daemon.weight()?,
            (count == 1).then_some(PSS_BAR),
        );
        let mut one = |what: &str, value, unit, bar| {
            figures.one(&format!("idle, {count} asleep: {what}"), value, unit, bar);
        };
        one("threads", threads as f64, Unit::Count, None);
        let switches = (switched - switches) as f64;
        one("context switches in 30 s", switches, Unit::Count, Some(0.0));
        one("CPU in 30 s", micros(spent), Unit::Micros, None);
    }
    Ok(())
}

/// One client is held while its backend takes its time; then a hundred are, of as many services.
pub fn waiting(figures: &mut Figures, program: &Path) -> Result<()> {
    for count in [1, 100] {
        eprintln!("waiting for {count}: {} s", WAIT.as_secs());
        let daemon = Daemon::start(program, count, LINES)?;
        let mut held = Vec::new();
        for service in &daemon.services {
            let client = TcpStream::connect(service.front)?;
            let mut start = service.stage.start()?;
            start.play(Part {
                at: service.target,
                pause: WAIT * 2,
                clients: 1,
            })?;
            held.push((client, start));
        }
        let before = daemon.cpu()?;
        thread::sleep(WAIT);
        let spent = daemon.cpu()?.saturating_sub(before);
        let share = 100.0 * spent.as_secs_f64() / WAIT.as_secs_f64();
        let mut one = |what: &str, value, unit| {
            let name = format!("{count} waiting for a backend: {what}");
            figures.one(&name, value, unit, None);
        };
        one("CPU in 10 s", micros(spent), Unit::Micros);
        one("share of one core", share, Unit::Percent);
    }
    Ok(())
}

/// Three rows: what the daemon weighs.
pub fn weigh(figures: &mut Figures, name: &str, weight: Weight, bar: Option<f64>) {
    let kib = |figures: &mut Figures, what: &str, kib: u64, bar| {
        figures.one(&format!("{name}: {what}"), kib as f64, Unit::Kib, bar);
    };
    kib(figures, "PSS", weight.pss, bar);
    kib(figures, "private", weight.private, None);
    kib(figures, "RSS", weight.rss, None);
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
