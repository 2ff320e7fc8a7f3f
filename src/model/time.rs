//! A moment on the boot-time clock.

use std::{
    fmt,
    ops::{Add, Sub},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// A moment, as time since boot, suspend included (`CLOCK_BOOTTIME`, clock_gettime(2)).
///
/// Unlike the wall clock it never jumps; unlike the monotonic clock it goes on while the machine
/// is suspended; unlike `Instant` it means the same to the next process, so it can be written to
/// the runtime directory. It means nothing after a reboot, and neither does that directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(Duration);

impl Timestamp {
    /// The moment of boot.
    pub const BOOT: Self = Self(Duration::ZERO);

    /// A moment this long after boot.
    #[must_use]
    pub const fn since_boot(duration: Duration) -> Self {
        Self(duration)
    }

    /// How long after boot this is.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        self.0
    }

    /// How long ago `earlier` was; zero if it is not earlier.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment plus a limit; `None`, which is never, where there is no limit.
    #[must_use]
    pub fn plus(self, limit: Option<Duration>) -> Option<Self> {
        limit.and_then(|limit| self.0.checked_add(limit)).map(Self)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "boot+{:.3}s", self.0.as_secs_f64())
    }
}
