//! Descriptors: so many for clients, the rest held back.
//!
//! A relay takes two. When the share of the clients is used up, accepting stops before the
//! descriptors are gone, so that a STOP can always be started, a file be read. The pipes of bulk
//! relays have a share of their own, which is nobody else's even while it is not used.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

use crate::relay::PipeLimit;

/// Held back beyond what is open already: for files, the log, the control socket, the threads.
const RESERVE: usize = 32;

/// Held back for each service: the pipes of a backend that runs, what tells of its end, and the pipes
/// of a command that is started to look after it.
const PER_SERVICE: usize = 8;

/// How many clients the whole daemon has room for. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clients: AtomicUsize,
    /// Clients that have ended, ever.
    ended: AtomicUsize,
    /// What there is for all but the pipes.
    limit: usize,
    most: AtomicUsize,
    room: Notify,
}

/// Room for one client, given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Budget);

impl Budget {
    /// `limit` is RLIMIT_NOFILE. Without services everything but the reserve and the pipes is for
    /// clients.
    pub(super) fn new(limit: usize, pipes: PipeLimit) -> Self {
        let limit = limit.saturating_sub(pipes.descriptors());
        let budget = Self(Arc::new(Inner {
            clients: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            limit,
            most: AtomicUsize::new(1),
            room: Notify::new(),
        }));
        budget.share(0, 0);
        budget
    }

    /// Takes anew what is left for clients. `open`: descriptors that are open now, those of clients
    /// and of pipes aside.
    pub(super) fn share(&self, open: usize, services: usize) {
        let reserve = open + RESERVE + services * PER_SERVICE;
        // Of a very low limit at least something is left for clients.
        let share = self
            .0
            .limit
            .saturating_sub(reserve.min(self.0.limit * 3 / 4));
        self.0.most.store((share / 2).max(1), Ordering::Relaxed);
    }

    /// Clients that are there now.
    pub(super) fn clients(&self) -> usize {
        self.0.clients.load(Ordering::Relaxed)
    }

    /// Whether another client may be accepted.
    pub(super) fn has_room(&self) -> bool {
        self.clients() < self.most()
    }

    /// How many clients there is room for.
    pub(super) fn most(&self) -> usize {
        self.0.most.load(Ordering::Relaxed)
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

    fn budget(limit: usize) -> Budget {
        Budget::new(limit, PipeLimit::among(limit))
    }

    #[test]
    fn some_descriptors_are_held_back_and_room_comes_back() {
        let budget = budget(152);
        // Nine pipes may be open, twenty others are, and two services are looked after:
        // 152 - 18 - 20 - 32 - 2 * 8.
        budget.share(20, 2);
        let mut places: Vec<Place> = (0..33).map(|_| budget.take()).collect();
        assert!(!budget.has_room());
        places.pop();
        assert!(budget.has_room());
    }

    #[test]
    fn of_a_very_low_limit_something_is_for_clients() {
        assert!(budget(4).has_room());
        // 64, less those of four pipes, of which three quarters are held back at most.
        let budget = budget(64);
        budget.share(1000, 1000);
        assert_eq!(budget.most(), 7);
    }

    #[tokio::test]
    async fn an_end_that_nobody_waited_for_is_not_missed() {
        let budget = budget(132);
        let before = budget.ended();
        drop(budget.take());
        budget.freed_since(before).await;
    }
}
