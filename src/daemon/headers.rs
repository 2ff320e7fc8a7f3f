//! PROXY headers: read before the service hears of a client, sent before its first byte.
//!
//! Until its header is complete, a client of ACCEPT_PROXY has no address that the service could
//! decide by, so it is not in the service's books: it waits here, for PROXY_TIMEOUT at most, while
//! others are accepted. Not one byte behind the header is taken, so that what the service sees of
//! the client afterwards (has it spoken?) is of the client alone.

use std::{collections::VecDeque, future::poll_fn, io, time::Duration};

use tokio::{
    task::{JoinError, JoinSet},
    time::timeout,
};
use tracing::{debug, error, warn};

use super::{accept::QUIET, budget::Place};
use crate::{
    model::{ClientAddr, LocalAddr, ProxyVersion, ServiceName, Timestamp, duration::show},
    proxy_protocol::{self, Ends, Header, Malformed, Parsed},
    sys::{clock, net::Socket, stream::Stream},
};

/// How much is looked at in one go. Headers without TLVs fit.
const PIECE: usize = 256;

/// A client that was accepted.
pub(super) struct Arrival {
    pub(super) socket: Socket,
    pub(super) addr: ClientAddr,
    pub(super) local: LocalAddr,
    pub(super) at: Timestamp,
    pub(super) place: Place,
}

/// The clients of one service that have yet to say who they are.
pub(super) struct Headers {
    reading: JoinSet<Outcome>,
    /// They have said it, and the service has no room for them just now.
    complete: VecDeque<Arrival>,
    refusals: Refusals,
}

/// Who was refused, as it is told: one line in ten seconds, for what scans the ports behind a
/// balancer must not fill the journal.
#[derive(Default)]
struct Refusals {
    told: Option<Timestamp>,
    /// Since then.
    untold: usize,
}

/// What came of one of them.
pub(super) struct Outcome {
    /// The connection's own address.
    by: ClientAddr,
    read: Result<Arrival, Failure>,
}

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// As the health check of a balancer does.
    #[error("left without having sent anything")]
    Left,
    #[error("left in the middle of its PROXY header")]
    LeftEarly,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("sent no PROXY header within {} (PROXY_TIMEOUT)", show(*.0))]
    Silent(Duration),
    #[error("did not complete its PROXY header within {} (PROXY_TIMEOUT)", show(*.0))]
    Slow(Duration),
    #[error("cannot be read from: {0}")]
    Unreadable(#[from] io::Error),
}

// === impl Headers ===

impl Headers {
    pub(super) fn new() -> Self {
        Self {
            reading: JoinSet::new(),
            complete: VecDeque::new(),
            refusals: Refusals::default(),
        }
    }

    /// Reads the header of this one, within `limit`.
    pub(super) fn read(&mut self, service: &ServiceName, arrival: Arrival, limit: Duration) {
        debug!(
            sleepingd_service = %service,
            remote_addr = %arrival.addr,
            "{} has {} to send its PROXY header", arrival.addr, show(limit),
        );
        self.reading.spawn(read(arrival, limit));
    }

    /// Whether another one may be accepted; `most` is MAX_WAITING.
    pub(super) fn has_room(&self, most: Option<usize>) -> bool {
        most.is_none_or(|most| self.reading.len() + self.complete.len() < most)
    }

    /// The next that is done with; `None` while none is being read. Can be dropped at any time.
    pub(super) async fn next(&mut self) -> Option<Result<Outcome, JoinError>> {
        self.reading.join_next().await
    }

    /// Keeps it for [`Self::pop`], or says what was wrong.
    pub(super) fn done(&mut self, service: &ServiceName, outcome: Result<Outcome, JoinError>) {
        match outcome {
            Ok(Outcome {
                by,
                read: Ok(arrival),
            }) => {
                debug!(
                    sleepingd_service = %service,
                    remote_addr = %arrival.addr,
                    "{} comes by way of {by}", arrival.addr,
                );
                self.complete.push_back(arrival);
            }
            Ok(Outcome {
                by,
                read: Err(failure),
            }) => self.refused(service, by, &failure),
            // It has been reset like the others.
            Err(e) if e.is_cancelled() => {}
            Err(e) => error!(
                sleepingd_service = %service,
                "a bug of ours, a client is lost with its PROXY header: {e}",
            ),
        }
    }

    /// The next that has said who it is.
    pub(super) fn pop(&mut self) -> Option<Arrival> {
        let arrival = self.complete.pop_front()?;
        // Fails only for a descriptor that is no socket, of which others will hear soon.
        let _ = arrival.socket.finish_on_close();
        Some(arrival)
    }

    /// Resets them all.
    pub(super) fn clear(&mut self) {
        self.reading.abort_all();
        self.complete.clear();
    }

    fn refused(&mut self, service: &ServiceName, by: ClientAddr, failure: &Failure) {
        let due = match failure {
            Failure::Left => None,
            _ => self.refusals.another(clock::now()),
        };
        let Some(untold) = due else {
            return debug!(
                sleepingd_service = %service,
                remote_addr = %by,
                "{by} is refused: it is in ACCEPT_PROXY, but {failure}",
            );
        };
        let more = match untold {
            0 => String::new(),
            n => format!(" (and {n} more since the last such line)"),
        };
        warn!(
            sleepingd_service = %service,
            remote_addr = %by,
            "{by} is refused: it is in ACCEPT_PROXY, but {failure}{more}",
        );
    }
}

// === impl Refusals ===

impl Refusals {
    /// Takes in another one. If it is to be told: how many before it were not.
    fn another(&mut self, now: Timestamp) -> Option<usize> {
        if self.told.is_some_and(|told| now.since(told) < QUIET) {
            self.untold += 1;
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

// === reading one ===

async fn read(arrival: Arrival, limit: Duration) -> Outcome {
    let by = arrival.addr;
    let read = named(arrival, limit).await;
    Outcome { by, read }
}

/// The client, with the addresses that its header names.
async fn named(arrival: Arrival, limit: Duration) -> Result<Arrival, Failure> {
    // However it is dropped here: nobody may take that for the end of an answer.
    arrival.socket.reset_on_close()?;
    let stream = Stream::new(arrival.socket)?;
    let mut head = Vec::new();
    let header = match timeout(limit, header(&stream, &mut head)).await {
        Ok(header) => header?,
        Err(_elapsed) if head.is_empty() => return Err(Failure::Silent(limit)),
        Err(_elapsed) => return Err(Failure::Slow(limit)),
    };
    let (addr, local) = match header.ends {
        Some(ends) => (
            ClientAddr::tcp(ends.source),
            LocalAddr::tcp(ends.destination),
        ),
        None => (arrival.addr, arrival.local),
    };
    Ok(Arrival {
        socket: stream.into_socket(),
        addr,
        local,
        ..arrival
    })
}

async fn header(stream: &Stream, head: &mut Vec<u8>) -> Result<Header, Failure> {
    loop {
        match take(stream.socket(), head) {
            Ok(Some(header)) => return Ok(header),
            // There may be more of it already.
            Ok(None) => {}
            Err(Failure::Unreadable(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|cx| stream.poll_readable(cx)).await?;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Takes what has come of the header, and nothing behind it: a look first, for only the bytes
/// tell where it ends.
fn take(socket: &Socket, head: &mut Vec<u8>) -> Result<Option<Header>, Failure> {
    let mut piece = [0; PIECE];
    let before = head.len();
    let seen = match socket.peek(&mut piece) {
        Ok(seen) => seen,
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => 0,
        Err(e) => return Err(e.into()),
    };
    if seen == 0 {
        return Err(if before == 0 {
            Failure::Left
        } else {
            Failure::LeftEarly
        });
    }
    head.extend_from_slice(&piece[..seen]);
    let header = match proxy_protocol::parse(head)? {
        Parsed::NeedMore => None,
        Parsed::Whole(header) => Some(header),
    };
    head.truncate(header.map_or(head.len(), |header| header.length));
    let mut rest = &mut piece[..head.len().saturating_sub(before)];
    while !rest.is_empty() {
        // They have just been seen, so they are there.
        match socket.recv(rest)? {
            0 => return Err(Failure::LeftEarly),
            taken => rest = &mut rest[taken..],
        }
    }
    Ok(header)
}

// === sending one ===

/// The header for a client with these addresses.
pub(super) fn written(version: ProxyVersion, client: ClientAddr, local: &LocalAddr) -> Vec<u8> {
    let ends = match (client, local) {
        (ClientAddr::Tcp(source), LocalAddr::Tcp(destination)) => Some(Ends {
            source,
            destination: *destination,
        }),
        (ClientAddr::Unix, _) | (_, LocalAddr::Unix(_)) => None,
    };
    proxy_protocol::encode(version, ends)
}

/// Sends it all, within `limit`.
///
/// # Errors
/// Those of send(2); `TimedOut` after `limit`.
pub(super) async fn send(backend: &Stream, header: &[u8], limit: Duration) -> io::Result<()> {
    let all = async {
        let mut rest = header;
        while !rest.is_empty() {
            match backend.socket().send(rest) {
                Ok(sent) => rest = &rest[sent..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|cx| backend.poll_writable(cx)).await?;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    };
    timeout(limit, all).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_that_were_not_told_are_counted_in_the_next_line() {
        let start = clock::now();
        let mut refusals = Refusals::default();
        assert_eq!(refusals.another(start), Some(0));
        for _ in 0..3 {
            assert_eq!(refusals.another(start + QUIET / 2), None);
        }
        assert_eq!(refusals.another(start + QUIET), Some(3));
        assert_eq!(refusals.another(start + QUIET * 3), Some(0));
    }
}
