//! What must always hold: the world's own account of what is true, against what the service does.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sleepingd::{
    model::{Action, CommandId, ConnId, IdleOn, ProbeId, Timestamp},
    service::{Refusal, Report},
};

/// A client, as the world knows it.
#[derive(Debug, Clone)]
pub struct Client {
    pub arrived: Timestamp,
    pub ignored: bool,
    pub denied: bool,
    pub source: u8,
    pub spoke: bool,
    pub stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Held,
    Connecting,
    Relayed,
    Over,
}

/// A command under way.
#[derive(Debug, Clone)]
pub struct Running {
    pub action: Action,
    pub began: Timestamp,
    pub cancelled: bool,
}

/// The account.
#[derive(Debug, Default)]
pub struct Account {
    pub clients: BTreeMap<ConnId, Client>,
    pub running: BTreeMap<CommandId, Running>,
    /// Since the backend was last known to be up, something said that it is not.
    pub evidence_down: bool,
    pub last_use: Option<Timestamp>,
    pub awake_since: Option<Timestamp>,
    pub wake_began: Option<Timestamp>,
    pub not_before: Option<Timestamp>,
    pub stops: usize,
    pub starts: usize,
    pub retiring: Option<Retiring>,
    /// A stop of the current generation goes on: STOP was begun, and no end of it was said.
    pub stopping: bool,
    /// When the last STOP ended.
    pub stop_ended: Option<Timestamp>,
    /// When a COMMAND last ended.
    pub backend_ended: Option<Timestamp>,
    /// It was told to end at once.
    pub hurried: bool,
    /// Until when the relays of a replaced generation may take.
    pub replaced_until: Vec<Timestamp>,
    pub cancelled_probes: BTreeSet<ProbeId>,
    /// Clients that have ended without a relay, and what was told of those.
    pub ended: Ends,
    pub told: Ends,
}

/// Clients that have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ends {
    pub clients: usize,
    /// How long they had been held, all together.
    pub held: Duration,
}

#[derive(Debug, Clone, Copy)]
pub struct Retiring {
    pub keep: bool,
    pub deadline: Option<Timestamp>,
}

/// The policy, as far as promises depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub shared: bool,
    pub wake_timeout: Option<Duration>,
    pub stop_timeout: Option<Duration>,
    pub idle: Option<Duration>,
    pub idle_on: IdleOn,
    pub min_uptime: Duration,
    pub max_connections: Option<usize>,
    pub max_waiting: Option<usize>,
    pub per_source: Option<usize>,
    pub on_data: bool,
}

pub type Verdict = Result<(), String>;

macro_rules! promise {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            return Err(format!($($what)*));
        }
    };
}
pub(crate) use promise;

impl Account {
    pub fn held(&self) -> usize {
        self.clients
            .values()
            .filter(|c| c.stage == Stage::Held)
            .count()
    }

    pub fn open(&self) -> usize {
        self.clients
            .values()
            .filter(|c| c.stage != Stage::Over)
            .count()
    }

    pub fn in_flight(&self, action: Action) -> usize {
        self.running
            .values()
            .filter(|running| running.action == action)
            .count()
    }

    fn counted_open(&self) -> usize {
        self.clients
            .values()
            .filter(|c| c.stage != Stage::Over && !c.ignored)
            .count()
    }

    /// Promise 1, and 2 from the other side: one START, and none beside a STOP.
    /// `replaced`: it is for a generation whose target is no longer that of the section.
    pub fn may_run(
        &self,
        action: Action,
        replaced: bool,
        terms: &Terms,
        now: Timestamp,
    ) -> Verdict {
        match action {
            Action::Start => {
                if terms.shared {
                    promise!(self.in_flight(Action::Start) == 0, "1: two STARTs at once");
                    promise!(self.evidence_down, "1: START for a backend that is up");
                    promise!(
                        self.not_before.is_none_or(|at| now >= at),
                        "3: START within the back-off"
                    );
                } else {
                    promise!(self.in_flight(Action::Start) < 16, "1: 17 STARTs at once");
                }
                promise!(self.in_flight(Action::Stop) == 0, "2: START beside STOP");
                promise!(!self.stopping, "2: START before the backend is gone");
                promise!(
                    self.retiring.is_none() || !terms.shared || self.wake_began.is_some(),
                    "a wake begins while the service ends"
                );
            }
            Action::Stop => {
                promise!(self.in_flight(Action::Stop) == 0, "two STOPs at once");
                promise!(self.in_flight(Action::Start) == 0, "STOP beside START");
                promise!(
                    replaced || !self.retiring.is_some_and(|r| r.keep),
                    "STOP at a restart, where the backend must survive"
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// Promise 1: a client that leaves never cancels the wake.
    pub fn may_cancel(&self, id: CommandId, terms: &Terms, now: Timestamp) -> Verdict {
        let Some(running) = self.running.get(&id) else {
            return Err(format!("a command that does not run is cancelled: {id}"));
        };
        if running.action == Action::Idle {
            return Ok(());
        }
        let wake_over = terms.wake_timeout.is_some_and(|limit| {
            self.wake_began.is_some_and(|began| now >= began + limit)
                || now >= running.began + limit
                // Where START decides for each connection, a wake is a client's own.
                || !terms.shared && self.clients.values().any(|c| now >= c.arrived + limit)
        });
        let drain_over = self
            .retiring
            .is_some_and(|r| r.deadline.is_some_and(|deadline| now >= deadline));
        // STOP_TIMEOUT ends a CHECK that would hold up a stop; a second signal ends anything.
        let stopped = self.stop_ended.zip(terms.stop_timeout);
        let gone_over = stopped.is_some_and(|(ended, limit)| now >= ended + limit);
        // What was asked about a COMMAND that has ended is nobody's question any more.
        let about_nothing = self.backend_ended == Some(now);
        if (running.action == Action::Check && self.stopping && gone_over)
            || self.hurried
            || about_nothing
        {
            return Ok(());
        }
        let replaced_over = self.replaced_until.iter().any(|until| now >= *until);
        promise!(
            wake_over || drain_over || replaced_over,
            "1: a wake was cancelled before its time"
        );
        Ok(())
    }

    /// Promises 2 and 4: no client reaches a dying backend, and none that is gone is served.
    pub fn may_connect(&self, conn: ConnId, terms: &Terms, now: Timestamp) -> Verdict {
        let Some(client) = self.clients.get(&conn) else {
            return Err(format!("4: an unknown client is connected: {conn}"));
        };
        promise!(
            client.stage == Stage::Held,
            "4: {conn} is connected while {:?}",
            client.stage
        );
        promise!(!client.denied, "a denied client is connected");
        promise!(
            terms
                .wake_timeout
                .is_none_or(|limit| now <= client.arrived + limit),
            "{conn} is connected after WAKE_TIMEOUT"
        );
        promise!(
            self.in_flight(Action::Stop) == 0,
            "2: a client is connected while STOP runs"
        );
        promise!(
            !self.stopping,
            "2: a client is connected to a dying backend"
        );
        Ok(())
    }

    pub fn may_refuse(
        &self,
        conn: ConnId,
        why: &Refusal,
        failed_now: bool,
        terms: &Terms,
        now: Timestamp,
    ) -> Verdict {
        let Some(client) = self.clients.get(&conn) else {
            return Err(format!("an unknown client is refused: {conn}"));
        };
        promise!(
            matches!(client.stage, Stage::Held | Stage::Connecting),
            "{conn} is refused while {:?}",
            client.stage
        );
        let fair = match why {
            Refusal::Denied => client.denied,
            Refusal::TooManyFromSource => {
                let others = self
                    .clients
                    .iter()
                    .filter(|(id, c)| {
                        **id != conn && c.source == client.source && c.stage != Stage::Over
                    })
                    .count();
                terms.per_source.is_some_and(|max| others >= max)
            }
            Refusal::IgnoredAsleep => client.ignored,
            Refusal::WakeFailed => failed_now,
            Refusal::HeldTooLong => terms
                .wake_timeout
                .is_some_and(|limit| now >= client.arrived + limit),
            Refusal::Unreachable(_) => true,
            Refusal::Ending => self.retiring.is_some(),
            // Said by the daemon of a client that the service has never heard of.
            Refusal::NoRoom(_) => false,
        };
        promise!(fair, "2: {conn} is refused without reason: {why:?}");
        Ok(())
    }

    /// A relay is only cut at the end of the drain, or when its backend was stopped.
    pub fn may_cut(&self, conn: ConnId, slept_now: bool, now: Timestamp) -> Verdict {
        let Some(client) = self.clients.get(&conn) else {
            return Err(format!("an unknown relay is cut: {conn}"));
        };
        promise!(
            client.stage == Stage::Relayed,
            "{conn} is cut while {:?}",
            client.stage
        );
        let drain_over = self
            .retiring
            .is_some_and(|r| r.deadline.is_some_and(|deadline| now >= deadline));
        let replaced_over = self.replaced_until.iter().any(|until| now >= *until);
        promise!(
            slept_now || drain_over || replaced_over || self.hurried,
            "a busy relay is cut: {conn}"
        );
        Ok(())
    }

    /// Promise 5: sleep only after IDLE_TIME without use, by the world's own clock.
    pub fn may_sleep(&self, terms: &Terms, now: Timestamp) -> Verdict {
        let Some(idle) = terms.idle else {
            return Err("5: sleep without IDLE_TIME".to_owned());
        };
        if terms.idle_on == IdleOn::Connections {
            promise!(
                self.counted_open() == 0,
                "5: put to sleep while {} use it",
                self.counted_open()
            );
        }
        if let Some(last) = self.last_use {
            promise!(
                terms.idle_on == IdleOn::Command || now >= last + idle,
                "5: put to sleep {:?} after its last use, IDLE_TIME is {idle:?}",
                now.since(last)
            );
        }
        if let Some(since) = self.awake_since {
            promise!(
                now >= since + terms.min_uptime,
                "5: put to sleep before MIN_UPTIME"
            );
        }
        Ok(())
    }

    /// A client that is not relayed has one outcome, which is said once.
    pub fn each_end_was_told_once(&self) -> Verdict {
        let (ended, told) = (self.ended, self.told);
        promise!(
            ended == told,
            "{ended:?} have ended before a relay, and {told:?} were told of"
        );
        Ok(())
    }

    /// This client has ended, and was not relayed.
    pub fn has_ended(&mut self, conn: ConnId, now: Timestamp) {
        if let Some(client) = self.clients.get_mut(&conn) {
            client.stage = Stage::Over;
            self.ended.another(now.since(client.arrived));
        }
    }

    /// Promise 3: who waits for a wake that fails is told at once.
    pub fn all_were_told(&self, report: &Report, terms: &Terms) -> Verdict {
        if let Report::WakeFailed { .. } = report {
            let waiting = self.clients.iter().find(|(_, client)| {
                client.stage == Stage::Held && !client.ignored && (client.spoke || !terms.on_data)
            });
            promise!(
                waiting.is_none(),
                "3: {waiting:?} waits on after a failed wake"
            );
        }
        Ok(())
    }
}

impl Ends {
    pub fn another(&mut self, held: Duration) {
        self.clients += 1;
        self.held += held;
    }
}
