//! The status: everything about the daemon.

use serde::{Deserialize, Serialize};

/// Everything about the daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// How long it has run.
    pub up_seconds: u64,
    /// The services, in the order of the configuration.
    pub services: Vec<ServiceStatus>,
    /// What has been counted since it started.
    pub counters: Counters,
    /// What is wrong and does not go away by itself: a configuration that was rejected, a socket
    /// that no section claims. Sentences.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// One service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name, as its section writes it.
    pub name: String,
    /// Its name, made safe.
    pub slug: String,
    /// What it is doing.
    pub state: State,
    /// How long it has been doing that.
    pub since_seconds: u64,
    /// How long ago it was last used; none where it never was.
    pub last_use_seconds: Option<u64>,
    /// When it will sleep if nobody comes; none where it will not.
    #[serde(default)]
    pub sleeps_in_seconds: Option<u64>,
    /// Where it listens.
    #[serde(default)]
    pub listeners: Vec<String>,
    /// Where its backend is, as far as that is known.
    pub destinations: Vec<String>,
    /// Clients that wait for its backend.
    pub held: u64,
    /// Open relays.
    pub relays: u64,
    /// Wakes that failed since the last that succeeded.
    pub failures: u64,
    /// Why the last one failed.
    #[serde(default)]
    pub last_failure: Option<String>,
    /// Older generations of the backend that finish what they have.
    pub draining: Vec<DrainingStatus>,
}

/// A generation of a backend that takes no new clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainingStatus {
    /// Which one.
    pub generation: u64,
    /// Where it is.
    pub destinations: Vec<String>,
    /// Relays that it still has.
    pub relays: u64,
    /// When those are ended; none where they are not.
    pub ends_in_seconds: Option<u64>,
}

/// What a service is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its backend is down, and a client would wake it.
    #[default]
    Asleep,
    /// Its backend is being started, or not ready yet.
    Waking,
    /// Its backend is up.
    Awake,
    /// Its backend is being stopped.
    Stopping,
}

/// Totals since the daemon started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Clients that were relayed.
    pub relayed: u64,
    /// Clients that were turned away: denied, too many, ignored while it was asleep, without a
    /// PROXY header where one must come, or by a socket that no section claims.
    pub refused: u64,
    /// Clients that gave up while they were held.
    pub gave_up: u64,
    /// Clients that could not be served, and were reset: their wake failed, or took too long.
    pub failed: u64,
    /// Wakes that succeeded.
    pub wakes: u64,
    /// Wakes that failed.
    pub failed_wakes: u64,
    /// Backends that were put to sleep.
    pub sleeps: u64,
    /// Bytes delivered through a pipe, never copied to the daemon.
    pub bytes_spliced: u64,
    /// Bytes delivered through a buffer: small messages, and all if splicing does not work.
    pub bytes_copied: u64,
    /// Times a connection could not be spliced, and was copied from then on.
    #[serde(default)]
    pub splice_refused: u64,
    /// Times there was no pipe to be had, and it was copied instead.
    #[serde(default)]
    pub pipes_refused: u64,
    /// Pipes that are open now for splicing, spare ones among them.
    #[serde(default)]
    pub pipes_open: u64,
    /// How clients have ended.
    #[serde(default)]
    pub outcomes: Outcomes,
}

/// How clients have ended, each in one way. With those that are held or relayed now, these are all
/// that were ever accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Outcomes {
    /// Both sides had said all, and have got all.
    pub finished: u64,
    /// One side reset its connection, or was found dead; the other was reset too.
    pub reset: u64,
    /// CLIENT_TIMEOUT.
    pub idle_timeout: u64,
    /// HALF_CLOSE_TIMEOUT.
    pub half_close_timeout: u64,
    /// DRAIN_TIMEOUT.
    pub drain_timeout: u64,
    /// Its connection was no use (IDLE_ON), and its backend was put to sleep.
    pub put_to_sleep: u64,
    /// A system call failed on the way, or sleepingd itself.
    pub broken: u64,
    /// It left while it was held.
    pub gave_up: u64,
    /// ALLOW, DENY.
    pub denied: u64,
    /// MAX_CONNECTIONS_PER_SOURCE.
    pub too_many_from_source: u64,
    /// IGNORE, and the service was asleep.
    pub ignored_asleep: u64,
    /// The wake failed.
    pub wake_failed: u64,
    /// WAKE_TIMEOUT.
    pub held_too_long: u64,
    /// The destination cannot be reached, and waiting does not cure it.
    pub unreachable: u64,
    /// The service was ending.
    pub ending: u64,
    /// The daemon had no memory to watch its connection.
    pub no_room: u64,
    /// ACCEPT_PROXY, and no sound PROXY header came from it in time.
    pub no_header: u64,
    /// No section claims the socket that it came by.
    pub unclaimed: u64,
}

// === impl State ===

impl State {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asleep => "asleep",
            Self::Waking => "waking",
            Self::Awake => "awake",
            Self::Stopping => "stopping",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_reads_as_it_is_documented() {
        let service = ServiceStatus {
            name: "Web (1)".to_owned(),
            slug: "web-1".to_owned(),
            state: State::Awake,
            last_use_seconds: Some(3),
            ..ServiceStatus::default()
        };
        let status = Status {
            services: vec![service],
            ..Status::default()
        };
        let json = serde_json::to_value(&status).unwrap();
        let shown = &json["services"][0];
        assert_eq!(shown["state"], "awake");
        assert_eq!(shown["last_use_seconds"], 3);
        assert!(shown["sleeps_in_seconds"].is_null());
        assert_eq!(json["counters"]["wakes"], 0);
        assert_eq!(serde_json::from_value::<Status>(json).unwrap(), status);
    }
}
