//! SETTLE_TIME: is a backend that has accepted really there?

use std::time::Duration;

use tokio::time::timeout;

use crate::sys::stream::{Sign, Stream};

/// What a backend did in its first moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Nothing: it waits for the client to speak.
    Quiet,
    /// It has sent something, so it is there.
    Spoke,
    /// It has closed without a word, as a forwarder does in front of a server that boots. Nothing
    /// of the client's was consumed: it can be tried again.
    Closed,
}

/// Watches a new connection to a backend for `time`, or until it says something or closes.
/// Reads nothing.
pub async fn settle(backend: &Stream, time: Duration) -> Settled {
    match timeout(time, backend.next_sign(false)).await {
        Ok(Sign::Data) => Settled::Spoke,
        Ok(Sign::Gone) => Settled::Closed,
        Err(_elapsed) => Settled::Quiet,
    }
}
