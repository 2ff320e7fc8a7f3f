//! Accepting, and what to do when it fails.
//!
//! An error of one connection (it was reset before we came to it) costs nothing and is passed
//! over. An error of the machine or the process (no descriptors, no memory) would come again at
//! once, for ever: accepting pauses, longer each time, or until a client has ended. No error ends
//! a listener.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{info, warn};

use super::budget::Budget;
use crate::{
    model::{ServiceName, Timestamp},
    sys::{
        clock,
        listener::Listener,
        net::{Accepted, ListenSocket},
    },
};

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(150);

/// Between two log lines about one trouble.
pub(super) const QUIET: Duration = Duration::from_secs(10);

/// The listeners of one service.
pub(super) struct Listeners {
    sockets: Vec<Listener>,
    /// The one to be asked first, so that a busy one does not starve the others.
    next: usize,
    trouble: Option<Trouble>,
    /// When it was last said that there is no room.
    told_full: Option<Timestamp>,
}

/// Accepting has failed, and pauses.
struct Trouble {
    pause: Duration,
    /// The end of the pause: a moment, for whoever waits for it is dropped and comes again.
    until: Instant,
    /// Clients that had ended when it failed; the next that ends cuts the pause short.
    ended: usize,
    told: Timestamp,
    what: What,
    /// When it failed last.
    last: Timestamp,
}

/// What has failed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Accept,
    /// To watch who was accepted. That shows later, on the thread that relays: an accept that
    /// succeeds does not end this trouble.
    Watch,
}

impl Listeners {
    /// Gives the sockets to the runtime.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub(super) fn new(sockets: Vec<ListenSocket>) -> io::Result<Self> {
        let sockets = sockets
            .into_iter()
            .map(Listener::new)
            .collect::<io::Result<_>>()?;
        Ok(Self {
            sockets,
            next: 0,
            trouble: None,
            told_full: None,
        })
    }

    /// No listeners: nobody will come.
    pub(super) fn none() -> Self {
        Self {
            sockets: Vec::new(),
            next: 0,
            trouble: None,
            told_full: None,
        }
    }

    /// The next client. Pauses while accepting fails. Can be dropped at any time.
    pub(super) async fn accept(&mut self, service: &ServiceName, budget: &Budget) -> Accepted {
        loop {
            if let Some(trouble) = &self.trouble {
                tokio::select! {
                    () = tokio::time::sleep_until(trouble.until) => {}
                    () = budget.freed_since(trouble.ended) => {}
                }
            }
            while !budget.has_room() {
                self.full(service, budget);
                budget.freed_since(budget.ended()).await;
            }
            match poll_fn(|cx| self.poll(cx)).await {
                Ok(accepted) => {
                    if self.trouble.take_if(|trouble| trouble.is_over()).is_some() {
                        info!(sleepingd_service = %service, "accepting again");
                    }
                    return accepted;
                }
                Err(error) => self.failed(service, budget, What::Accept, &error),
            }
        }
    }

    /// Somebody who waits already.
    pub(super) fn accept_now(&self) -> Option<Accepted> {
        let mut waiting = self.sockets.iter();
        waiting.find_map(|socket| {
            loop {
                match socket.accept_now() {
                    Err(e) if of_one_connection(&e) => {}
                    // An error that lasts is met again by whoever listens on.
                    done => return done.ok(),
                }
            }
        })
    }

    /// Somebody who was accepted cannot be watched: the next one would be lost as well.
    pub(super) fn unwatched(&mut self, service: &ServiceName, budget: &Budget, error: &io::Error) {
        self.failed(service, budget, What::Watch, error);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let count = self.sockets.len();
        for turn in 0..count {
            let index = (self.next + turn) % count;
            while let Poll::Ready(accepted) = self.sockets[index].poll_accept(cx) {
                match accepted {
                    Err(e) if of_one_connection(&e) => {}
                    done => {
                        self.next = index + 1;
                        return Poll::Ready(done);
                    }
                }
            }
        }
        Poll::Pending
    }

    fn full(&mut self, service: &ServiceName, budget: &Budget) {
        let now = clock::now();
        if self.told_full.is_none_or(|told| now.since(told) >= QUIET) {
            self.told_full = Some(now);
            warn!(
                sleepingd_service = %service,
                "there are as many clients as the limit of open files allows ({}); more wait in \
                 the listen backlog; raise it (LimitNOFILE=, ulimit -n) to serve more at once",
                budget.most(),
            );
        }
    }

    fn failed(&mut self, service: &ServiceName, budget: &Budget, what: What, error: &io::Error) {
        let now = clock::now();
        let (pause, told) = match &self.trouble {
            None => (FIRST_PAUSE, None),
            Some(before) => ((before.pause * 2).min(LONGEST_PAUSE), Some(before.told)),
        };
        let tell = told.is_none_or(|told| now.since(told) >= QUIET);
        if tell {
            warn!(
                sleepingd_service = %service,
                "accepting pauses: {error}; clients wait in the listen backlog",
            );
        }
        self.trouble = Some(Trouble {
            pause,
            until: Instant::now() + pause,
            ended: budget.ended(),
            told: if tell { now } else { told.unwrap_or(now) },
            what,
            last: now,
        });
    }
}

// === impl Trouble ===

impl Trouble {
    /// Whether an accept that succeeds is its end.
    fn is_over(&self) -> bool {
        self.what == What::Accept || clock::now().since(self.last) >= QUIET
    }
}

/// Errors that accept(2) passes on from a connection that is already over ("already-pending
/// network errors on the new socket"), and an interruption.
fn of_one_connection(error: &io::Error) -> bool {
    use nix::libc as c;
    matches!(
        error.raw_os_error(),
        Some(
            c::ECONNABORTED
                | c::EINTR
                | c::ENETDOWN
                | c::EPROTO
                | c::ENOPROTOOPT
                | c::EHOSTDOWN
                | c::ENONET
                | c::EHOSTUNREACH
                | c::EOPNOTSUPP
                | c::ENETUNREACH
                | c::EPERM
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ListenAddr;

    #[tokio::test]
    async fn who_waits_already_is_accepted_without_waiting_for_the_next() {
        let anywhere = ListenAddr::Tcp(([127, 0, 0, 1], 0).into());
        let socket = ListenSocket::bind(&anywhere).unwrap();
        let Ok(ListenAddr::Tcp(at)) = socket.listen_addr() else {
            panic!("it is no TCP socket")
        };
        let listeners = Listeners::new(vec![socket]).unwrap();
        assert!(listeners.accept_now().is_none());
        let clients = [(); 2].map(|()| std::net::TcpStream::connect(at).unwrap());
        assert!(clients.iter().all(|_| listeners.accept_now().is_some()));
        assert!(listeners.accept_now().is_none());
    }
}
