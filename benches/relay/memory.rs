//! What a relay weighs, and what each connection that rests adds to it. One relay at a time: side
//! by side they would share pages, and each seem to weigh less.

use std::{fs, net::SocketAddr, time::Duration};

use nix::sys::resource::{Resource, getrlimit};
use serde::Serialize;

use crate::{
    Result,
    common::{clock::now, ports::free_addresses, process::Weight},
    figures::QUIET,
    interruption,
    load::Load,
    meter,
    order::{Order, Watched, Work},
    relays::{Candidate, Kind, Room, Running},
};

/// What a relay has allocated for its beginning has settled then.
const SETTLE: Duration = Duration::from_secs(2);

/// How long connections rest: whoever gives back memory of idle ones has done so.
const REST: Duration = Duration::from_secs(10);

/// Connections that rest, where descriptors allow it.
const CONNECTIONS: usize = 2000;

/// socket-proxyd needs six for each.
const DESCRIPTORS_EACH: usize = 7;

/// Closed connections that the kernel remembers weigh, too, and go away meanwhile.
const FEW_REMEMBERED: u64 = 500;

/// They are remembered for a minute.
const FORGOTTEN: Duration = Duration::from_secs(65);

/// What one candidate weighs, in KiB.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Memory {
    /// PSS of all its processes, when nobody has come but one.
    pub idle: Option<f64>,
    /// What each connection adds to that.
    pub user: Option<f64>,
    /// What each adds to the kernel's, its ends at the client and the backend included.
    pub kernel: Option<f64>,
    /// Descriptors of the relay for each.
    pub descriptors: Option<f64>,
    /// How many processors were in use while all rested: by others, whose memory is in the
    /// kernel's too.
    pub others: f64,
}

/// What all of them weigh.
#[derive(Debug, Clone)]
pub struct Weighing {
    /// Of each candidate, in the order of the table, each time.
    pub each: Vec<Vec<Memory>>,
    /// Whether the kernel's was ours alone.
    pub quiet: bool,
}

/// A moment.
struct Weighed {
    pss: u64,
    slab: u64,
    descriptors: u64,
}

/// All candidates, one after the other, so many times over.
pub fn weigh(candidates: &[Candidate], times: usize) -> Result<Weighing> {
    let mut quiet = forget()?;
    let mut each = vec![Vec::new(); candidates.len()];
    // The kernel keeps some of what it had to get. The first to come would pay for all others.
    let doubled = 2 * connections()?;
    rest(&Candidate::new("direct", Kind::Direct), doubled)?;
    for time in 0..times {
        eprintln!("weighing {}", time + 1);
        let mut order: Vec<usize> = (0..candidates.len()).collect();
        if time % 2 == 1 {
            order.reverse();
        }
        for which in order {
            let candidate = &candidates[which];
            let memory = one(candidate);
            let memory = memory.map_err(|e| format!("memory of {}: {e}", candidate.name))?;
            quiet &= memory.others < QUIET;
            each[which].push(memory);
        }
        quiet &= remembered()? <= FEW_REMEMBERED;
    }
    Ok(Weighing { each, quiet })
}

fn one(candidate: &Candidate) -> Result<Memory> {
    let idle = idle(candidate)?;
    // A process for each connection is no relay for thousands.
    let resting = match candidate.kind {
        Kind::Socat => Memory::default(),
        _ => rest(candidate, connections()?)?,
    };
    Ok(Memory { idle, ..resting })
}

fn idle(candidate: &Candidate) -> Result<Option<f64>> {
    if candidate.kind == Kind::Direct {
        return Ok(None);
    }
    let at = free_addresses(1)?[0];
    let _backend = Running::backend(&[at])?;
    let relay = candidate.start(at, Room::Usual)?;
    pause(SETTLE)?;
    Ok(Some(Weighed::now(relay.process())?.pss as f64))
}

/// What so many connections add.
fn rest(candidate: &Candidate, connections: usize) -> Result<Memory> {
    let at = free_addresses(1)?[0];
    let backend = Running::backend(&[at])?;
    let relay = candidate.start(at, Room::Crowd)?;
    pause(SETTLE)?;
    let watched = Watched {
        relay: relay.process(),
        backend: backend.id(),
    };
    let before = Weighed::now(watched.relay)?;
    let load = Load::start(&order(relay.front, at, watched, connections))?.at_rest()?;
    let mut paused = Ok(());
    let others = meter::in_use(|| paused = pause(REST))?;
    paused?;
    let after = Weighed::now(watched.relay)?;
    load.end()?;
    let each = |after: u64, before: u64| (after as f64 - before as f64) / connections as f64;
    let of_relay = |value| relay.process().map(|_| value);
    let descriptors = each(after.descriptors, before.descriptors);
    Ok(Memory {
        idle: None,
        others,
        user: of_relay(each(after.pss, before.pss)),
        kernel: Some(each(after.slab, before.slab)),
        descriptors: of_relay(descriptors),
    })
}

fn order(front: SocketAddr, backend: SocketAddr, watched: Watched, connections: usize) -> Order {
    Order {
        work: Work::Still { connections },
        front,
        backend,
        watched,
        warm_up: Duration::ZERO,
        window: Duration::ZERO,
    }
}

fn connections() -> Result<usize> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let limit = usize::try_from(limit)?;
    Ok(CONNECTIONS.min(limit.saturating_sub(300) / DESCRIPTORS_EACH))
}

/// Waits until the kernel has forgotten the connections of others, and says whether it has.
fn forget() -> Result<bool> {
    let begun = now();
    while remembered()? > FEW_REMEMBERED {
        if now() - begun > FORGOTTEN {
            eprintln!("somebody else closes many connections; kernel memory is not only ours");
            return Ok(false);
        }
        pause(Duration::from_millis(500))?;
    }
    Ok(true)
}

/// TCP: inuse 9 orphan 0 tw 12 alloc 9 mem 0
fn remembered() -> Result<u64> {
    let text = fs::read_to_string("/proc/net/sockstat")?;
    let line = text.lines().find(|line| line.starts_with("TCP:"));
    let words = line.ok_or("/proc/net/sockstat has no TCP")?.split(' ');
    let count = words.skip_while(|word| *word != "tw").nth(1);
    Ok(count.ok_or("/proc/net/sockstat has no tw")?.parse()?)
}

fn pause(duration: Duration) -> Result<()> {
    let until = now() + duration;
    while now() < until {
        interruption::check()?;
        std::thread::park_timeout((until - now()).min(Duration::from_millis(200)));
    }
    Ok(())
}

// === impl Weighed ===

impl Weighed {
    fn now(relay: Option<u32>) -> Result<Self> {
        let mut weighed = Self {
            pss: 0,
            slab: slab()?,
            descriptors: 0,
        };
        let Some(relay) = relay else {
            return Ok(weighed);
        };
        for process in meter::family(relay)? {
            weighed.pss += Weight::of(process)?.pss;
            weighed.descriptors += fs::read_dir(format!("/proc/{process}/fd"))?.count() as u64;
        }
        Ok(weighed)
    }
}

fn slab() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:"));
    let value = line.and_then(|rest| rest.split_ascii_whitespace().next());
    Ok(value.ok_or("/proc/meminfo has no Slab")?.parse()?)
}
