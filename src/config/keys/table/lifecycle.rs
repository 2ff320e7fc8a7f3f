//! What wakes the backend, and what puts it to sleep.

use std::time::Duration;

use crate::{
    config::{
        keys::{Blank, Key, KeyInfo, USUAL},
        values,
    },
    model::{CommandLine, IdleOn, StopSignal},
};

keys! {
    /// It runs when a client comes and the service is not known to be awake, when a known
    /// destination cannot be reached, and when the daemon starts. `CHECK_CMD=false`,
    /// sleeping-beauty's default, is the same as none: START_CMD runs for every connection,
    /// unless there is a TARGET.
    CHECK_CMD: Option<CommandLine> = values::command_or_false {
        takes: "a command",
        meaning: "exit 0: the backend is up. It may print `IP PORT` like START_CMD",
    }

    /// It is done when its first line is complete, or when it exits; a child may go on in the
    /// background. With TARGET, what it prints does not matter. With CHECK_CMD it runs when
    /// CHECK_CMD fails; with neither, it runs for every connection and decides where that one
    /// goes. `START_CMD=false`, sleeping-beauty's default, is the same as none.
    START_CMD: Option<CommandLine> = values::command_or_false {
        takes: "a command",
        meaning: "wakes the backend; its first line of output is the destination, `IP PORT` (or \
                  several pairs)",
    }

    /// It runs when the service has been idle for IDLE_TIME, when it is told to sleep, and when
    /// the daemon is stopped. `STOP_CMD=false`, sleeping-beauty's default, is the same as none:
    /// otherwise every sleep would fail.
    STOP_CMD: Option<CommandLine> = values::command_or_false {
        takes: "a command",
        meaning: "puts the backend to sleep",
    }

    /// It is run with the first client, and must stay in the foreground: when it ends, the backend
    /// has ended, and what is left of its process group and control group is killed. What it prints
    /// goes to the journal, both standard output and standard error. TARGET says where it listens;
    /// START_CMD, STOP_CMD, CHECK_CMD, UNIT and CONTAINER cannot stand beside it.
    ///
    /// When it ends by itself, clients that wait for it are reset, connections that it has not
    /// ended are reset too, and the next client starts it again: at once, unless it had failed
    /// before it was ready, or within 30 s of its start; then after a back-off. It goes on running
    /// when WAKE_TIMEOUT runs out, and over a restart or a crash of the daemon. It is ended by
    /// STOP_SIGNAL when the service is put to sleep, its section is removed, or the daemon is
    /// stopped. EXEC_CMD_TIMEOUT is not for it.
    COMMAND: Option<CommandLine> = values::command_or_false {
        takes: "a command",
        meaning: "run this as the backend itself, supervised; instead of START_CMD and STOP_CMD",
    }

    /// The name of a signal, with or without SIG, or its number. It goes to the process group of
    /// COMMAND, and to what has left that but not the control group; what is left after
    /// STOP_TIMEOUT is killed.
    STOP_SIGNAL: StopSignal = values::stop_signal {
        takes: "a signal",
        default: "TERM",
        meaning: "for COMMAND: the signal that ends it",
    }

    /// The backend is gone when CHECK_CMD fails, or nobody listens on a local TARGET any more.
    /// No client is let through meanwhile. If it is still up after this time, the service is
    /// awake again, with a warning. 0: do not wait.
    ///
    /// With COMMAND: how long it may take to end after STOP_SIGNAL, before it is killed. 0: it is
    /// killed at once.
    STOP_TIMEOUT: Option<Duration> = values::limit {
        takes: "a duration",
        default: "90s",
        meaning: "how long after STOP_CMD, or STOP_SIGNAL, the backend may take to be gone",
        blank: Blank::Value,
    }

    /// It runs every IDLE_CHECK_INTERVAL while the service is awake. `IDLE_CMD=true`,
    /// sleeping-beauty's default, is the same as none: then IDLE_TIME alone decides.
    IDLE_CMD: Option<CommandLine> = values::command_or_true {
        takes: "a command",
        meaning: "exit 0: nobody uses the backend. Anything else keeps it awake",
    }

    /// It needs a STOP_CMD, or a COMMAND, to do anything. 0 is never, as in sleeping-beauty.
    IDLE_TIME: Option<Duration> = values::limit_or_zero {
        takes: "a duration",
        default: "never",
        meaning: "how long the service must be idle before it is put to sleep",
    }

    /// With IDLE_CMD, and this 0 or blank, the service is never put to sleep, as in
    /// sleeping-beauty. Without IDLE_CMD it means nothing.
    IDLE_CHECK_INTERVAL: Option<Duration> = values::limit_or_zero {
        takes: "a duration",
        meaning: "how often IDLE_CMD runs; without it IDLE_CMD switches idle sleep off",
    }

    /// `connections`: an open connection. `bytes`: one that has moved data within IDLE_TIME.
    /// `command`: IDLE_CMD alone decides, whatever is open.
    IDLE_ON: IdleOn = values::idle_on {
        takes: "a word",
        default: "connections",
        meaning: "what counts as use: connections, bytes or command",
    }

    /// For backends that are dear to start.
    MIN_UPTIME: Duration = values::pause {
        takes: "a duration",
        default: "0",
        meaning: "no sleep sooner than this after a wake",
    }
}
