//! How long to wait after a failed wake.

use std::time::Duration;

use crate::model::Timestamp;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// 0.5 s after the first failure, doubling to 30 s, cleared by success.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BackOff {
    failures: u32,
    until: Option<Timestamp>,
}

impl BackOff {
    /// Another wake has failed; says how long the pause is.
    pub(super) fn failed(&mut self, now: Timestamp) -> Duration {
        let pause = FIRST.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + pause);
        pause
    }

    /// A COMMAND is ready, and may fail soon all the same: that is one failure more then.
    pub(super) fn on_trial(&mut self) {
        self.until = None;
    }

    /// A wake has succeeded.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The earliest moment of the next wake, where that is not yet.
    pub(super) fn until(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.filter(|until| *until > now)
    }

    /// Wakes that failed since the last that did not.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_from_half_a_second_to_thirty() {
        let mut back_off = BackOff::default();
        let pauses: Vec<_> = (0..9)
            .map(|_| back_off.failed(Timestamp::BOOT).as_millis())
            .collect();
        assert_eq!(
            pauses,
            [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]
        );
        back_off.clear();
        assert_eq!(back_off.failed(Timestamp::BOOT).as_millis(), 500);
    }
}
