//! PROXY headers: read before the service hears of a client, sent before its first byte.
//!
//! Until its header is complete, a client of ACCEPT_PROXY has no address that the service could
//! decide by, so it is not in the service's books: it waits here, for PROXY_TIMEOUT at most, while
//! others are accepted. Not one byte behind the header is taken, so that what the service sees of
//! the client afterwards (has it spoken?) is of the client alone.
//!
//! | file | the idea in it |
//! | --- | --- |
//! | `mod` | who has yet to say who it is, and who has said it |
//! | `reading` | one client's header, read |
//! | `waiting` | who has said it, and waits for room |
//! | `guest` | how one ends that the service has not heard of |
//! | `sending` | the header to a backend |

mod guest;
mod reading;
mod sending;
mod waiting;

use std::{io, sync::Arc, time::Duration};

pub(super) use reading::NoHeader;
pub(super) use sending::{send, written};
use tokio::task::{JoinError, JoinSet};
use tracing::{debug, error};

use self::{guest::Guest, reading::read, waiting::Waiting};
use super::{accept::QUIET, budget::Place, outcome::Unserved};
use crate::{
    model::{ClientAddr, LocalAddr, ServiceName, Timestamp, duration::show},
    sys::{clock, net::Socket},
};

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
    reading: JoinSet<Read>,
    /// They have said it, and the service has no room for them just now.
    waiting: Waiting,
    refusals: Refusals,
    /// Kept, so that none of them needs a copy of its own.
    service: Option<Arc<ServiceName>>,
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
pub(super) enum Outcome {
    /// Its header was read, or could not be; or the task for it is no more.
    Read(Result<Read, JoinError>),
    /// It waits no more, which has been told.
    WaitsNoMore,
    /// The same, for it cannot be watched.
    Unwatched(io::Error),
}

/// What came of reading the header of one of them.
pub(super) struct Read {
    /// By the connection's own address.
    guest: Guest,
    read: Result<Arrival, Unread>,
}

/// Why it has not said who it is.
enum Unread {
    NoHeader(NoHeader),
    /// It was not even asked: there is no memory to watch it.
    Unwatched(io::Error),
}

// === impl Headers ===

impl Headers {
    pub(super) fn new() -> Self {
        Self {
            reading: JoinSet::new(),
            waiting: Waiting::new(),
            refusals: Refusals::default(),
            service: None,
        }
    }

    /// Reads the header of this one, within `limit`.
    pub(super) fn read(&mut self, service: &ServiceName, arrival: Arrival, limit: Duration) {
        debug!(
            sleepingd_service = %service,
            remote_addr = %arrival.addr,
            "{} has {} to send its PROXY header", arrival.addr, show(limit),
        );
        let guest = Guest::new(self.name(service), arrival.addr, arrival.at);
        self.reading.spawn(read(arrival, guest, limit));
    }

    /// Whether nobody is there.
    pub(super) fn is_empty(&self) -> bool {
        self.reading.is_empty() && self.waiting.len() == 0
    }

    /// Whether another one may be accepted; `most` is MAX_WAITING.
    pub(super) fn has_room(&self, most: Option<usize>) -> bool {
        most.is_none_or(|most| self.reading.len() + self.waiting.len() < most)
    }

    /// The next of whom there is news; `None` while nobody is there. Whoever begins to wait for
    /// room does so until `limit` from its accept. Can be dropped at any time.
    pub(super) async fn next(&mut self, limit: Option<Duration>) -> Option<Outcome> {
        if self.reading.is_empty() && self.waiting.len() == 0 {
            return None;
        }
        tokio::select! {
            Some(read) = self.reading.join_next() => Some(Outcome::Read(read)),
            ended = self.waiting.one_ends(limit) => Some(match ended {
                Ok(()) => Outcome::WaitsNoMore,
                Err(error) => Outcome::Unwatched(error),
            }),
        }
    }

    /// Keeps it for [`Self::pop`], or says what was wrong.
    ///
    /// # Errors
    /// It cannot be watched, and was reset, which has been told.
    pub(super) fn done(&mut self, service: &ServiceName, outcome: Outcome) -> io::Result<()> {
        let read = match outcome {
            Outcome::Read(read) => read,
            Outcome::WaitsNoMore => return Ok(()),
            Outcome::Unwatched(error) => return Err(error),
        };
        match read {
            Ok(Read {
                mut guest,
                read: Ok(arrival),
            }) => {
                debug!(
                    sleepingd_service = %service,
                    remote_addr = %arrival.addr,
                    "{} comes by way of {}", arrival.addr, guest.client(),
                );
                guest.named(arrival.addr);
                self.waiting.push(arrival, guest);
            }
            Ok(Read {
                guest,
                read: Err(Unread::NoHeader(why)),
            }) => self.refused(guest, &why),
            Ok(Read {
                guest,
                read: Err(Unread::Unwatched(error)),
            }) => {
                guest.ends_unwatched(&error);
                return Err(error);
            }
            Err(e) => error!(
                sleepingd_service = %service,
                "a bug of ours, a client is lost with its PROXY header: {e}",
            ),
        }
        Ok(())
    }

    /// The next that has said who it is.
    pub(super) fn pop(&mut self) -> Option<Arrival> {
        let arrival = self.waiting.pop()?;
        // Fails only for a descriptor that is no socket, of which others will hear soon.
        let _ = arrival.socket.finish_on_close();
        Some(arrival)
    }

    /// Resets them all.
    pub(super) fn clear(&mut self) {
        // With all that is in it: aborted, those would stay whose header has just come.
        self.reading = JoinSet::new();
        self.waiting.clear();
    }

    fn refused(&mut self, guest: Guest, why: &NoHeader) {
        let due = match why {
            NoHeader::Left => None,
            _ => self.refusals.another(clock::now()),
        };
        match due {
            Some(untold) => guest.ends_loudly(Unserved::Unnamed(why), untold),
            None => guest.ends(Unserved::Unnamed(why)),
        }
    }

    fn name(&mut self, service: &ServiceName) -> Arc<ServiceName> {
        match &self.service {
            Some(name) if **name == *service => Arc::clone(name),
            _ => Arc::clone(self.service.insert(Arc::new(service.clone()))),
        }
    }
}

// === impl Unread ===

impl From<NoHeader> for Unread {
    fn from(why: NoHeader) -> Self {
        Self::NoHeader(why)
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

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
    };

    use tokio::{task::yield_now, time::timeout};

    use super::*;
    use crate::{daemon::budget::Budget, relay::PipeLimit};

    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn whoever_has_just_said_who_it_is_goes_with_the_others() {
        let (ours, mut client) = UnixStream::pair().unwrap();
        client.write_all(b"PROXY UNKNOWN\r\n").unwrap();
        client.set_nonblocking(true).unwrap();
        let arrival = Arrival {
            socket: Socket::from_fd(ours.into()).unwrap(),
            addr: ClientAddr::Unix,
            local: LocalAddr::Unix("/run/web.sock".into()),
            at: clock::now(),
            place: Budget::new(1024, PipeLimit::among(1024)).take(),
        };
        let mut headers = Headers::new();
        headers.read(&ServiceName::new("web"), arrival, PATIENCE);
        // Its task ends in the turn in which it takes the header; nobody asks for what it brings.
        let sent = Socket::from_fd(client.try_clone().unwrap().into()).unwrap();
        let taken = async {
            while sent.unacknowledged().unwrap() > 0 {
                yield_now().await;
            }
        };
        timeout(PATIENCE, taken).await.unwrap();
        headers.clear();
        assert_eq!(client.read(&mut [0]).expect("the end"), 0);
    }

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
