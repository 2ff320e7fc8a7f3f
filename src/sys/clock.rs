//! The boot-time clock.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::model::Timestamp;

/// Now, on the clock that goes on while the machine is suspended and never jumps
/// (`CLOCK_BOOTTIME`).
#[must_use]
pub fn now() -> Timestamp {
    read(ClockId::CLOCK_BOOTTIME)
}

/// Now on `CLOCK_MONOTONIC`, as `RELOADING=1` has it in `MONOTONIC_USEC=` (sd_notify(3)).
#[must_use]
pub fn monotonic() -> Duration {
    read(ClockId::CLOCK_MONOTONIC).as_duration()
}

fn read(clock: ClockId) -> Timestamp {
    let time = clock_gettime(clock).expect("every Linux since 2.6.39 has these clocks");
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec()).unwrap_or(0);
    Timestamp::since_boot(Duration::new(seconds, nanos))
}
