//! Readings of everybody's processor time, at one moment.

use std::{fs, time::Duration};

use nix::unistd::{SysconfVar, sysconf};

use crate::{
    Result,
    common::{clock::now, process},
    order::{Spent, Watched},
};

/// What everybody has used until a moment.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// The moment.
    pub at: Duration,
    relay: Duration,
    load: Duration,
    backend: Duration,
    idle: Duration,
}

/// A fraction of a second in /proc.
struct Ticks(u64);

// === impl Reading ===

impl Reading {
    /// Reads all clocks.
    pub fn take(watched: Watched) -> Result<Self> {
        Ok(Self {
            at: now(),
            relay: watched.relay.map_or(Ok(Duration::ZERO), tree)?,
            load: process::cpu(std::process::id())?,
            backend: process::cpu(watched.backend)?,
            idle: idle()?,
        })
    }

    /// What was used since then.
    pub fn since(&self, then: &Self) -> Result<Spent> {
        let seconds = |of: fn(&Self) -> Duration| of(self).saturating_sub(of(then)).as_secs_f64();
        let cores = std::thread::available_parallelism()?.get();
        Ok(Spent {
            relay: seconds(|r| r.relay),
            load: seconds(|r| r.load),
            backend: seconds(|r| r.backend),
            machine: seconds(|r| r.at) * cores as f64 - seconds(|r| r.idle),
        })
    }
}

/// How much of the machine (in processors) is in use between two moments; for when nothing ought
/// to be.
pub fn in_use(during: impl FnOnce()) -> Result<f64> {
    let (begun, idle_then) = (now(), idle()?);
    during();
    let (ended, idle_now) = (now(), idle()?);
    let elapsed = (ended - begun).as_secs_f64();
    let cores = std::thread::available_parallelism()?.get();
    Ok(cores as f64 - (idle_now.saturating_sub(idle_then)).as_secs_f64() / elapsed)
}

/// The time that no processor of this machine was used in, or that was stolen by its host.
///
/// The idle time is measured by the kernel, where the time in use is sampled by the tick; hence
/// what is in use is taken to be what is not idle.
fn idle() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let all = stat.lines().next().ok_or("/proc/stat is empty")?;
    let fields: Vec<u64> = all
        .split_ascii_whitespace()
        .skip(1)
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    // cpu user nice system idle iowait irq softirq steal
    let [_, _, _, idle, wait, _, _, stolen, ..] = fields[..] else {
        return Err("the first line of /proc/stat is too short".into());
    };
    Ok(Ticks(idle).time()? + Ticks(wait).time()? + Ticks(stolen).time()?)
}

/// The processor time of a process and all that descend from it, those too that have ended and
/// been waited for.
fn tree(root: u32) -> Result<Duration> {
    let mut sum = one(root)?;
    for process in &family(root)?[1..] {
        // It may have ended meanwhile; its time is with its parent's then.
        sum += one(*process).unwrap_or_default();
    }
    Ok(sum)
}

/// A process, and all that descend from it.
pub fn family(root: u32) -> Result<Vec<u32>> {
    let mut all = vec![root];
    let mut looked = 0;
    while let Some(process) = all.get(looked).copied() {
        looked += 1;
        match children(process) {
            Ok(children) => all.extend(children),
            Err(e) if process == root => return Err(e),
            // It has ended meanwhile.
            Err(_) => {}
        }
    }
    Ok(all)
}

fn children(process: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for task in fs::read_dir(format!("/proc/{process}/task"))? {
        let list = fs::read_to_string(task?.path().join("children"))?;
        for child in list.split_ascii_whitespace() {
            children.push(child.parse()?);
        }
    }
    Ok(children)
}

fn one(process: u32) -> Result<Duration> {
    let own = process::cpu(process)?;
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may have spaces in it. After it: state, parent, and so on.
    let (_, fields) = stat.rsplit_once(") ").ok_or("a stat without a name")?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let ended = |at: usize| -> Result<Duration> {
        Ticks(fields.get(at).ok_or("a stat that is too short")?.parse()?).time()
    };
    // cutime and cstime, the 16th and 17th.
    Ok(own + ended(13)? + ended(14)?)
}

// === impl Ticks ===

impl Ticks {
    fn time(self) -> Result<Duration> {
        let per_second = sysconf(SysconfVar::CLK_TCK)?.ok_or("no CLK_TCK")?;
        Ok(Duration::from_secs_f64(self.0 as f64 / per_second as f64))
    }
}
