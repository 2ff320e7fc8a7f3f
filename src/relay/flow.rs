//! One direction of a relay, and no I/O: it decides which system call comes next.
//!
//! ```text
//! source:  Open --EOF--> Ended            sink:  Open --FIN passed--> Shut
//!          Open --side failed--> Dying           Open, Shut --side failed--> Lost
//!          Dying --nothing left--> Lost
//! ```
//!
//! The rules, each of which somebody has paid for:
//!
//! - Bytes are taken only when none are pending. So "would block" while taking always speaks of
//!   the source, never of a full pipe.
//! - The end of a stream is what a read returns, never what an event says.
//! - FIN is passed on when the source has ended and nothing is pending. The second of the two
//!   goes with the closing of the sockets: both have been read to their ends, and a close with
//!   nothing unread is a FIN (RFC 9293, 3.6).
//! - A source whose side has failed is read until it has nothing left, and then it is lost: an
//!   end of stream is not believed any more, since the kernel tells an error once, and a clean
//!   end ever after. The exception is an error that says that FIN came first.

use std::io;

use super::{BUFFER_SIZE, TURN, Tuning};
use crate::model::Side;

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ToBackend,
    ToClient,
}

/// The system calls that the flows ask for.
pub(super) trait Wires {
    /// How many bytes were taken and not yet given.
    fn pending(&self, way: Way) -> usize;
    /// Takes bytes from the source. Only when none are pending.
    fn fill(&mut self, way: Way, by: Means) -> Fill;
    /// Gives pending bytes to the sink. Only when some are.
    fn flush(&mut self, way: Way) -> io::Result<Moved>;
    /// Passes on FIN.
    fn finish(&mut self, way: Way) -> io::Result<()>;
    /// Makes pending bytes keep until the next time, and lets go of what is not needed till then.
    fn park(&mut self, way: Way);
    /// Throws pending bytes away; nobody can get them any more.
    fn discard(&mut self, way: Way);
}

/// How bytes are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// Through the thread's buffer.
    Copy,
    /// Through a pipe, unseen.
    Splice,
}

/// What a try to move bytes came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    /// How many.
    pub(super) bytes: usize,
    /// Whether the socket has nothing left (source) or no room left (sink), so that only an
    /// event makes another try worth while.
    pub(super) blocked: bool,
}

/// What a try to take bytes came to.
#[derive(Debug)]
pub(super) enum Fill {
    /// Some, or none.
    Moved(Moved),
    /// The end of the stream.
    End,
    /// There is no pipe to be had just now.
    NoPipe,
    /// This source cannot be spliced from.
    CannotSplice,
    /// The source failed.
    Failed(io::Error),
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Fill,
    Flush,
    Finish,
    Wait,
}

/// What this direction waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    /// The source to have something.
    Read,
    /// The sink to have room.
    Write,
    /// Nothing: it is over.
    Nothing,
}

/// The reading end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Open,
    /// Its side has failed; what it had sent before is still being read. With `fin` it had sent
    /// that as well.
    Dying {
        fin: bool,
    },
    /// It sent FIN.
    Ended,
    /// It failed, and everything it had sent has been read.
    Lost,
}

/// The writing end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sink {
    Open,
    /// FIN was passed on, or is about to be by closing both sides.
    Shut,
    /// Its side has failed.
    Lost,
}

/// At which end a system call failed.
#[derive(Debug)]
pub(super) enum Trouble {
    Source(io::Error),
    Sink(io::Error),
}

/// Small messages are copied, streams are spliced. Measured: splicing costs 4-9 % more up to
/// 4 KiB, as much as copying at 8 KiB, and 0.42 of it at 256 KiB.
#[derive(Debug, Clone, Copy)]
enum Gear {
    /// So many reads in a row have filled the buffer; a stream is one that does so again and
    /// again.
    Copy { full: u8 },
    /// So many splices in a row were small.
    Splice { small: u8 },
}

/// One direction.
#[derive(Debug)]
pub(super) struct Flow {
    way: Way,
    pub(super) source: Source,
    pub(super) sink: Sink,
    /// Bytes the sink has taken.
    pub(super) delivered: u64,
    readable: bool,
    writable: bool,
    gear: Gear,
    /// How many full reads make a stream; `None`: never splice here.
    promote_after: Option<u8>,
    demote_below: u32,
}

/// After so many small splices in a row it is no stream any more.
const SMALL_SPLICES: u8 = 2;

/// Where no pipe was to be had, so many full reads pass before it is asked for again.
const PATIENCE: u8 = 64;

// === impl Way ===

impl Way {
    pub(super) const BOTH: [Self; 2] = [Self::ToBackend, Self::ToClient];

    /// The side whose bytes go this way.
    pub(super) fn source(self) -> Side {
        match self {
            Self::ToBackend => Side::Client,
            Self::ToClient => Side::Backend,
        }
    }

    /// The other direction: its sink is this one's source.
    pub(super) fn back(self) -> Self {
        match self {
            Self::ToBackend => Self::ToClient,
            Self::ToClient => Self::ToBackend,
        }
    }
}

// === impl Flow ===

impl Flow {
    /// A direction of which nothing is known: both ends are tried before anything is waited for.
    pub(super) fn new(way: Way, tuning: &Tuning) -> Self {
        let gear = match tuning.promote_after {
            Some(0) => Gear::Splice { small: 0 },
            _ => Gear::Copy { full: 0 },
        };
        Self {
            way,
            source: Source::Open,
            sink: Sink::Open,
            delivered: 0,
            readable: true,
            writable: true,
            gear,
            promote_after: tuning.promote_after,
            demote_below: tuning.demote_below,
        }
    }

    /// What comes next, with so many bytes pending and so many that may still be taken.
    pub(super) fn next(&self, pending: usize, turn: usize) -> Step {
        match (self.sink, self.source) {
            (Sink::Shut | Sink::Lost, _) => Step::Wait,
            (Sink::Open, _) if pending > 0 && self.writable => Step::Flush,
            (Sink::Open, _) if pending > 0 => Step::Wait,
            (Sink::Open, Source::Ended) => Step::Finish,
            (Sink::Open, Source::Open | Source::Dying { .. }) if self.readable && turn > 0 => {
                Step::Fill
            }
            (Sink::Open, Source::Open | Source::Dying { .. } | Source::Lost) => Step::Wait,
        }
    }

    /// Moves all that can be moved, within the turn. `last`: the other direction is over, so that
    /// FIN need not be passed on by a call of its own.
    ///
    /// # Errors
    /// At which end a call failed; there may be more to do after that has been noted.
    pub(super) fn pump(
        &mut self,
        wires: &mut impl Wires,
        turn: &mut usize,
        last: bool,
    ) -> Result<(), Trouble> {
        let pumped = loop {
            let step = match self.next(wires.pending(self.way), *turn) {
                Step::Fill => self.fill(wires, turn),
                Step::Flush => self.flush(wires),
                Step::Finish if last => {
                    self.sink = Sink::Shut;
                    Ok(())
                }
                Step::Finish => self.finish(wires),
                Step::Wait => break Ok(()),
            };
            if let Err(trouble) = step {
                break Err(trouble);
            }
        };
        // The buffer is the thread's: nothing may stay in it.
        wires.park(self.way);
        pumped
    }

    /// Which event would make another [`Self::pump`] worth while.
    pub(super) fn wants(&self, pending: usize) -> Wants {
        match (self.sink, self.source) {
            (Sink::Open, _) if pending > 0 => Wants::Write,
            (Sink::Open, Source::Open | Source::Dying { .. }) => Wants::Read,
            _ => Wants::Nothing,
        }
    }

    /// Whether only the turn was over.
    pub(super) fn has_more(&self, pending: usize) -> bool {
        self.next(pending, TURN) != Step::Wait
    }

    /// The source's first bytes will be an event.
    pub(super) fn await_source(&mut self) {
        self.readable = false;
    }

    /// The source's event.
    pub(super) fn set_readable(&mut self) {
        self.readable = true;
    }

    /// The sink's event.
    pub(super) fn set_writable(&mut self) {
        self.writable = true;
    }

    /// No splicing here from now on.
    pub(super) fn copy_only(&mut self) {
        self.gear = Gear::Copy { full: 0 };
        self.promote_after = None;
    }

    /// The source's side has failed, after a FIN or not: read what is left.
    pub(super) fn source_failed(&mut self, fin: bool) {
        if self.source == Source::Open {
            self.source = Source::Dying { fin };
            self.readable = true;
        }
    }

    /// A read of the source has failed: nothing is left.
    pub(super) fn source_lost(&mut self) {
        if self.source != Source::Ended {
            self.source = Source::Lost;
        }
    }

    /// The sink's side has failed: nothing more can be given, and whether it has got what was
    /// given last, FIN too, nobody knows.
    pub(super) fn sink_lost(&mut self, wires: &mut impl Wires) {
        if self.sink != Sink::Lost {
            self.sink = Sink::Lost;
            wires.discard(self.way);
        }
    }

    /// Whether every byte that the source sent, and its FIN if it sent one, was given.
    pub(super) fn is_drained(&self, pending: usize) -> bool {
        match self.source {
            Source::Open | Source::Dying { .. } => false,
            Source::Ended => self.sink != Sink::Open,
            Source::Lost => pending == 0,
        }
    }

    fn fill(&mut self, wires: &mut impl Wires, turn: &mut usize) -> Result<(), Trouble> {
        let by = match self.gear {
            Gear::Copy { .. } => Means::Copy,
            Gear::Splice { .. } => Means::Splice,
        };
        match wires.fill(self.way, by) {
            Fill::Moved(moved) => {
                *turn = turn.saturating_sub(moved.bytes);
                self.readable = !moved.blocked;
                self.shift(moved.bytes);
                // `Dying` never waits for an event: a dead socket has no more of them.
                if matches!(self.source, Source::Dying { .. }) && moved.blocked {
                    self.readable = moved.bytes > 0;
                    if moved.bytes == 0 {
                        self.source = Source::Lost;
                    }
                }
            }
            Fill::End if self.source == (Source::Dying { fin: false }) => {
                self.source = Source::Lost;
            }
            Fill::End => self.source = Source::Ended,
            Fill::NoPipe => {
                self.gear = Gear::Copy { full: 0 };
                self.promote_after = self.promote_after.map(|after| after.max(PATIENCE));
            }
            Fill::CannotSplice => self.copy_only(),
            Fill::Failed(error) => return Err(Trouble::Source(error)),
        }
        Ok(())
    }

    fn flush(&mut self, wires: &mut impl Wires) -> Result<(), Trouble> {
        let moved = wires.flush(self.way).map_err(Trouble::Sink)?;
        self.delivered += moved.bytes as u64;
        self.writable = !moved.blocked;
        Ok(())
    }

    fn finish(&mut self, wires: &mut impl Wires) -> Result<(), Trouble> {
        wires.finish(self.way).map_err(Trouble::Sink)?;
        self.sink = Sink::Shut;
        Ok(())
    }

    /// Changes gear, after so many bytes were taken at once.
    fn shift(&mut self, bytes: usize) {
        self.gear = match (self.gear, self.promote_after) {
            (Gear::Copy { full }, Some(after)) if bytes == BUFFER_SIZE => {
                if full + 1 >= after {
                    Gear::Splice { small: 0 }
                } else {
                    Gear::Copy { full: full + 1 }
                }
            }
            (Gear::Copy { .. }, _) => Gear::Copy { full: 0 },
            // Nothing at all says nothing about the size of what comes.
            (Gear::Splice { small }, _) if bytes == 0 => Gear::Splice { small },
            (Gear::Splice { small }, _) if bytes < self.demote_below as usize => {
                if small + 1 >= SMALL_SPLICES {
                    Gear::Copy { full: 0 }
                } else {
                    Gear::Splice { small: small + 1 }
                }
            }
            (Gear::Splice { .. }, _) => Gear::Splice { small: 0 },
        };
    }
}
