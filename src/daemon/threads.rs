//! Where clients are relayed: on the daemon's own thread, or on some more beside it.
//!
//! Accepting, and all that a service decides, stays on the daemon's thread. A client's task is
//! handed over before its socket is given to any runtime, and stays where it is: its sockets, its
//! buffer and its pipes are one thread's. Handing over wakes another processor, and so does each
//! word of such a task to its service; one client alone is faster here. So a thread is used only
//! when it has some clients fewer than the daemon's own, and started only then: a daemon that
//! sleeps has none.

use std::{
    future::Future,
    io,
    num::NonZeroUsize,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};
use tracing::warn;

/// A thread of the runtime that hangs is not waited for longer.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(500);

/// So many clients fewer than the daemon's own thread has another one when it gets the next.
const HEAD_START: usize = 2;

/// Where THREADS says nothing there are no more than these; more were not measured.
const MOST_BY_DEFAULT: usize = 2;

/// The threads that relay. Cheap to clone; dropped for the last time, it ends those it started.
#[derive(Debug, Clone, Default)]
pub(super) struct Threads(Arc<Crew>);

#[derive(Debug, Default)]
struct Crew {
    /// Clients on the daemon's own thread.
    own: Arc<AtomicUsize>,
    hands: Vec<Hand>,
}

/// A thread beside the daemon's.
#[derive(Debug, Default)]
struct Hand {
    clients: Arc<AtomicUsize>,
    /// Empty until it is needed; `None` if it could not be had.
    running: OnceLock<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    runtime: Handle,
    /// Dropped, it ends the thread. `None` only while that happens.
    stay: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A client of one thread, until this is dropped.
pub(super) struct Counted(Arc<AtomicUsize>);

/// THREADS where nobody says it: one for each processor, up to two.
pub(super) fn default_count() -> NonZeroUsize {
    // Where that cannot be known there is one at least.
    let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let most = NonZeroUsize::new(MOST_BY_DEFAULT).expect("two");
    processors.min(most)
}

// === impl Threads ===

impl Threads {
    /// So many, with the one that there is.
    pub(super) fn new(count: NonZeroUsize) -> Self {
        let hands = (1..count.get()).map(|_| Hand::default()).collect();
        Self(Arc::new(Crew {
            own: Arc::default(),
            hands,
        }))
    }

    /// Runs a client's task, where there are few. The task keeps what it is given as long as it
    /// lives.
    ///
    /// The task is not wrapped in another, which would keep it twice: as what was given, and as
    /// what is awaited.
    pub(super) fn spawn<T>(&self, task: impl FnOnce(Counted) -> T)
    where
        T: Future<Output = ()> + Send + 'static,
    {
        match self.idlest() {
            Some((hand, running)) => {
                running.runtime.spawn(task(Counted::new(&hand.clients)));
            }
            None => {
                tokio::spawn(task(Counted::new(&self.0.own)));
            }
        }
    }

    /// The thread with the fewest clients; `None`: the daemon's own.
    fn idlest(&self) -> Option<(&Hand, &Running)> {
        let Crew { own, hands } = &*self.0;
        let (number, hand) = hands
            .iter()
            .enumerate()
            .filter(|(_, hand)| !hand.could_not_be_had())
            .min_by_key(|(_, hand)| hand.clients.load(Relaxed))?;
        let fewer = hand.clients.load(Relaxed) + HEAD_START <= own.load(Relaxed);
        let running = fewer.then(|| hand.running(number + 1)).flatten()?;
        Some((hand, running))
    }
}

// === impl Hand ===

impl Hand {
    fn running(&self, number: usize) -> Option<&Running> {
        let running = self.running.get_or_init(|| match Running::start(number) {
            Ok(running) => Some(running),
            Err(e) => {
                warn!("a thread to relay on cannot be had, the others go on without it: {e}");
                None
            }
        });
        running.as_ref()
    }

    fn could_not_be_had(&self) -> bool {
        matches!(self.running.get(), Some(None))
    }
}

// === impl Running ===

impl Running {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stay, leave) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(format!("relay-{number}"))
            .spawn(move || {
                // The sender is never used, only dropped.
                let _ = runtime.block_on(leave);
                // A look-up that hangs in a name service is not waited for.
                runtime.shutdown_timeout(SHUTDOWN_LIMIT);
            })?;
        Ok(Self {
            runtime: handle,
            stay: Some(stay),
            thread: Some(thread),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stay.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed there; the tasks' own panics are caught by the
            // runtime.
            let _ = thread.join();
        }
    }
}

// === impl Counted ===

impl Counted {
    fn new(clients: &Arc<AtomicUsize>) -> Self {
        clients.fetch_add(1, Relaxed);
        Self(Arc::clone(clients))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::thread::ThreadId;

    use tokio::sync::mpsc;

    use super::*;

    /// Runs so many tasks; the threads they run on, and what lets each of them end.
    async fn fill(threads: &Threads, clients: usize) -> (Vec<ThreadId>, Vec<oneshot::Sender<()>>) {
        let (say, mut said) = mpsc::unbounded_channel();
        let stays: Vec<_> = (0..clients)
            .map(|_| {
                let say = say.clone();
                let (stay, gone) = oneshot::channel();
                threads.spawn(|counted| async move {
                    let _counted = counted;
                    say.send(std::thread::current().id()).unwrap();
                    // Sent or dropped, it is the end.
                    let _ = gone.await;
                });
                stay
            })
            .collect();
        let mut places = Vec::new();
        while places.len() < clients {
            places.push(said.recv().await.unwrap());
        }
        (places, stays)
    }

    fn new(count: usize) -> Threads {
        Threads::new(NonZeroUsize::new(count).unwrap())
    }

    #[tokio::test]
    async fn one_client_stays_and_many_are_shared_evenly() {
        let own = std::thread::current().id();
        let threads = new(3);
        let (places, stays) = fill(&threads, 1).await;
        assert_eq!(places, [own]);
        let started = |hand: &Hand| hand.running.get().is_some();
        assert!(!threads.0.hands.iter().any(started), "started for one");
        drop(stays);
        let (places, _stays) = fill(&threads, 30).await;
        for place in &places {
            let share = places.iter().filter(|other| *other == place).count();
            assert!((9..=12).contains(&share), "{places:?}");
        }
        let here = places.iter().filter(|place| **place == own).count();
        assert!(here >= 9, "{places:?}");
    }

    #[tokio::test]
    async fn a_thread_that_cannot_be_had_is_done_without() {
        let threads = new(3);
        threads.0.hands[0].running.set(None).unwrap();
        let (places, _stays) = fill(&threads, 30).await;
        assert_eq!(threads.0.hands[0].clients.load(Relaxed), 0);
        assert!(threads.0.hands[1].clients.load(Relaxed) >= 14, "{places:?}");
    }

    #[tokio::test]
    async fn a_single_thread_hands_nothing_over() {
        let own = std::thread::current().id();
        let (places, _stays) = fill(&new(1), 30).await;
        assert!(places.iter().all(|place| *place == own));
    }

    #[tokio::test]
    async fn a_client_that_ends_makes_room_on_its_thread() {
        let threads = new(2);
        let (_, stays) = fill(&threads, 20).await;
        drop(stays);
        while threads.0.hands[0].clients.load(Relaxed) + threads.0.own.load(Relaxed) > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn threads_end_with_the_last_of_their_handles() {
        let threads = new(2);
        let (_, stays) = fill(&threads, 10).await;
        drop(threads);
        // Their tasks went with them.
        assert!(stays.iter().any(oneshot::Sender::is_closed));
    }
}
