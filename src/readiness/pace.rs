//! When to ask again.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{model::Timestamp, sys::clock};

/// Pauses that double up to a limit.
#[derive(Debug, Clone)]
pub struct BackOff {
    next: Duration,
    limit: Duration,
}

/// A wait of which the kernel is asked again and again, from its begin to its drop.
#[derive(Debug)]
pub struct Asking {
    begun: Timestamp,
}

/// How many [`Asking`] there are, in all services together.
static ASKING: AtomicU32 = AtomicU32::new(0);

/// So many wake at once before each is asked about less often.
const UNHURRIED: u32 = 8;

/// How long to pause before the kernel is asked again, after waiting for so long beside so many
/// others: 250 us for the first 50 ms, 1 ms for the first ten seconds, seldom later. One question
/// costs some 15 us in all, so a wake of ten seconds costs a seventh of one. The mean delay is half
/// the pause.
///
/// Where many services wake at once (a machine that has just booted), each is asked about less
/// often, so that together they cost no more than eight: the relays run on the same thread.
#[must_use]
fn interval(waited: Duration, asking: u32) -> Duration {
    const FIRST: Duration = Duration::from_millis(50);
    const TENTH: Duration = Duration::from_secs(10);
    const MINUTE: Duration = Duration::from_secs(60);
    let alone = match waited {
        _ if waited < FIRST => Duration::from_micros(250),
        _ if waited < TENTH => Duration::from_millis(1),
        _ if waited < MINUTE => Duration::from_millis(5),
        _ => Duration::from_millis(25),
    };
    alone * asking.max(UNHURRIED) / UNHURRIED
}

// === impl Asking ===

impl Asking {
    /// From now on.
    pub fn begin() -> Self {
        ASKING.fetch_add(1, Ordering::Relaxed);
        Self {
            begun: clock::now(),
        }
    }

    /// How long to pause before the kernel is asked again.
    pub fn pause(&self) -> Duration {
        let waited = clock::now().since(self.begun);
        interval(waited, ASKING.load(Ordering::Relaxed))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        ASKING.fetch_sub(1, Ordering::Relaxed);
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
        let at = |ms| interval(Duration::from_millis(ms), 1).as_micros();
        assert_eq!([at(0), at(49), at(50), at(9999)], [250, 250, 1000, 1000]);
        assert_eq!([at(10_000), at(59_999)], [5000, 5000]);
        assert_eq!([at(60_000), at(600_000)], [25_000, 25_000]);
    }

    #[test]
    fn many_that_wake_at_once_ask_no_more_often_than_a_few() {
        let with = |asking| interval(Duration::from_secs(1), asking).as_micros();
        assert_eq!(
            [with(1), with(8), with(16), with(800)],
            [1000, 1000, 2000, 100_000]
        );
    }

    #[test]
    fn a_wait_counts_until_it_is_dropped() {
        // Other tests wait too; so only what these do is seen, not what it comes to.
        let many: Vec<_> = (0..800).map(|_| Asking::begin()).collect();
        assert!(many[0].pause() >= Duration::from_millis(25));
        drop(many);
        assert!(Asking::begin().pause() < Duration::from_millis(25));
    }

    #[test]
    fn pauses_double_up_to_their_limit() {
        let mut pauses = BackOff::new(Duration::from_millis(300), Duration::from_secs(1));
        let taken: Vec<_> = (0..4).map(|_| pauses.step().as_millis()).collect();
        assert_eq!(taken, [300, 600, 1000, 1000]);
    }
}
