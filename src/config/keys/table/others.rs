//! The daemon itself; backends of other kinds, which are still to come; what sleeping-beauty had.

use std::{num::NonZeroUsize, time::Duration};

use crate::config::{
    keys::{Blank, Key, KeyInfo, Place, Support, USUAL},
    values,
};

keys! {
    /// It is about the daemon, and stands before the first section; of several files that say it
    /// the last one counts. An idle machine then runs no process of ours at all: systemd keeps the
    /// sockets, and starts the daemon with the next client. It does not exit while it has a port
    /// that systemd does not keep (one that a reload brought, until the next stop or boot), nor
    /// without systemd. A service that never sleeps keeps it up. 0 is never.
    EXIT_IDLE_TIME: Option<Duration> = values::limit_or_zero {
        takes: "a duration",
        default: "never",
        meaning: "the daemon exits when everything has slept this long, and systemd keeps the \
                  sockets",
        place: Place::Head,
        blank: Blank::Value,
    }

    /// It is about the daemon, and stands before the first section; of several files that say it
    /// the last one counts. A change takes effect at the next start of the daemon. The first is
    /// the daemon's own thread; another one is started when there are clients enough for it. Each
    /// client is relayed by one thread. Measured on two cores: with two, 64 connections get a tenth
    /// to a fifth more messages through than with one; a single connection is not faster.
    THREADS: NonZeroUsize = values::threads {
        takes: "a number",
        default: "2, or 1 on one processor",
        meaning: "relay threads, started as they are needed",
        place: Place::Head,
    }

    /// The unit is started to wake the backend, and stopped to put it to sleep.
    UNIT: () = values::anything {
        takes: "a unit",
        meaning: "the backend is this systemd unit",
        support: Support::NotYet(&["no"]),
    }

    /// The container is started to wake the backend, and stopped to put it to sleep.
    CONTAINER: () = values::anything {
        takes: "a container",
        meaning: "the backend is this container",
        support: Support::NotYet(&["no"]),
    }

    /// The backend then accepts its clients itself.
    PASS_LISTENER: () = values::anything {
        takes: "yes or no",
        default: "no",
        meaning: "hand the listener to the backend while it is awake",
        support: Support::NotYet(&["false"]),
    }

    /// Sleeping-beauty kept its pid files there.
    VARRUN_PATH: () = values::anything {
        takes: "a path",
        meaning: "accepted and ignored: sleeping-beauty's pid files have no use here",
        support: Support::Ignored,
    }
}
