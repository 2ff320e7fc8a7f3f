//! The daemon itself; backends of other kinds; what sleeping-beauty had.

use std::{num::NonZeroUsize, time::Duration};

use crate::{
    config::{
        keys::{Blank, Key, KeyInfo, Place, Support, USUAL},
        ready_made, values,
    },
    model::{ContainerRef, UnitName},
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

    /// A short form for `systemctl start`, `stop` and `is-active --quiet` as START_CMD, STOP_CMD
    /// and CHECK_CMD, in a user's daemon with `--user`; `sleepingd check` shows them. A name without
    /// a type is a service. TARGET says where it listens. START_CMD and STOP_CMD have no place
    /// beside it; a CHECK_CMD counts instead of `is-active`, and may print the destination where
    /// there is no TARGET. `systemctl start` returns when the unit has started (Type=notify: when it
    /// says so), which START_CMD_TIMEOUT limits.
    UNIT: Option<UnitName> = ready_made::unit {
        takes: "a unit",
        meaning: "the backend is this systemd unit: instead of START_CMD, STOP_CMD and CHECK_CMD",
    }

    /// `NAME`, `docker:NAME` or `podman:NAME`. A short form for `sleepingd container start`, `stop`
    /// and `check` as START_CMD, STOP_CMD and CHECK_CMD, which run the command of that name, of
    /// docker where both are installed and none is named. It must have been created before; a
    /// paused one is resumed. TARGET says where its port is published. Without TARGET, clients are
    /// led to the container's own address, and to the one TCP port that it exposes; of several,
    /// `NAME:PORT` says which. Other users than root are rarely let into containers' networks: for
    /// them the published port goes before it. START_CMD and STOP_CMD have no place beside
    /// CONTAINER; a CHECK_CMD counts instead of its own.
    CONTAINER: Option<ContainerRef> = ready_made::container {
        takes: "a container",
        meaning: "the backend is this Docker or Podman container: `web`, `podman:web`, `web:80`; \
                  instead of START_CMD, STOP_CMD and CHECK_CMD",
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
