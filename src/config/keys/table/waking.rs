//! How a wake goes, and when the backend is ready.

use std::time::Duration;

use crate::{
    config::{
        keys::{Blank, Key, KeyInfo, USUAL},
        values,
    },
    model::{CommandLine, WakeOn},
};

keys! {
    /// A client that is still held then is reset. It bounds the wake as well.
    WAKE_TIMEOUT: Option<Duration> = values::positive_limit {
        takes: "a duration",
        default: "5min",
        meaning: "how long a client is held at most, from accept to relay",
        blank: Blank::Value,
    }

    /// It cannot be without limit: a machine that is off answers nothing at all.
    CONNECT_TIMEOUT: Duration = values::duration_above_zero {
        takes: "a duration",
        default: "3s",
        meaning: "how long one connect to a destination may take",
        blank: Blank::Value,
    }

    /// For backends that listen before they can serve.
    WAIT_AFTER_START: Duration = values::pause {
        takes: "a duration",
        default: "0",
        meaning: "an extra pause after the backend is ready",
    }

    /// For destinations that accept before they are ready, as the ports of containers do. The
    /// first connections of a wake read nothing from the client for this long, or until the
    /// backend speaks; if the backend closes meanwhile, they try again.
    SETTLE_TIME: Duration = values::pause {
        takes: "a duration",
        default: "0; 20ms with CONTAINER",
        meaning: "how long a destination that accepts may still close, and be tried again",
    }

    /// It runs after START_CMD, again and again until it exits with 0, within WAKE_TIMEOUT.
    READY_CMD: Option<CommandLine> = values::command {
        takes: "a command",
        meaning: "further proof of readiness: exit 0",
    }

    /// `http://host[:port]/path`. TLS is not supported.
    READY_URL: Option<String> = values::url {
        takes: "a URL",
        meaning: "further proof of readiness: an HTTP 200 from there",
    }

    /// Otherwise the first client wakes the backend. A start that follows an exit for EXIT_IDLE_TIME
    /// does not count: it is for the sake of somebody else.
    AUTO_START: bool = values::flag {
        takes: "yes, no, true or false",
        default: "no",
        meaning: "wake at daemon start",
    }

    /// With `data` only a client that has sent a byte wakes the backend. Not for protocols where
    /// the server speaks first, as SSH, SMTP and MySQL do: there both would wait for ever.
    WAKE_ON: WakeOn = values::wake_on {
        takes: "a word",
        default: "connect",
        meaning: "what wakes the backend: connect, or data",
    }
}
