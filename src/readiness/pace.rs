//! When to ask again.

use std::time::Duration;

/// Pauses that double up to a limit.
#[derive(Debug, Clone)]
pub struct BackOff {
    next: Duration,
    limit: Duration,
}

/// How long to pause before the kernel is asked again, after waiting for so long: 250 us for the
/// first 50 ms, so that a backend that is quick is found at once; seldom later, so that one that
/// is slow costs nothing. The mean delay is half of it.
#[must_use]
pub fn interval(waited: Duration) -> Duration {
    const FIRST: Duration = Duration::from_millis(50);
    const SECOND: Duration = Duration::from_secs(1);
    const TENTH: Duration = Duration::from_secs(10);
    match waited {
        _ if waited < FIRST => Duration::from_micros(250),
        _ if waited < SECOND => Duration::from_millis(1),
        _ if waited < TENTH => Duration::from_millis(5),
        _ => Duration::from_millis(25),
    }
}

// === impl BackOff ===

impl BackOff {
    /// From `first`, doubling, to `limit`.
    #[must_use]
    pub fn new(first: Duration, limit: Duration) -> Self {
        Self { next: first, limit }
    }

    /// The pause to make now.
    pub fn step(&mut self) -> Duration {
        let now = self.next;
        self.next = (now * 2).min(self.limit);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_often_at_first_and_seldom_later() {
        let at = |ms| interval(Duration::from_millis(ms)).as_micros();
        assert_eq!([at(0), at(49), at(50), at(999)], [250, 250, 1000, 1000]);
        assert_eq!(
            [at(1000), at(9999), at(10_000), at(600_000)],
            [5000, 5000, 25_000, 25_000]
        );
    }

    #[test]
    fn pauses_double_up_to_their_limit() {
        let mut pauses = BackOff::new(Duration::from_millis(300), Duration::from_secs(1));
        let taken: Vec<_> = (0..4).map(|_| pauses.step().as_millis()).collect();
        assert_eq!(taken, [300, 600, 1000, 1000]);
    }
}
