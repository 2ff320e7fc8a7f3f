//! The states of a generation, and every arrow between them.
//!
//! ```text
//!            WakeWanted            Ready              Idle
//!   Asleep ─────────────▶ Waking ─────────▶ Awake ───────────▶ Stopping
//!     ▲ ▲ │                 │ ▲               │ ▲                │ │ ▲
//!     │ │ │    WakeFailed   │ └───── Lost ────┘ └─── StillUp ────┘ │ │
//!     │ └─┼─────────────────┘                                      │ │
//!     │   └───────────────── Idle (a wake that failed late) ───────┼─┘
//!     └────────────────────────────── Stopped ─────────────────────┘
//!
//!   Awake ── Ended (a COMMAND, by itself) ──▶ Asleep
//!
//!   Asleep, Awake ── Retire ──▶ Draining ── Drained ──▶ Ending ── Stopped, StillUp ──▶ Gone
//!                                        └─ Kept ─────────────────────────────────────▶ Gone
//! ```
//!
//! Waking and Stopping are never interrupted: a generation that is to be retired then is retired
//! when it is Asleep or Awake again.

use std::borrow::Cow;

/// The state of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Nothing runs, as far as we know.
    Asleep,
    /// A wake is under way: it runs commands, or waits for somebody to listen.
    Waking,
    /// The backend is up; clients are relayed.
    Awake,
    /// STOP runs, or has run and the backend is not gone yet.
    Stopping,
    /// Takes no new client; open relays may finish.
    Draining,
    /// The last STOP.
    Ending,
    /// Nothing is left to do.
    Gone,
}

/// What moves a generation from one state to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Event {
    /// A client, AUTO_START or an administrator wants it awake, or a running backend is looked
    /// for at the start of the daemon.
    WakeWanted,
    /// The backend is ready.
    Ready,
    /// The wake failed, or ran out of time; or nothing was found to be running.
    WakeFailed,
    /// A connect failed, or nobody knows the destination: it must be looked at, or woken, again.
    Lost,
    /// Nobody has used it for IDLE_TIME.
    Idle,
    /// COMMAND has ended by itself.
    Ended,
    /// STOP has ended, and the backend is gone as far as that can be known.
    Stopped,
    /// STOP did not take.
    StillUp,
    /// This generation is to end: shutdown, its section removed, its target changed.
    Retire,
    /// The open relays have finished, or DRAIN_TIMEOUT has run out.
    Drained,
    /// The same, but the backend is to survive the daemon.
    Kept,
}

/// One arrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrow {
    /// In this state ...
    pub from: State,
    /// ... this event ...
    pub on: Event,
    /// ... leads to this one.
    pub to: State,
}

/// Every arrow there is. An event without one is not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table(Cow<'static, [Arrow]>);

/// The lifecycle of DESIGN section 5.
const ARROWS: &[Arrow] = {
    use Event as E;
    use State as S;
    const fn arrow(from: State, on: Event, to: State) -> Arrow {
        Arrow { from, on, to }
    }
    &[
        arrow(S::Asleep, E::WakeWanted, S::Waking),
        arrow(S::Waking, E::Ready, S::Awake),
        arrow(S::Waking, E::WakeFailed, S::Asleep),
        arrow(S::Awake, E::Lost, S::Waking),
        arrow(S::Awake, E::Idle, S::Stopping),
        // The end of a COMMAND is an event: nobody has to find out by a connect that fails. While
        // it wakes that is WakeFailed, while it is being stopped Stopped.
        arrow(S::Awake, E::Ended, S::Asleep),
        // A wake that ran out of time after START had run may have left something running.
        arrow(S::Asleep, E::Idle, S::Stopping),
        arrow(S::Stopping, E::Stopped, S::Asleep),
        arrow(S::Stopping, E::StillUp, S::Awake),
        arrow(S::Asleep, E::Retire, S::Draining),
        arrow(S::Awake, E::Retire, S::Draining),
        arrow(S::Draining, E::Drained, S::Ending),
        arrow(S::Draining, E::Kept, S::Gone),
        arrow(S::Ending, E::Stopped, S::Gone),
        // There is nobody left to try again; it is said, and that is all.
        arrow(S::Ending, E::StillUp, S::Gone),
    ]
};

impl Table {
    /// The lifecycle as it is meant to be.
    #[must_use]
    pub const fn sound() -> Self {
        Self(Cow::Borrowed(ARROWS))
    }

    /// Another table: for the test that shows that each arrow matters.
    #[must_use]
    pub fn with(arrows: Vec<Arrow>) -> Self {
        Self(Cow::Owned(arrows))
    }

    /// The arrows.
    #[must_use]
    pub fn arrows(&self) -> &[Arrow] {
        &self.0
    }

    /// Where this event leads from this state; `None` where it is not followed.
    #[must_use]
    pub fn next(&self, from: State, on: Event) -> Option<State> {
        self.0
            .iter()
            .find(|arrow| arrow.from == from && arrow.on == on)
            .map(|arrow| arrow.to)
    }
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Asleep,
        Self::Waking,
        Self::Awake,
        Self::Stopping,
        Self::Draining,
        Self::Ending,
        Self::Gone,
    ];

    /// The word for it in logs and status.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asleep => "asleep",
            Self::Waking => "waking",
            Self::Awake => "awake",
            Self::Stopping => "stopping",
            Self::Draining => "draining",
            Self::Ending => "ending",
            Self::Gone => "gone",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_state_has_two_arrows_for_one_event() {
        for (i, a) in ARROWS.iter().enumerate() {
            assert!(
                !ARROWS[i + 1..]
                    .iter()
                    .any(|b| a.from == b.from && a.on == b.on),
                "{a:?}"
            );
        }
    }
}
