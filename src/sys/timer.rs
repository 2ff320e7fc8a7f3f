//! A timer finer than tokio's.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, RawFd},
    time::Duration,
};

use nix::{
    sys::{
        time::TimeSpec,
        timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags},
    },
    unistd::read,
};
use tokio::io::{Interest, unix::AsyncFd};

/// A timer as fine as the kernel's (timerfd_create(2)); tokio's own counts milliseconds.
#[derive(Debug)]
pub struct Timer(AsyncFd<Descriptor>);

#[derive(Debug)]
struct Descriptor(TimerFd);

// === impl Timer ===

impl Timer {
    /// A timer that is not running.
    ///
    /// # Errors
    /// Where there is no descriptor left for it. Panics outside a tokio runtime with I/O.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        // SAFETY: the descriptor is open, and nobody closes or replaces it: it lives inside the
        // AsyncFd, which lends it out only shared.
        Ok(Self(unsafe {
            AsyncFd::register_with_interest(Descriptor(timer), Interest::READABLE)?
        }))
    }

    /// Sleeps for so long. May be dropped; the next sleep begins anew.
    ///
    /// # Errors
    /// Where the kernel refuses, which it has no reason to.
    pub async fn sleep(&self, pause: Duration) -> io::Result<()> {
        // Zero would switch the timer off.
        let pause = TimeSpec::from(pause.max(Duration::from_nanos(1)));
        self.0
            .get_ref()
            .0
            .set(Expiration::OneShot(pause), TimerSetTimeFlags::empty())?;
        loop {
            let mut ready = self.0.readable().await?;
            let expired = ready.try_io(|timer| {
                // Setting it anew has forgotten an expiry that nobody read.
                read(timer.get_ref().0.as_fd(), &mut [0; 8]).map_err(io::Error::from)
            });
            if let Ok(result) = expired {
                // One expiry, and it has been read: without this the next sleep would begin with
                // a read in vain.
                ready.clear_ready();
                return result.map(drop);
            }
        }
    }
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock;

    #[tokio::test]
    async fn the_timer_is_finer_than_a_millisecond_and_can_be_left() {
        let timer = Timer::new().unwrap();
        // Left before it has run out, it does not spoil the next sleep.
        tokio::select! {
            biased;
            () = async {} => {}
            _ = timer.sleep(Duration::from_nanos(1)) => {}
        }
        let before = clock::now();
        for _ in 0..100 {
            timer.sleep(Duration::from_micros(200)).await.unwrap();
        }
        let took = clock::now().since(before);
        assert!(took >= Duration::from_millis(20), "{took:?}");
        // A hundred sleeps on a timer of 1 ms would take more than 100 ms; leave room for load.
        assert!(took < Duration::from_millis(95), "{took:?}");
    }
}
