//! Pipes to lease.
//!
//! A pipe is leased when a stream is about to be spliced and given back as soon as it is empty,
//! so an idle connection has none: each costs two descriptors and 5 KB of the kernel's memory.
//! Each thread keeps a few spares, since making one costs 5 us.

use std::{
    cell::RefCell,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::counters;
use crate::sys::pipe::Pipe;

/// How many pipes there may be. Whoever gets none copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PipeLimit(usize);

/// How many pipes there are at most. The kernel gives an unprivileged user 64 MiB of them
/// (`pipe-user-pages-soft`, pipe(7)), which is 256 of ours; a quarter is left to others of the
/// same user.
const MOST: usize = 192;

/// A pipe has two descriptors.
const DESCRIPTORS: usize = 2;

/// Of the descriptors of the process one in so many may be a pipe's: they save time, where those
/// of a client or a command are what it is all about.
const SHARE: usize = 8;

/// A smaller one is worse than copying: 2.7 times so with the 8 KiB that the kernel gives a user
/// over the limit.
const SMALLEST: usize = 64 * 1024;

/// Of all pipes each thread keeps one in so many when they are empty: 16 at most. Where there are
/// few, one thread must not keep them from the others.
const SPARES: usize = 12;

/// Set once, before anything is relayed; what is never set is [`PipeLimit::default`].
static LIMIT: OnceLock<PipeLimit> = OnceLock::new();

static OPEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    #[expect(clippy::vec_box, reason = "boxed as leases are, and moved between both")]
    static SPARE: RefCell<Vec<Box<Counted>>> = const { RefCell::new(Vec::new()) };
}

/// A pipe for as long as it is needed. Dropped, it goes back to the pool if it is empty; one that
/// holds bytes is closed, for they must never reach another connection.
///
/// Boxed: every connection has room for two, and few have one.
#[derive(Debug)]
pub(super) struct Lease(Option<Box<Counted>>);

/// A pipe within the budget.
#[derive(Debug)]
struct Counted {
    pipe: Pipe,
    /// The size it was asked for. The kernel may have given less; then it would again.
    asked: usize,
    _place: Place,
}

/// One place of the budget.
#[derive(Debug)]
struct Place;

// === impl PipeLimit ===

impl PipeLimit {
    /// The limit of this process, which may have so many descriptors. To be called before anything
    /// is relayed. Said again, it stays what it was: pipes may be open within it.
    pub fn settle(descriptors: usize) -> Self {
        *LIMIT.get_or_init(|| Self::among(descriptors))
    }

    /// How many descriptors these pipes have, if all are open.
    #[must_use]
    pub fn descriptors(self) -> usize {
        self.0 * DESCRIPTORS
    }

    /// What is right among so many descriptors.
    #[must_use]
    pub fn among(descriptors: usize) -> Self {
        Self((descriptors / SHARE / DESCRIPTORS).min(MOST))
    }

    fn spares(self) -> usize {
        self.0.div_ceil(SPARES)
    }
}

impl Default for PipeLimit {
    fn default() -> Self {
        Self(MOST)
    }
}

fn limit() -> PipeLimit {
    LIMIT.get().copied().unwrap_or_default()
}

// === leasing ===

/// A pipe of `size` bytes, or of what the kernel gives. `None`: there is none to be had, so copy.
pub(super) fn lease(size: usize) -> Option<Lease> {
    let leased = spare(size).or_else(|| open(size));
    match leased {
        Some(_) => counters::pipe_leased(),
        None => counters::pipe_refused(),
    }
    leased.map(|pipe| Lease(Some(pipe)))
}

/// How many pipes are open, leased or spare.
pub(super) fn open_pipes() -> usize {
    OPEN.load(Relaxed)
}

/// How many descriptors they have.
#[must_use]
pub fn descriptors_of_pipes() -> usize {
    PipeLimit(open_pipes()).descriptors()
}

fn spare(size: usize) -> Option<Box<Counted>> {
    SPARE.with_borrow_mut(|spare| {
        // The last one given back is the one in the cache.
        let found = spare.iter().rposition(|counted| counted.asked >= size)?;
        Some(spare.swap_remove(found))
    })
}

fn open(size: usize) -> Option<Box<Counted>> {
    let place = Place::take()?;
    // Out of descriptors is no reason to end a connection that can be copied.
    let pipe = Pipe::new(size).ok()?;
    (pipe.capacity() >= SMALLEST).then(|| {
        Box::new(Counted {
            pipe,
            asked: size,
            _place: place,
        })
    })
}

// === impl Place ===

impl Place {
    fn take() -> Option<Self> {
        let more = |open| (open < limit().0).then_some(open + 1);
        OPEN.fetch_update(Relaxed, Relaxed, more).ok().map(|_| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Relaxed);
    }
}

// === impl Lease ===

impl Lease {
    /// The pipe.
    pub(super) fn pipe(&mut self) -> &mut Pipe {
        &mut self.0.as_mut().expect("only drop takes it").pipe
    }

    /// How many bytes are in it.
    pub(super) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |counted| counted.pipe.len())
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(counted) = self.0.take() else { return };
        if !counted.pipe.is_empty() {
            return;
        }
        // Fails while the thread ends; then the pipe is closed like any other.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < limit().spares() {
                spare.push(counted);
            }
        });
    }
}

/// The budget is the process's: one of those that test it at a time, and it leaves no spares.
#[cfg(any(test, fuzzing))]
pub(super) struct Alone(
    #[expect(dead_code, reason = "held, not read")] std::sync::MutexGuard<'static, ()>,
);

#[cfg(any(test, fuzzing))]
impl Alone {
    pub(super) fn new() -> Self {
        use std::sync::{Mutex, PoisonError};
        static LOCK: Mutex<()> = Mutex::new(());
        Self(LOCK.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(any(test, fuzzing))]
impl Drop for Alone {
    fn drop(&mut self) {
        SPARE.with_borrow_mut(Vec::clear);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        os::{fd::AsFd, unix::net::UnixStream},
    };

    use super::*;

    fn spares() -> usize {
        SPARE.with_borrow(Vec::len)
    }

    #[test]
    fn an_empty_pipe_is_kept_and_one_with_bytes_is_not() {
        let _alone = Alone::new();
        let (source, mut feeder) = UnixStream::pair().unwrap();
        let mut first = lease(65536).unwrap();
        feeder.write_all(b"secret").unwrap();
        first.pipe().fill_from(source.as_fd()).unwrap();
        drop(first);
        assert_eq!(
            spares(),
            0,
            "bytes of one connection in the next one's pipe"
        );
        drop(lease(65536).unwrap());
        assert_eq!(spares(), 1);
        let again = lease(65536).unwrap();
        assert_eq!(spares(), 0);
        assert_eq!(again.len(), 0);
    }

    #[test]
    fn a_spare_that_is_too_small_is_left_alone() {
        let _alone = Alone::new();
        drop(lease(64 * 1024).unwrap());
        let mut larger = lease(128 * 1024).unwrap();
        assert!(larger.pipe().capacity() >= 128 * 1024);
        assert_eq!(spares(), 1);
    }

    #[test]
    fn beyond_the_budget_there_is_none_and_each_one_given_back_makes_room() {
        let _alone = Alone::new();
        let mut leases: Vec<_> = std::iter::from_fn(|| lease(64 * 1024)).collect();
        assert_eq!(leases.len(), MOST);
        assert_eq!(open_pipes(), MOST);
        leases.pop();
        assert!(lease(64 * 1024).is_some());
        drop(leases);
        assert_eq!(open_pipes(), 16, "the rest is closed");
    }

    #[test]
    fn pipes_are_a_share_of_the_descriptors_and_never_too_many_for_the_kernel() {
        let of = |descriptors| {
            let limit = PipeLimit::among(descriptors);
            (limit.0, limit.descriptors(), limit.spares())
        };
        assert_eq!(of(usize::MAX), (192, 384, 16));
        assert_eq!(of(4096), (192, 384, 16));
        assert_eq!(of(1024), (64, 128, 6));
        assert_eq!(of(256), (16, 32, 2));
        assert_eq!(of(64), (4, 8, 1));
        assert_eq!(of(8), (0, 0, 0), "then all is copied");
    }
}
