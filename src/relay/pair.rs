//! Both directions of a relay, and no I/O: what a failure of one side means for the other, and
//! when it is over.

use std::io;

use super::{
    TURN, Tuning,
    flow::{Flow, Sink, Source, Trouble, Wants, Way, Wires},
};
use crate::model::{End, Side};

/// How it ended, and by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) end: End,
    pub(super) by: Side,
}

/// How far the sides have left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    Not,
    /// One has sent FIN.
    Ended,
    /// This one has failed, and what it had sent is still being delivered.
    Failed(Side),
}

/// Two directions that share their two sides.
#[derive(Debug)]
pub(super) struct Pair {
    to_backend: Flow,
    to_client: Flow,
    /// Whose FIN came first.
    first_fin: Option<Side>,
    /// Whose connection failed first.
    first_failed: Option<Side>,
    /// A system call failed in a way that is neither side's word.
    broken: Option<i32>,
}

/// How much each direction may still take before others have their turn.
#[derive(Debug)]
pub(super) struct Turn {
    to_backend: usize,
    to_client: usize,
}

// === impl Turn ===

impl Turn {
    pub(super) fn new() -> Self {
        Self {
            to_backend: TURN,
            to_client: TURN,
        }
    }

    fn of(&mut self, way: Way) -> &mut usize {
        match way {
            Way::ToBackend => &mut self.to_backend,
            Way::ToClient => &mut self.to_client,
        }
    }
}

// === impl Pair ===

impl Pair {
    pub(super) fn new(tuning: &Tuning) -> Self {
        Self {
            to_backend: Flow::new(Way::ToBackend, tuning),
            to_client: Flow::new(Way::ToClient, tuning),
            first_fin: None,
            first_failed: None,
            broken: None,
        }
    }

    pub(super) fn flow(&self, way: Way) -> &Flow {
        match way {
            Way::ToBackend => &self.to_backend,
            Way::ToClient => &self.to_client,
        }
    }

    pub(super) fn flow_mut(&mut self, way: Way) -> &mut Flow {
        match way {
            Way::ToBackend => &mut self.to_backend,
            Way::ToClient => &mut self.to_client,
        }
    }

    /// Moves all that can be moved both ways, within the turn.
    pub(super) fn pump(&mut self, wires: &mut impl Wires, turn: &mut Turn) {
        // A failure found in one direction lets the other one read what is left, so go on until
        // there is none; each side fails but once, so that is soon.
        let mut troubled = true;
        while troubled && self.broken.is_none() {
            troubled = false;
            for way in Way::BOTH {
                // Closing the sockets sends the second FIN, and both of them are closed then.
                let last = self.flow(way.back()).sink == Sink::Shut;
                let pumped = self.flow_mut(way).pump(wires, turn.of(way), last);
                if self.flow(way).source == Source::Ended && self.first_fin.is_none() {
                    self.first_fin = Some(way.source());
                }
                if let Err(trouble) = pumped {
                    troubled = true;
                    self.note(way, trouble, wires);
                }
            }
        }
    }

    /// A side's connection has failed, and its error has been taken.
    pub(super) fn side_failed(&mut self, from_it: Way, error: &io::Error, wires: &mut impl Wires) {
        // As the first error of a TCP socket EPIPE means that RST came after FIN (tcp_reset in
        // net/ipv4/tcp_input.c); of a unix socket, that the peer has closed. Both had ended.
        let fin = error.raw_os_error() == Some(libc::EPIPE);
        self.failed(from_it, fin, error, wires);
    }

    /// The same of a side whose FIN is known to have come. Once our own has gone as well, the
    /// kernel does not tell it by the error.
    pub(super) fn side_failed_after_fin(
        &mut self,
        from_it: Way,
        error: &io::Error,
        wires: &mut impl Wires,
    ) {
        self.failed(from_it, true, error, wires);
    }

    /// Whether the side that this direction reads from is known to have failed.
    pub(super) fn has_failed(&self, from_it: Way) -> bool {
        matches!(
            self.flow(from_it).source,
            Source::Dying { .. } | Source::Lost
        ) || self.flow(from_it.back()).sink == Sink::Lost
    }

    /// Whether a failure of the side that this direction reads from would still be news: not if
    /// it is known, nor if that side has neither to give nor to get anything.
    pub(super) fn heeds_failure(&self, from_it: Way) -> bool {
        let done = self.flow(from_it).source == Source::Ended
            && self.flow(from_it.back()).sink == Sink::Shut;
        !done && !self.has_failed(from_it)
    }

    /// What a direction waits for.
    pub(super) fn wants(&self, way: Way, wires: &impl Wires) -> Wants {
        self.flow(way).wants(wires.pending(way))
    }

    /// Whether only the turn was over.
    pub(super) fn has_more(&self, wires: &impl Wires) -> bool {
        Way::BOTH
            .into_iter()
            .any(|way| self.flow(way).has_more(wires.pending(way)))
    }

    /// How far the sides have left; HALF_CLOSE_TIMEOUT applies from the first step on.
    pub(super) fn leaving(&self) -> Leaving {
        match (self.first_failed, self.first_fin) {
            (Some(side), _) => Leaving::Failed(side),
            (None, Some(_)) => Leaving::Ended,
            (None, None) => Leaving::Not,
        }
    }

    /// Whether it is over.
    pub(super) fn verdict(&self, wires: &impl Wires) -> Option<Verdict> {
        if let Some(errno) = self.broken {
            return Some(Verdict {
                end: End::Failed(errno),
                by: Side::Daemon,
            });
        }
        if Way::BOTH
            .into_iter()
            .all(|way| self.flow(way).sink == Sink::Shut)
        {
            let by = self.first_fin.unwrap_or(Side::Daemon);
            return Some(Verdict {
                end: End::Finished,
                by,
            });
        }
        let by = self.first_failed?;
        let over = Way::BOTH.into_iter().any(|way| {
            let drained = self.flow(way).is_drained(wires.pending(way));
            // Where both sides are gone there is nobody to wait for.
            self.has_failed(way) && (drained || self.has_failed(way.back()))
        });
        over.then_some(Verdict {
            end: End::Reset,
            by,
        })
    }

    fn failed(&mut self, from_it: Way, fin: bool, error: &io::Error, wires: &mut impl Wires) {
        if !is_word_of_a_side(error) {
            self.broken.get_or_insert(errno(error));
            return;
        }
        self.first_failed.get_or_insert(from_it.source());
        self.flow_mut(from_it).source_failed(fin);
        self.flow_mut(from_it.back()).sink_lost(wires);
    }

    fn note(&mut self, way: Way, trouble: Trouble, wires: &mut impl Wires) {
        match trouble {
            Trouble::Source(error) => {
                self.side_failed(way, &error, wires);
                self.flow_mut(way).source_lost();
            }
            Trouble::Sink(error) => self.side_failed(way.back(), &error, wires),
        }
    }
}

/// Whether an error is what the network or the peer says, and not a fault of ours or a want of
/// the machine.
fn is_word_of_a_side(error: &io::Error) -> bool {
    !matches!(
        error.raw_os_error(),
        None | Some(
            libc::EBADF
                | libc::EFAULT
                | libc::EINVAL
                | libc::ENOTSOCK
                | libc::EOPNOTSUPP
                | libc::ENOSYS
                | libc::ENOMEM
                | libc::ENOBUFS
                | libc::EMFILE
                | libc::ENFILE
        )
    )
}

fn errno(error: &io::Error) -> i32 {
    // Without an errno it is the runtime, which says so when it is being shut down.
    error.raw_os_error().unwrap_or(libc::ECANCELED)
}
