//! What the daemon costs while nothing happens: asleep, and waiting for a slow backend.

// This thread is nobody's runtime.
#![allow(clippy::disallowed_methods)]

use std::{net::TcpStream, thread, time::Duration};

use crate::{
    Result,
    daemon::{Daemon, Weight},
    figures::{Figures, Unit},
    script::{LIMIT, Part},
};

/// What has begun has settled then.
const SETTLE: Duration = Duration::from_secs(10);

/// How long it is watched.
const WATCH: Duration = Duration::from_secs(30);

/// Under 3 MiB.
pub const PSS_BAR: f64 = 3072.0;

/// Nothing of this ever wakes.
const LINES: &str = "STOP_CMD=/bin/true\nIDLE_TIME=10min\n";

/// Daemons that nobody has ever connected to, with few services and with many: watched at the
/// same time, left alone meanwhile.
pub fn idle(figures: &mut Figures) -> Result<()> {
    eprintln!("idle: {} s", (SETTLE + WATCH).as_secs());
    let daemons = [
        (1, Daemon::start(1, LINES)?),
        (100, Daemon::start(100, LINES)?),
    ];
    thread::sleep(SETTLE);
    let mut before = Vec::new();
    for (_, daemon) in &daemons {
        before.push((daemon.threads()?, daemon.cpu()?));
    }
    thread::sleep(WATCH);
    for ((count, daemon), ((_, switches), cpu)) in daemons.iter().zip(before) {
        // Before anything is read that costs it memory: it is not asked, the kernel is.
        let (threads, switched) = daemon.threads()?;
        let spent = daemon.cpu()?.saturating_sub(cpu);
        let name = |what: &str| format!("idle, {count} asleep: {what}");
        weigh(figures, &format!("idle, {count} asleep"), daemon.weight()?);
        figures.one(&name("threads"), threads as f64, Unit::Count, None);
        figures.one(
            &name("context switches in 30 s"),
            (switched - switches) as f64,
            Unit::Count,
            Some(0.0),
        );
        figures.one(&name("CPU in 30 s"), micros(spent), Unit::Micros, None);
    }
    Ok(())
}

/// A client is held for so long, as its backend takes that long.
pub fn waiting(figures: &mut Figures, pause: Duration) -> Result<()> {
    eprintln!("waiting: {} s", pause.as_secs());
    let daemon = Daemon::start(1, LINES)?;
    let service = &daemon.services[0];
    let client = TcpStream::connect(service.front)?;
    client.set_read_timeout(Some(LIMIT))?;
    let mut start = service.stage.start()?;
    start.play(Part {
        at: service.target,
        pause: pause * 2,
        clients: 1,
    })?;
    let before = daemon.cpu()?;
    thread::sleep(pause);
    let spent = daemon.cpu()?.saturating_sub(before);
    figures.one(
        &format!("waiting {} s for a backend: CPU", pause.as_secs()),
        micros(spent),
        Unit::Micros,
        None,
    );
    figures.one(
        "waiting: share of one core",
        100.0 * spent.as_secs_f64() / pause.as_secs_f64(),
        Unit::Percent,
        None,
    );
    Ok(())
}

/// Three rows: what the daemon weighs.
pub fn weigh(figures: &mut Figures, name: &str, weight: Weight) {
    let kib = |figures: &mut Figures, what: &str, kib: u64, bar| {
        figures.one(&format!("{name}: {what}"), kib as f64, Unit::Kib, bar);
    };
    kib(figures, "PSS", weight.pss, Some(PSS_BAR));
    kib(figures, "private", weight.private, None);
    kib(figures, "RSS", weight.rss, None);
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
