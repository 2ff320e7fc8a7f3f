//! What a process costs.

use std::{fs, time::Duration};

use nix::{
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

use super::Result;

/// What a process weighs, in KiB.
#[derive(Debug, Clone, Copy)]
pub struct Weight {
    /// Pages that are shared count in part.
    pub pss: u64,
    /// Pages of its own.
    pub private: u64,
    /// All pages.
    pub rss: u64,
}

// === impl Weight ===

impl Weight {
    /// What this process weighs now.
    pub fn of(process: u32) -> Result<Self> {
        let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
        let field = |name: &str| -> Result<u64> {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name));
            let value = line.and_then(|rest| rest.split_ascii_whitespace().next());
            Ok(value
                .ok_or(format!("smaps_rollup has no {name}"))?
                .parse()?)
        };
        Ok(Self {
            pss: field("Pss:")?,
            private: field("Private_Clean:")? + field("Private_Dirty:")?,
            rss: field("Rss:")?,
        })
    }
}

/// The processor time of all its threads, those that have ended too. Kept by the scheduler, in
/// nanoseconds: not sampled.
pub fn cpu(process: u32) -> Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(process.try_into()?))?;
    Ok(clock_gettime(clock)?.into())
}
