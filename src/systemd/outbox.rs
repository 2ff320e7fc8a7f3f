//! Messages to systemd that must arrive, in their order, and that nobody waits for.
//!
//! A manager that stands still would stop every relay with it, if the runtime's thread waited.
//! So a thread of its own sends them, and tries again for as long as the manager does not read.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tracing::warn;

use crate::{model::Timestamp, sys::clock};

/// Messages that may wait. Each may hold a descriptor.
const LIMIT: usize = 256;

/// At most one complaint in this time.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// A message, and the descriptor that goes with it.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) text: String,
    pub(super) fd: Option<OwnedFd>,
}

/// The queue and its thread. Dropped, it waits a moment for what is left.
#[derive(Debug)]
pub(super) struct Outbox {
    shared: Arc<Shared>,
    patience: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Letter>,
    /// Letters taken in, and letters done with.
    taken: u64,
    done: u64,
    closed: bool,
    complained: Option<Timestamp>,
    unsaid: u64,
}

impl Outbox {
    /// Starts the thread, which gives each letter to `send`. That waits for at most `patience`,
    /// and says `WouldBlock` when the manager did not read.
    pub(super) fn start(
        patience: Duration,
        send: impl Fn(&Letter) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let own = Arc::clone(&shared);
        thread::Builder::new()
            .name("notify".to_owned())
            .spawn(move || own.run(&send))?;
        Ok(Self { shared, patience })
    }

    /// Takes a letter in; its number. Never waits. With too many waiting it is lost, which the
    /// log says.
    pub(super) fn post(&self, letter: Letter) -> u64 {
        let mut state = self.shared.lock();
        if state.waiting.len() >= LIMIT {
            state.complain(&format!(
                "{} is lost, too many messages wait",
                letter.subject()
            ));
        } else {
            state.taken += 1;
            state.waiting.push_back(letter);
            self.shared.changed.notify_all();
        }
        state.taken
    }

    /// Waits until this letter is done with, for a moment. Not for the runtime's thread.
    pub(super) fn wait(&self, number: u64) {
        let state = self.shared.lock();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, self.patience, |state| state.done < number);
        // What is late still goes out.
        drop(waited);
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let last = self.shared.lock().taken;
        self.wait(last);
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn run(&self, send: &impl Fn(&Letter) -> io::Result<()>) {
        while let Some(letter) = self.next() {
            while let Err(e) = send(&letter) {
                let mut state = self.lock();
                state.complain(&format!("{}: {e}", letter.subject()));
                if e.kind() != io::ErrorKind::WouldBlock || state.closed {
                    break;
                }
            }
            self.lock().done += 1;
            self.changed.notify_all();
        }
    }

    fn next(&self) -> Option<Letter> {
        let state = self.lock();
        let idle = |state: &mut State| state.waiting.is_empty() && !state.closed;
        let waited = self.changed.wait_while(state, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.waiting.pop_front()
    }

    /// No code that can panic runs under the lock, so a poisoned state is a sound one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn complain(&mut self, what: &str) {
        let now = clock::now();
        if self
            .complained
            .is_some_and(|at| now.since(at) < COMPLAIN_EVERY)
        {
            self.unsaid += 1;
            return;
        }
        let unsaid = std::mem::take(&mut self.unsaid);
        self.complained = Some(now);
        warn!("systemd was not told {what} ({unsaid} such messages since the last one said)");
    }
}

impl Letter {
    fn subject(&self) -> String {
        self.text.replace('\n', " ")
    }

    pub(super) fn fds(&self) -> Vec<std::os::fd::BorrowedFd<'_>> {
        self.fd.iter().map(AsFd::as_fd).collect()
    }
}
