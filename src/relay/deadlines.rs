//! When a relay ends though nothing moves, and from when on it is one that lasts.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

use super::{
    Limits,
    pair::{Leaving, Verdict},
};
use crate::{
    model::{End, Side, Timestamp},
    sys::clock,
};

/// The time limits of one relay, and the timer for the next of them.
#[derive(Debug)]
pub(super) struct Deadlines {
    limits: Limits,
    began: Timestamp,
    /// The last change that counts as a byte does: the beginning, a FIN, a failure.
    changed: Timestamp,
    leaving: Leaving,
    age: Age,
    /// When the timer fires, if it is set.
    armed: Option<Timestamp>,
    /// Boxed: a relay without limits has one only while it is new.
    timer: Option<Pin<Box<Sleep>>>,
}

/// Whether the connection is one that lasts.
#[derive(Debug, Clone, Copy)]
enum Age {
    New { turns: u8 },
    Lasting,
}

/// What the timer is set for.
#[derive(Debug, Clone, Copy)]
enum Due {
    Lasting,
    End(End),
}

/// What is due now.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deadline {
    /// It has become one that lasts.
    Lasting,
    /// It has had no byte for too long.
    Over(Verdict),
}

/// So long after its beginning a relay is one that lasts.
const LASTING: Duration = Duration::from_secs(1);

/// So is one that has had more turns than a request, its reply and the two ends.
const LASTING_TURNS: u8 = 8;

impl Deadlines {
    pub(super) fn new(limits: Limits, began: Timestamp) -> Self {
        Self {
            limits,
            began,
            changed: began,
            leaving: Leaving::Not,
            age: Age::New { turns: 0 },
            armed: None,
            timer: None,
        }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// How far the sides have left by now.
    pub(super) fn note(&mut self, leaving: Leaving) {
        if self.leaving != leaving {
            self.leaving = leaving;
            self.changed = clock::now();
        }
    }

    /// Another turn has passed. Whether it is one that lasts since this one.
    pub(super) fn grow_older(&mut self) -> bool {
        match &mut self.age {
            Age::New { turns } if *turns < LASTING_TURNS => *turns += 1,
            Age::New { .. } => {
                self.age = Age::Lasting;
                return true;
            }
            Age::Lasting => {}
        }
        false
    }

    /// Waits for what is due next, if nothing moves after `last_byte`.
    ///
    /// The timer is not set anew for each byte: when it fires, the last byte says whether that
    /// was the end or how long it still has.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, last_byte: Timestamp) -> Poll<Deadline> {
        while let Some((at, due)) = self.next_due(last_byte) {
            if self.armed.is_none_or(|armed| at < armed) {
                self.arm(at);
            }
            if let Some(timer) = &mut self.timer {
                ready!(timer.as_mut().poll(cx));
            }
            self.armed = None;
            if clock::now() < at {
                continue;
            }
            return Poll::Ready(match due {
                Due::Lasting => {
                    self.age = Age::Lasting;
                    Deadline::Lasting
                }
                Due::End(end) => Deadline::Over(self.verdict(end)),
            });
        }
        (self.timer, self.armed) = (None, None);
        Poll::Pending
    }

    fn verdict(&self, end: End) -> Verdict {
        match self.leaving {
            // What was to be delivered before it has had its time.
            Leaving::Failed(by) => Verdict {
                end: End::Reset,
                by,
            },
            Leaving::Not | Leaving::Ended => Verdict {
                end,
                by: Side::Daemon,
            },
        }
    }

    /// What comes next, if nothing moves.
    fn next_due(&self, last_byte: Timestamp) -> Option<(Timestamp, Due)> {
        let lasting = match self.age {
            Age::New { .. } => Some((self.began + LASTING, Due::Lasting)),
            Age::Lasting => None,
        };
        let end = self.limits.while_leaving(self.leaving).map(|(limit, end)| {
            let last = last_byte.max(self.changed);
            (last + limit, Due::End(end))
        });
        match (lasting, end) {
            (Some(lasting), Some(end)) if end.0 < lasting.0 => Some(end),
            (lasting, end) => lasting.or(end),
        }
    }

    fn arm(&mut self, due: Timestamp) {
        let left = due.since(clock::now()).max(Duration::from_millis(1));
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(Instant::now() + left),
            None => self.timer = Some(Box::pin(sleep(left))),
        }
        self.armed = Some(due);
    }
}
