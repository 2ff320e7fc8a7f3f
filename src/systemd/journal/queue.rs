//! The way from those who log to the one thread that writes.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{record::Record, sink::Sink};

/// A queue with a limit. Clones are the same queue.
///
/// Its lock is held for a few instructions at a time, never while anything is written, so no one
/// who logs waits for the reader of the log.
#[derive(Debug, Clone)]
pub struct Queue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    state: Mutex<State>,
    /// Something was put in.
    filled: Condvar,
    /// Everything is written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    /// Records that found the queue full since the last entry.
    dropped: u64,
    /// The thread has taken an entry and is writing it.
    writing: bool,
}

#[derive(Debug)]
enum Entry {
    Record(Record),
    /// In this place so many records are missing.
    Dropped(u64),
}

// === impl Queue ===

impl Queue {
    /// At most `limit` records wait.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Shared {
            limit,
            state: Mutex::default(),
            filled: Condvar::new(),
            written: Condvar::new(),
        }))
    }

    /// Puts a record in, or counts it as dropped when there is no room. Never waits for the
    /// reader.
    pub fn push(&self, record: Record) {
        let mut state = self.lock();
        if state.entries.len() >= self.0.limit {
            state.dropped += 1;
            return;
        }
        state.note_dropped();
        state.entries.push_back(Entry::Record(record));
        drop(state);
        self.0.filled.notify_one();
    }

    /// Waits until everything is written, for at most `limit`. Whether it is.
    pub fn flush(&self, limit: Duration) -> bool {
        let waited = self
            .0
            .written
            .wait_timeout_while(self.lock(), limit, |state| !state.is_written());
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_written()
    }

    /// Writes what comes, for as long as the process lives.
    pub fn run(&self, sink: &mut (impl Sink + ?Sized)) -> ! {
        loop {
            match self.next() {
                Entry::Record(record) => sink.write(&record),
                Entry::Dropped(count) => sink.write(&Record::dropped(count)),
            }
        }
    }

    fn next(&self) -> Entry {
        let mut state = self.lock();
        state.writing = false;
        loop {
            if state.entries.is_empty() {
                // Nobody has logged since: the count has no later record to stand before.
                state.note_dropped();
            }
            if let Some(entry) = state.entries.pop_front() {
                state.writing = true;
                return entry;
            }
            self.0.written.notify_all();
            state = self
                .0
                .filled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No code that can panic runs under the lock, so a poisoned state is a sound one.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn note_dropped(&mut self) {
        if self.dropped > 0 {
            self.entries
                .push_back(Entry::Dropped(std::mem::take(&mut self.dropped)));
        }
    }

    fn is_written(&self) -> bool {
        self.entries.is_empty() && self.dropped == 0 && !self.writing
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::systemd::journal::record::Recorder;

    /// Tells what it is asked to write, and writes it when it is let.
    struct Gate {
        asked: mpsc::Sender<String>,
        go: mpsc::Receiver<()>,
    }

    impl Sink for Gate {
        fn write(&mut self, record: &Record) {
            self.asked.send(record.message().to_owned()).unwrap();
            self.go.recv().unwrap();
        }
    }

    fn gated(limit: usize) -> (Queue, mpsc::Receiver<String>, mpsc::Sender<()>) {
        let queue = Queue::new(limit);
        let (asked, asked_rx) = mpsc::channel();
        let (go, go_rx) = mpsc::channel();
        let writer = queue.clone();
        // Ends by panic when the test drops its ends of the channels.
        thread::spawn(move || writer.run(&mut Gate { asked, go: go_rx }));
        (queue, asked_rx, go)
    }

    #[test]
    fn a_reader_that_stands_still_costs_messages_and_never_time() {
        let (queue, asked, go) = gated(3);
        let subscriber = tracing_subscriber::registry().with(Recorder::new(queue.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("0");
            // The thread has it in hand and stands: from now on nothing is taken off the queue,
            // so this would hang if logging waited.
            assert_eq!(asked.recv().unwrap(), "0");
            for n in 1..=10 {
                tracing::info!("{n}");
            }
            go.send(()).unwrap();
            assert_eq!(asked.recv().unwrap(), "1");
            // There is room for one: the gap is said once, in its place.
            tracing::info!("11");
        });
        for expected in [
            "2",
            "3",
            "7 messages were dropped here: the log was not read in time",
            "11",
        ] {
            go.send(()).unwrap();
            assert_eq!(asked.recv().unwrap(), expected);
        }
        assert!(
            !queue.flush(Duration::from_millis(1)),
            "the last is still being written"
        );
        go.send(()).unwrap();
        assert!(queue.flush(Duration::from_secs(10)));
    }

    #[test]
    fn dropped_messages_are_said_even_if_nothing_follows() {
        let (queue, asked, go) = gated(1);
        let subscriber = tracing_subscriber::registry().with(Recorder::new(queue));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("0");
            assert_eq!(asked.recv().unwrap(), "0");
            (1..=3).for_each(|n| tracing::info!("{n}"));
        });
        for expected in [
            "1",
            "2 messages were dropped here: the log was not read in time",
        ] {
            go.send(()).unwrap();
            assert_eq!(asked.recv().unwrap(), expected);
        }
    }

    #[test]
    fn spans_lend_their_fields_to_the_events_in_them() {
        let (queue, asked, _go) = gated(8);
        let subscriber = tracing_subscriber::registry().with(Recorder::new(queue.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("held");
            asked.recv().unwrap();
            let service = tracing::info_span!("service", sleepingd_service = "web", uid = 0);
            service.record("uid", 7);
            service.in_scope(|| tracing::warn!(remote_addr = %"10.0.0.1", "woken"));
        });
        let state = queue.lock();
        let Some(Entry::Record(record)) = state.entries.front() else {
            panic!("{state:?}")
        };
        assert_eq!(record.message(), "woken");
        let context: Vec<_> = record.context().collect();
        assert_eq!(
            context,
            [
                ("sleepingd_service", "web"),
                ("uid", "7"),
                ("remote_addr", "10.0.0.1")
            ]
        );
    }
}
