//! Which clients are let in, how many, and for how long.

use std::time::Duration;

use crate::{
    config::{
        addresses,
        keys::{Blank, Key, KeyInfo, Repeat, USUAL},
        values,
    },
    model::{Cidr, ProxyVersion, TrustedSource},
};

keys! {
    /// The excess waits in the listen backlog.
    MAX_CONNECTIONS: Option<usize> = values::count {
        takes: "a number",
        meaning: "how many clients are relayed at once",
    }

    /// The excess waits in the listen backlog. `infinity` is no limit.
    MAX_WAITING: Option<usize> = values::count {
        takes: "a number",
        default: "1024",
        meaning: "how many clients are held at once",
    }

    /// The excess is closed.
    MAX_CONNECTIONS_PER_SOURCE: Option<usize> = values::count {
        takes: "a number",
        meaning: "how many clients of one address are relayed or held at once",
    }

    /// Networks or addresses, separated by spaces. With ALLOW, all others are denied. `no` or
    /// blank is the empty list.
    ALLOW: Vec<Cidr> = addresses::networks {
        takes: "networks",
        default: "everybody",
        meaning: "who may connect: `10.0.0.0/8 2001:db8::1`",
        repeat: Repeat::List,
    }

    /// Networks or addresses, separated by spaces. It beats ALLOW. `no` or blank is the empty
    /// list.
    DENY: Vec<Cidr> = addresses::networks {
        takes: "networks",
        default: "nobody",
        meaning: "who may not connect",
        repeat: Repeat::List,
    }

    /// Networks or addresses, separated by spaces: monitors, for instance. `no` or blank is the
    /// empty list.
    IGNORE: Vec<Cidr> = addresses::networks {
        takes: "networks",
        default: "nobody",
        meaning: "who is served only if the backend is awake, and neither wakes nor keeps it \
                  awake",
        repeat: Repeat::List,
    }

    /// Each connection to the backend begins with a header that says where the client comes from.
    /// `v1` (or `yes`) is the line of text, `v2` the binary form. What is sent on are addresses,
    /// never what else a header has brought along. READY_URL is fetched without one.
    SEND_PROXY: Option<ProxyVersion> = values::proxy_version {
        takes: "a version",
        default: "no",
        meaning: "PROXY protocol to the destination: v1 or v2",
    }

    /// Networks or addresses, separated by spaces, and `unix` for whoever connects to a unix
    /// socket. A connection from there must begin with a header (v1 or v2), and is refused
    /// without one. ALLOW, DENY, IGNORE, MAX_CONNECTIONS_PER_SOURCE, the commands and the logs see
    /// the address that it names. Of anybody else no header is expected: what he sends is passed
    /// on as it is. As many clients as MAX_WAITING may be sending theirs at once. `no` or blank is
    /// the empty list.
    ACCEPT_PROXY: Vec<TrustedSource> = addresses::trusted_sources {
        takes: "networks",
        default: "no",
        meaning: "PROXY protocol from these trusted sources: `10.0.0.1 10.1.0.0/16 unix`",
        repeat: Repeat::List,
    }

    /// A relay that has moved nothing for this long ends.
    CLIENT_TIMEOUT: Option<Duration> = values::positive_limit {
        takes: "a duration",
        meaning: "a relay with no byte for this long ends",
        blank: Blank::Value,
    }

    /// One side has said all it had to say; the other may still answer.
    HALF_CLOSE_TIMEOUT: Option<Duration> = values::positive_limit {
        takes: "a duration",
        default: "60s",
        meaning: "the same, once one side has closed its direction",
        blank: Blank::Value,
    }

    /// Mind that it also ends a client that merely stops reading for this long.
    USER_TIMEOUT: Option<Duration> = values::user_timeout {
        takes: "a duration",
        meaning: "TCP_USER_TIMEOUT of tcp(7) on both sides",
        blank: Blank::Value,
    }

    /// A client of ACCEPT_PROXY that has sent no complete header by then is reset.
    PROXY_TIMEOUT: Duration = values::duration_above_zero {
        takes: "a duration",
        default: "3s",
        meaning: "how long a PROXY header may take to arrive",
        blank: Blank::Value,
    }

    /// 0 ends them at once.
    DRAIN_TIMEOUT: Option<Duration> = values::limit {
        takes: "a duration",
        default: "60s",
        meaning: "how long open relays may finish after a switch or at shutdown",
        blank: Blank::Value,
    }
}
