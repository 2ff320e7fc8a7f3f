//! Descriptors: so many for clients, the rest held back.
//!
//! A relay takes two. When the share of the clients is used up, accepting stops before the
//! descriptors are gone, so that a STOP can always be started, a file be read, a pipe be had.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// Held back: for the daemon itself, the commands that run, and the pipes of bulk relays (which
/// are copied where there is none).
const RESERVE: usize = 64;

/// How many clients the whole daemon has room for. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clients: AtomicUsize,
    /// Clients that have ended, ever.
    ended: AtomicUsize,
    most: usize,
    room: Notify,
}

/// Room for one client, given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Budget);

impl Budget {
    /// `limit` is RLIMIT_NOFILE.
    pub(super) fn new(limit: u64) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        // Of a very low limit at least something is left for clients.
        let share = limit.saturating_sub(RESERVE.min(limit / 2));
        Self(Arc::new(Inner {
            clients: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            most: (share / 2).max(1),
            room: Notify::new(),
        }))
    }

    /// Whether another client may be accepted.
    pub(super) fn has_room(&self) -> bool {
        self.0.clients.load(Ordering::Relaxed) < self.0.most
    }

    /// How many clients there is room for.
    pub(super) fn most(&self) -> usize {
        self.0.most
    }

    /// Clients that have ended until now; for [`Self::freed_since`].
    pub(super) fn ended(&self) -> usize {
        self.0.ended.load(Ordering::Relaxed)
    }

    /// Waits until a client has ended since `ended` was asked, whether or not there is room then.
    /// Dropped and asked again, it misses none.
    pub(super) async fn freed_since(&self, ended: usize) {
        loop {
            // Before the look: who ends after it is heard.
            let notified = self.0.room.notified();
            if self.ended() != ended {
                return;
            }
            notified.await;
        }
    }

    /// A client was accepted.
    pub(super) fn take(&self) -> Place {
        self.0.clients.fetch_add(1, Ordering::Relaxed);
        Place(self.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.clients.fetch_sub(1, Ordering::Relaxed);
        self.0.0.ended.fetch_add(1, Ordering::Relaxed);
        self.0.0.room.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_held_back_and_room_comes_back() {
        // 132 less the 64 that are held back is room for 34 relays.
        let budget = Budget::new(132);
        let mut places: Vec<Place> = (0..34).map(|_| budget.take()).collect();
        assert!(!budget.has_room());
        places.pop();
        assert!(budget.has_room());
        assert!(Budget::new(4).has_room());
    }

    #[tokio::test]
    async fn an_end_that_nobody_waited_for_is_not_missed() {
        let budget = Budget::new(132);
        let before = budget.ended();
        drop(budget.take());
        budget.freed_since(before).await;
    }
}
