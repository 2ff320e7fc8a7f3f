//! How a client ended: one struct, one line, one count.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tracing::{debug, error, field, warn};

use super::headers::NoHeader;
use crate::{
    control::api,
    model::{ClientAddr, Destination, End, Outcome, ServiceName, Side},
    relay,
    service::Refusal,
};

/// The whole story of one client. Every one that was accepted has one in the end.
#[derive(Debug)]
pub(super) struct ClientOutcome<'a> {
    /// `None`: no section claims the socket that it came by.
    pub(super) service: Option<&'a ServiceName>,
    pub(super) client: ClientAddr,
    /// How long it had waited when it was relayed, or was gone.
    pub(super) held: Duration,
    pub(super) fate: Fate<'a>,
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Fate<'a> {
    /// It was relayed to there.
    Relayed(&'a Destination, &'a Outcome),
    /// It was not.
    Unserved(Unserved<'a>),
    /// Its task has panicked, and said this; `relayed`: to there, and what came of it.
    Panicked {
        said: &'a str,
        relayed: Option<(&'a Destination, &'a Outcome)>,
    },
}

/// Why it was not relayed.
#[derive(Debug)]
pub(super) enum Unserved<'a> {
    /// It left before that.
    Left,
    Refused(&'a Refusal),
    /// It is in ACCEPT_PROXY, and has not said who it is.
    Unnamed(&'a NoHeader),
    /// It came by a socket that no section claims.
    Unclaimed,
}

/// One way to end without having been relayed, and how many clients have since the process
/// started; relays count their own.
struct Tally {
    /// What it is counted by in `sleepingctl status`, and found by in the journal.
    name: &'static str,
    clients: AtomicU64,
}

static GAVE_UP: Tally = Tally::of("gave_up");
static DENIED: Tally = Tally::of("denied");
static TOO_MANY_FROM_SOURCE: Tally = Tally::of("too_many_from_source");
static IGNORED_ASLEEP: Tally = Tally::of("ignored_asleep");
static WAKE_FAILED: Tally = Tally::of("wake_failed");
static HELD_TOO_LONG: Tally = Tally::of("held_too_long");
static UNREACHABLE: Tally = Tally::of("unreachable");
static ENDING: Tally = Tally::of("ending");
static NO_ROOM: Tally = Tally::of("no_room");
static NO_HEADER: Tally = Tally::of("no_header");
static UNCLAIMED: Tally = Tally::of("unclaimed");
/// What was broken before it was relayed.
static BROKEN: Tally = Tally::of("broken");

/// How clients have ended by now; each for itself, not one consistent picture.
pub(super) fn counted(relays: &relay::Counters) -> api::Outcomes {
    api::Outcomes {
        finished: relays.finished,
        reset: relays.reset,
        idle_timeout: relays.idle_timeout,
        half_close_timeout: relays.half_close_timeout,
        drain_timeout: relays.drain_timeout,
        put_to_sleep: relays.put_to_sleep,
        broken: relays.failed + BROKEN.now(),
        gave_up: GAVE_UP.now(),
        denied: DENIED.now(),
        too_many_from_source: TOO_MANY_FROM_SOURCE.now(),
        ignored_asleep: IGNORED_ASLEEP.now(),
        wake_failed: WAKE_FAILED.now(),
        held_too_long: HELD_TOO_LONG.now(),
        unreachable: UNREACHABLE.now(),
        ending: ENDING.now(),
        no_room: NO_ROOM.now(),
        no_header: NO_HEADER.now(),
        unclaimed: UNCLAIMED.now(),
    }
}

/// The line at a level of the log, which is a part of the place in the code.
macro_rules! log {
    ($level:ident, $outcome:expr, $($message:tt)+) => {
        $level!(
            sleepingd_service = $outcome.service.map(field::display),
            remote_addr = %$outcome.client,
            sleepingd_destination = $outcome.fate.destination().map(field::display),
            sleepingd_end = $outcome.fate.name(),
            sleepingd_ended_by = %$outcome.fate.ended_by(),
            sleepingd_held_ms = $outcome.held.as_millis(),
            sleepingd_relayed_ms = $outcome.fate.relay().map(|relay| relay.relayed.as_millis()),
            sleepingd_bytes_in = $outcome.fate.relay().map_or(0, |relay| relay.to_backend),
            sleepingd_bytes_out = $outcome.fate.relay().map_or(0, |relay| relay.to_client),
            $($message)+
        )
    };
}

// === impl ClientOutcome ===

impl<'a> ClientOutcome<'a> {
    pub(super) fn unserved(
        service: Option<&'a ServiceName>,
        client: ClientAddr,
        held: Duration,
        why: Unserved<'a>,
    ) -> Self {
        let fate = Fate::Unserved(why);
        Self {
            service,
            client,
            held,
            fate,
        }
    }

    /// Counts it and logs it. A fault of ours is for the administrator, who has not asked.
    pub(super) fn tell(&self) {
        self.fate.count();
        match self.fate {
            Fate::Panicked { .. } => log!(error, self, "{self}"),
            Fate::Relayed(..) | Fate::Unserved(_) => log!(debug, self, "{self}"),
        }
    }

    /// The same, for an administrator who has not asked; `more` were not told so since the last.
    pub(super) fn warn(&self, more: usize) {
        self.fate.count();
        match more {
            0 => log!(warn, self, "{self}"),
            n => log!(warn, self, "{self} (and {n} more since the last such line)"),
        }
    }

    /// How long it took, and how much was moved.
    fn measure(&self, f: &mut fmt::Formatter<'_>, relay: &Outcome) -> fmt::Result {
        write!(
            f,
            "{:.3} s (held {:.3} s, {} B in, {} B out)",
            relay.relayed.as_secs_f64(),
            self.held.as_secs_f64(),
            relay.to_backend,
            relay.to_client,
        )
    }
}

impl fmt::Display for ClientOutcome<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (client, held) = (self.client, self.held.as_secs_f64());
        match &self.fate {
            Fate::Relayed(destination, relay) => {
                write!(f, "{client} to {destination}: {} ", relay.end)?;
                write!(f, "by the {} after ", relay.ended_by)?;
                self.measure(f, relay)
            }
            Fate::Unserved(why) => {
                write!(f, "{client} {why}")?;
                match why {
                    Unserved::Left | Unserved::Refused(_) => write!(f, " (held {held:.3} s)"),
                    Unserved::Unnamed(_) | Unserved::Unclaimed => Ok(()),
                }
            }
            Fate::Panicked { said, relayed } => {
                write!(f, "{client} is reset by a fault of sleepingd, ")?;
                write!(f, "which should be reported: {said}; ")?;
                match relayed {
                    Some((destination, relay)) => {
                        write!(f, "it was relayed to {destination} for ")?;
                        self.measure(f, relay)
                    }
                    None => write!(f, "it was not relayed yet (held {held:.3} s)"),
                }
            }
        }
    }
}

// === impl Fate ===

impl<'a> Fate<'a> {
    fn name(&self) -> &'static str {
        match self {
            Fate::Relayed(_, relay) => of_relay(relay.end),
            Fate::Unserved(why) => why.tally().name,
            Fate::Panicked { .. } => BROKEN.name,
        }
    }

    fn count(&self) {
        match self {
            Fate::Unserved(why) => why.tally().another(),
            Fate::Panicked { relayed: None, .. } => BROKEN.another(),
            // The relay has done it.
            Fate::Relayed(..) | Fate::Panicked { .. } => {}
        }
    }

    fn ended_by(&self) -> Side {
        match self {
            Fate::Relayed(_, relay) => relay.ended_by,
            Fate::Unserved(why) => why.ended_by(),
            Fate::Panicked { .. } => Side::Daemon,
        }
    }

    fn relay(&self) -> Option<&'a Outcome> {
        self.relayed().map(|(_, relay)| relay)
    }

    fn destination(&self) -> Option<&'a Destination> {
        self.relayed().map(|(destination, _)| destination)
    }

    fn relayed(&self) -> Option<(&'a Destination, &'a Outcome)> {
        match self {
            Fate::Relayed(destination, relay) => Some((destination, relay)),
            Fate::Unserved(_) => None,
            Fate::Panicked { relayed, .. } => *relayed,
        }
    }
}

/// What the end of a relay is counted by.
fn of_relay(end: End) -> &'static str {
    match end {
        End::Finished => "finished",
        End::Reset => "reset",
        End::IdleTimeout => "idle_timeout",
        End::HalfCloseTimeout => "half_close_timeout",
        End::DrainTimeout => "drain_timeout",
        End::PutToSleep => "put_to_sleep",
        // Its client was told of when it was refused; this is not.
        End::Refused => "refused",
        End::Failed(_) => "broken",
    }
}

// === impl Unserved ===

impl Unserved<'_> {
    fn tally(&self) -> &'static Tally {
        match self {
            Unserved::Left => &GAVE_UP,
            Unserved::Refused(why) => match why {
                Refusal::Denied => &DENIED,
                Refusal::TooManyFromSource => &TOO_MANY_FROM_SOURCE,
                Refusal::IgnoredAsleep => &IGNORED_ASLEEP,
                Refusal::WakeFailed => &WAKE_FAILED,
                Refusal::HeldTooLong => &HELD_TOO_LONG,
                Refusal::Unreachable(_) => &UNREACHABLE,
                Refusal::Ending => &ENDING,
                Refusal::NoRoom(_) => &NO_ROOM,
            },
            Unserved::Unnamed(_) => &NO_HEADER,
            Unserved::Unclaimed => &UNCLAIMED,
        }
    }

    fn ended_by(&self) -> Side {
        match self {
            Unserved::Left => Side::Client,
            Unserved::Unnamed(why) => why.ended_by(),
            Unserved::Refused(_) | Unserved::Unclaimed => Side::Daemon,
        }
    }
}

/// What is said of the client.
impl fmt::Display for Unserved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unserved::Left => f.write_str("left before it was served"),
            Unserved::Refused(why) => write!(f, "is refused: {why}"),
            Unserved::Unnamed(why) => write!(f, "is refused: it is in ACCEPT_PROXY, but {why}"),
            Unserved::Unclaimed => f.write_str("is refused: no section claims its socket"),
        }
    }
}

// === impl Tally ===

impl Tally {
    const fn of(name: &'static str) -> Self {
        let clients = AtomicU64::new(0);
        Self { name, clients }
    }

    fn another(&self) {
        self.clients.fetch_add(1, Relaxed);
    }

    fn now(&self) -> u64 {
        self.clients.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_is_named_as_it_is_counted() {
        let why = String::new;
        let refusals = [
            Refusal::Denied,
            Refusal::TooManyFromSource,
            Refusal::IgnoredAsleep,
            Refusal::WakeFailed,
            Refusal::HeldTooLong,
            Refusal::Unreachable(why()),
            Refusal::Ending,
            Refusal::NoRoom(why()),
        ];
        let others = [
            Unserved::Left,
            Unserved::Unnamed(&NoHeader::Left),
            Unserved::Unclaimed,
        ];
        let unserved = refusals.iter().map(Unserved::Refused).chain(others);
        let relays = [
            End::Finished,
            End::Reset,
            End::IdleTimeout,
            End::HalfCloseTimeout,
            End::DrainTimeout,
            End::PutToSleep,
            End::Failed(5),
        ];
        let mut names: Vec<&str> = unserved.map(|why| why.tally().name).collect();
        names.extend(relays.map(of_relay));
        names.sort_unstable();
        let counted = serde_json::to_value(api::Outcomes::default()).unwrap();
        let mut counted: Vec<&String> = counted.as_object().unwrap().keys().collect();
        counted.sort_unstable();
        assert_eq!(names, counted);
    }
}
