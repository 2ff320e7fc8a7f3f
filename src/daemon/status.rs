//! What `sleepingctl status` and `STATUS=` show.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::outcome;
use crate::{
    control::api,
    model::{Action, Definition, Recipe, Timestamp},
    relay,
    service::{DrainingSnapshot, Report, Snapshot, lifecycle::State},
};

/// How one service is doing, cheap to set at every step and to read at any time.
#[derive(Debug)]
pub(super) struct Gauge {
    awake: AtomicBool,
    relays: AtomicUsize,
    totals: Arc<Totals>,
    last_failure: std::sync::Mutex<Option<String>>,
}

/// What all services together have done since the daemon started.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) changed: Notify,
    wakes: AtomicU64,
    failed_wakes: AtomicU64,
    sleeps: AtomicU64,
}

impl Gauge {
    pub(super) fn new(totals: &Arc<Totals>) -> Arc<Self> {
        Arc::new(Self {
            awake: AtomicBool::new(false),
            relays: AtomicUsize::new(0),
            totals: Arc::clone(totals),
            last_failure: std::sync::Mutex::new(None),
        })
    }

    pub(super) fn set(&self, state: State, relays: usize) {
        let awake = state == State::Awake;
        let before = (
            self.awake.swap(awake, Relaxed),
            self.relays.swap(relays, Relaxed),
        );
        if before != (awake, relays) {
            self.totals.changed.notify_one();
        }
    }

    /// Whether it is asleep, and has no client; one that has nothing to put to sleep has no client.
    pub(super) fn is_asleep(&self, recipe: &Recipe) -> bool {
        let awake = self.awake.load(Relaxed) && !recipe.wakes_nothing();
        !awake && self.relays.load(Relaxed) == 0
    }

    /// Counts what was reported.
    pub(super) fn reported(&self, report: &Report) {
        let totals = &self.totals;
        match report {
            Report::Woken { .. } => {
                totals.wakes.fetch_add(1, Relaxed);
                self.remember(None);
            }
            Report::WakeFailed { why, .. } | Report::StartFailed { why, .. } => {
                totals.failed_wakes.fetch_add(1, Relaxed);
                self.remember(Some(why.clone()));
            }
            Report::BackendEnded { end, .. } if end.is_failure() => {
                self.remember(Some(format!("{} {end}", Action::Command.key())));
            }
            Report::Asleep { .. } => {
                totals.sleeps.fetch_add(1, Relaxed);
            }
            _ => {}
        }
    }

    fn remember(&self, why: Option<String>) {
        // Poisoned only by a panic in between two assignments of a String; it is whole either way.
        let mut last = self
            .last_failure
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *last = why;
    }

    fn last_failure(&self) -> Option<String> {
        let last = self
            .last_failure
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        last.clone()
    }
}

/// `STATUS=` in words: "3 services, 1 awake, 12 connections".
pub(super) fn in_words<'a>(gauges: impl Iterator<Item = &'a Arc<Gauge>>) -> String {
    let (mut services, mut awake, mut relays) = (0, 0, 0);
    for gauge in gauges {
        services += 1;
        awake += usize::from(gauge.awake.load(Relaxed));
        relays += gauge.relays.load(Relaxed);
    }
    let plural = |n: usize| if n == 1 { "" } else { "s" };
    format!(
        "{services} service{}, {awake} awake, {relays} connection{}",
        plural(services),
        plural(relays)
    )
}

/// One service, for the control socket.
pub(super) fn of_service(
    definition: &Definition,
    seen: &Snapshot,
    gauge: &Gauge,
    now: Timestamp,
) -> api::ServiceStatus {
    let seconds = |at: Timestamp| now.since(at).as_secs();
    api::ServiceStatus {
        name: definition.name.to_string(),
        slug: definition.slug.to_string(),
        state: match seen.state {
            State::Asleep | State::Gone => api::State::Asleep,
            State::Waking => api::State::Waking,
            State::Awake | State::Draining => api::State::Awake,
            State::Stopping | State::Ending => api::State::Stopping,
        },
        since_seconds: seen.since.map_or(0, seconds),
        last_use_seconds: seen.last_use.map(seconds),
        sleeps_in_seconds: seen.sleeps_at.map(|at| at.since(now).as_secs()),
        listeners: definition.listen.iter().map(ToString::to_string).collect(),
        destinations: seen.destinations.iter().map(ToString::to_string).collect(),
        held: count(seen.held),
        relays: count(seen.relays),
        failures: u64::from(seen.failures),
        last_failure: gauge.last_failure(),
        draining: seen
            .draining
            .iter()
            .map(|old| of_draining(old, now))
            .collect(),
    }
}

fn of_draining(old: &DrainingSnapshot, now: Timestamp) -> api::DrainingStatus {
    api::DrainingStatus {
        generation: old.generation,
        destinations: old.destinations.iter().map(ToString::to_string).collect(),
        relays: count(old.relays),
        ends_in_seconds: old.ends_at.map(|at| at.since(now).as_secs()),
    }
}

/// What has been counted.
pub(super) fn counters(totals: &Totals) -> api::Counters {
    let relay = relay::counters();
    let outcomes = outcome::counted(&relay);
    api::Counters {
        relayed: relay.begun,
        refused: outcomes.denied
            + outcomes.too_many_from_source
            + outcomes.ignored_asleep
            + outcomes.no_header
            + outcomes.unclaimed,
        gave_up: outcomes.gave_up,
        failed: outcomes.wake_failed
            + outcomes.held_too_long
            + outcomes.unreachable
            + outcomes.ending
            + outcomes.no_room,
        wakes: totals.wakes.load(Relaxed),
        failed_wakes: totals.failed_wakes.load(Relaxed),
        sleeps: totals.sleeps.load(Relaxed),
        bytes_spliced: relay.spliced,
        bytes_copied: relay.copied,
        splice_refused: relay.splice_refused,
        pipes_refused: relay.pipes_refused,
        pipes_open: count(relay.pipes_open),
        outcomes,
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// So often the status is told to systemd at most, while only connections change.
pub(super) const PACE: Duration = Duration::from_secs(1);
