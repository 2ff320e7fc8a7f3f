//! What a relay does while it runs, for others to see.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::model::Timestamp;

/// Bytes and the time of the last one, shared between a relay and whoever watches it. Clones are
/// the same activity.
#[derive(Debug, Clone)]
pub struct Activity(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Nanoseconds since boot.
    last_byte: AtomicU64,
    to_backend: AtomicU64,
    to_client: AtomicU64,
}

impl Activity {
    /// Nothing has happened yet but that the connection came, at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(Shared {
            last_byte: AtomicU64::new(now.as_nanos()),
            to_backend: AtomicU64::new(0),
            to_client: AtomicU64::new(0),
        }))
    }

    /// When the last byte was delivered, either way; before the first, when it was made.
    #[must_use]
    pub fn last_byte(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.last_byte.load(Relaxed))
    }

    /// Bytes delivered to the backend so far.
    #[must_use]
    pub fn to_backend(&self) -> u64 {
        self.0.to_backend.load(Relaxed)
    }

    /// Bytes delivered to the client so far.
    #[must_use]
    pub fn to_client(&self) -> u64 {
        self.0.to_client.load(Relaxed)
    }

    pub(super) fn record(&self, now: Timestamp, to_backend: u64, to_client: u64) {
        self.0.to_backend.store(to_backend, Relaxed);
        self.0.to_client.store(to_client, Relaxed);
        self.0.last_byte.store(now.as_nanos(), Relaxed);
    }
}
