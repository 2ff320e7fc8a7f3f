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
///
/// Eight bytes, for every connection has some: nanoseconds, which last for 584 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Duration", into = "Duration")]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment of boot.
    pub const BOOT: Self = Self(0);

    /// A moment this long after boot.
    #[must_use]
    pub fn since_boot(duration: Duration) -> Self {
        Self(nanos(duration))
    }

    /// A moment so many nanoseconds after boot.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// How many nanoseconds after boot this is.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after boot this is.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// How long ago `earlier` was; zero if it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment plus a limit; `None`, which is never, where there is no limit.
    #[must_use]
    pub fn plus(self, limit: Option<Duration>) -> Option<Self> {
        let limit = u64::try_from(limit?.as_nanos()).ok()?;
        self.0.checked_add(limit).map(Self)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl From<Duration> for Timestamp {
    fn from(since_boot: Duration) -> Self {
        Self::since_boot(since_boot)
    }
}

impl From<Timestamp> for Duration {
    fn from(moment: Timestamp) -> Self {
        moment.as_duration()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "boot+{:.3}s", self.as_duration().as_secs_f64())
    }
}

/// More than there are is as many as there are: it is never, for all who ask.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
