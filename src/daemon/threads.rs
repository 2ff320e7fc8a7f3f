//! Where clients are relayed: on the daemon's own thread, or on some more beside it.
//!
//! Accepting, and all that a service decides, stays on the daemon's thread. A client's task is
//! handed to the thread with the fewest clients before its socket is given to any runtime, and
//! stays there: its sockets, its buffer and its pipes are one thread's. With one thread, the
//! default, nothing is handed over and nobody is woken for it.

use std::{
    future::Future,
    io,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// A thread of the runtime that hangs is not waited for longer.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(500);

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
#[derive(Debug)]
struct Hand {
    runtime: Handle,
    clients: Arc<AtomicUsize>,
    /// Dropped, it ends the thread. `None` only while that happens.
    stay: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A client of one thread, for as long as its task lives.
struct Counted(Arc<AtomicUsize>);

// === impl Threads ===

impl Threads {
    /// Starts all but the one that there is.
    ///
    /// # Errors
    /// Those of `pthread_create(3)` and of a new runtime.
    pub(super) fn start(count: NonZeroUsize) -> io::Result<Self> {
        let hands = (1..count.get()).map(Hand::start);
        Ok(Self(Arc::new(Crew {
            own: Arc::default(),
            hands: hands.collect::<io::Result<_>>()?,
        })))
    }

    /// Runs a client's task, on the thread with the fewest.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let Crew { own, hands } = &*self.0;
        if hands.is_empty() {
            tokio::spawn(task);
            return;
        }
        let idlest = hands.iter().min_by_key(|hand| hand.clients.load(Relaxed));
        match idlest {
            Some(hand) if hand.clients.load(Relaxed) < own.load(Relaxed) => {
                hand.runtime.spawn(Counted::new(&hand.clients).during(task));
            }
            _ => {
                tokio::spawn(Counted::new(own).during(task));
            }
        }
    }
}

// === impl Hand ===

impl Hand {
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
            clients: Arc::default(),
            stay: Some(stay),
            thread: Some(thread),
        })
    }
}

impl Drop for Hand {
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

    async fn during(self, task: impl Future<Output = ()>) {
        task.await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
