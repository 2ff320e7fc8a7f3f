//! What the relays of this process have done, for `status` and the metrics. A silent fall-back
//! from splicing to copying would be seen here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::pool;
use crate::model::End;

/// Counts since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Bytes delivered through a pipe.
    pub spliced: u64,
    /// Bytes delivered through a buffer.
    pub copied: u64,
    /// Times a pipe was leased.
    pub pipes_leased: u64,
    /// Times there was no pipe to be had, and it was copied instead.
    pub pipes_refused: u64,
    /// Times a socket could not be spliced.
    pub splice_refused: u64,
    /// Pipes that are open now, spares among them.
    pub pipes_open: usize,
    /// Relays that began.
    pub begun: u64,
    /// Relays that ended with every byte delivered.
    pub finished: u64,
    /// Relays that ended with a reset.
    pub reset: u64,
    /// Relays that CLIENT_TIMEOUT ended.
    pub idle_timeout: u64,
    /// Relays that HALF_CLOSE_TIMEOUT ended.
    pub half_close_timeout: u64,
    /// Relays that DRAIN_TIMEOUT ended.
    pub drain_timeout: u64,
    /// Relays whose backend was put to sleep.
    pub put_to_sleep: u64,
    /// Relays that ended with a system call that failed.
    pub failed: u64,
}

static SPLICED: AtomicU64 = AtomicU64::new(0);
static COPIED: AtomicU64 = AtomicU64::new(0);
static PIPES_LEASED: AtomicU64 = AtomicU64::new(0);
static PIPES_REFUSED: AtomicU64 = AtomicU64::new(0);
static SPLICE_REFUSED: AtomicU64 = AtomicU64::new(0);
static BEGUN: AtomicU64 = AtomicU64::new(0);
static FINISHED: AtomicU64 = AtomicU64::new(0);
static RESET: AtomicU64 = AtomicU64::new(0);
static IDLE_TIMEOUT: AtomicU64 = AtomicU64::new(0);
static HALF_CLOSE_TIMEOUT: AtomicU64 = AtomicU64::new(0);
static DRAIN_TIMEOUT: AtomicU64 = AtomicU64::new(0);
static PUT_TO_SLEEP: AtomicU64 = AtomicU64::new(0);
static FAILED: AtomicU64 = AtomicU64::new(0);

/// The counts as they are now; each for itself, not one consistent picture.
#[must_use]
pub fn counters() -> Counters {
    Counters {
        spliced: SPLICED.load(Relaxed),
        copied: COPIED.load(Relaxed),
        pipes_leased: PIPES_LEASED.load(Relaxed),
        pipes_refused: PIPES_REFUSED.load(Relaxed),
        splice_refused: SPLICE_REFUSED.load(Relaxed),
        pipes_open: pool::open_pipes(),
        begun: BEGUN.load(Relaxed),
        finished: FINISHED.load(Relaxed),
        reset: RESET.load(Relaxed),
        idle_timeout: IDLE_TIMEOUT.load(Relaxed),
        half_close_timeout: HALF_CLOSE_TIMEOUT.load(Relaxed),
        drain_timeout: DRAIN_TIMEOUT.load(Relaxed),
        put_to_sleep: PUT_TO_SLEEP.load(Relaxed),
        failed: FAILED.load(Relaxed),
    }
}

pub(super) fn moved(copied: u64, spliced: u64) {
    // Most turns move bytes one way only; an addition of nothing would still cost the bus.
    if copied > 0 {
        COPIED.fetch_add(copied, Relaxed);
    }
    if spliced > 0 {
        SPLICED.fetch_add(spliced, Relaxed);
    }
}

pub(super) fn pipe_leased() {
    PIPES_LEASED.fetch_add(1, Relaxed);
}

pub(super) fn pipe_refused() {
    PIPES_REFUSED.fetch_add(1, Relaxed);
}

pub(super) fn splice_refused() {
    SPLICE_REFUSED.fetch_add(1, Relaxed);
}

pub(super) fn begun() {
    BEGUN.fetch_add(1, Relaxed);
}

pub(super) fn ended(end: End) {
    let counter = match end {
        End::Finished => &FINISHED,
        End::Reset => &RESET,
        End::IdleTimeout => &IDLE_TIMEOUT,
        End::HalfCloseTimeout => &HALF_CLOSE_TIMEOUT,
        End::DrainTimeout => &DRAIN_TIMEOUT,
        End::PutToSleep => &PUT_TO_SLEEP,
        // Counted when it was refused: every client ends in one way.
        End::Refused => return,
        End::Failed(_) => &FAILED,
    };
    counter.fetch_add(1, Relaxed);
}
