//! Clients that have said who they are, and for whom the service has no room just now.
//!
//! They are watched: whoever leaves gives its place back at once, and no backend is connected for
//! it; and nobody waits for longer than WAKE_TIMEOUT. There may be as many as MAX_WAITING, so an
//! event of one must not cost a look at all of them: each has a waker of its own, which says whose
//! event it was.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Sleep, sleep},
};

use super::{Arrival, guest::Guest};
use crate::{
    daemon::{budget::Place, outcome::Unserved},
    model::LocalAddr,
    service::Refusal,
    sys::{clock, stream::Stream},
};

/// All of one service.
pub(super) struct Waiting {
    /// They have just come. Nearly always there is room, and they are not worth watching.
    new: VecDeque<(Arrival, Guest)>,
    /// The others, who came before those, in the order in which they came.
    watched: BTreeMap<u64, Watched>,
    numbers: u64,
    /// Of whom there is an event: each is in it once at most, until it is looked at.
    rung: UnboundedReceiver<u64>,
    bell: UnboundedSender<u64>,
}

/// One that is watched.
struct Watched {
    stream: Stream,
    local: LocalAddr,
    place: Place,
    guest: Guest,
    waker: Waker,
    /// Until when it may wait. Late by the time of a suspend, like the actor's timer.
    limit: Option<Pin<Box<Sleep>>>,
}

/// What the waker of one pulls.
struct Rope {
    number: u64,
    bell: UnboundedSender<u64>,
}

// === impl Waiting ===

impl Waiting {
    pub(super) fn new() -> Self {
        let (bell, rung) = unbounded_channel();
        Self {
            new: VecDeque::new(),
            watched: BTreeMap::new(),
            numbers: 0,
            rung,
            bell,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.new.len() + self.watched.len()
    }

    pub(super) fn push(&mut self, arrival: Arrival, guest: Guest) {
        self.new.push_back((arrival, guest));
    }

    /// The one that has waited longest, for whom there is room now.
    pub(super) fn pop(&mut self) -> Option<Arrival> {
        let (arrival, guest) = match self.watched.pop_first() {
            Some((_, watched)) => watched.back_from_the_runtime(),
            None => self.new.pop_front()?,
        };
        guest.admitted();
        Some(arrival)
    }

    /// Resets them all.
    pub(super) fn clear(&mut self) {
        self.new.clear();
        self.watched.clear();
    }

    /// Watches them until one has ended, and says so in the log; each for `limit` from its accept
    /// at most. Can be dropped at any time.
    ///
    /// # Errors
    /// That one has ended because it cannot be watched.
    pub(super) async fn one_ends(&mut self, limit: Option<Duration>) -> io::Result<()> {
        // Whoever is still new when this is waited for was not admitted.
        while let Some((arrival, guest)) = self.new.pop_front() {
            self.watch(arrival, guest, limit)?;
        }
        // We have an end of the channel ourselves: it is never closed.
        while let Some(number) = self.rung.recv().await {
            // It may have been admitted since.
            let Some(watched) = self.watched.get_mut(&number) else {
                continue;
            };
            if let Some(why) = watched.look() {
                self.ends(number, why);
                break;
            }
        }
        Ok(())
    }

    fn ends(&mut self, number: u64, why: Unserved<'_>) {
        if let Some(watched) = self.watched.remove(&number) {
            watched.guest.ends(why);
        }
    }

    fn watch(&mut self, arrival: Arrival, guest: Guest, limit: Option<Duration>) -> io::Result<()> {
        let stream = match Stream::new(arrival.socket) {
            Ok(stream) => stream,
            Err(error) => {
                guest.ends_unwatched(&error);
                return Err(error);
            }
        };
        let deadline = arrival.at.plus(limit);
        self.numbers += 1;
        let rope = Rope {
            number: self.numbers,
            bell: self.bell.clone(),
        };
        let watched = Watched {
            stream,
            local: arrival.local,
            place: arrival.place,
            guest,
            waker: Waker::from(Arc::new(rope)),
            limit: deadline.map(|at| Box::pin(sleep(at.since(clock::now())))),
        };
        // The first look is due at once.
        watched.waker.wake_by_ref();
        self.watched.insert(self.numbers, watched);
        Ok(())
    }
}

// === impl Watched ===

impl Watched {
    /// Looks whether it waits no more, and why; has the bell rung at the next event.
    fn look(&mut self) -> Option<Unserved<'static>> {
        let mut cx = Context::from_waker(&self.waker);
        let limit = self.limit.as_mut();
        // First, so that both are asked for: who has left by then has left.
        let is_over = limit.is_some_and(|limit| limit.as_mut().poll(&mut cx).is_ready());
        if self.is_gone(&mut cx) {
            Some(Unserved::Left)
        } else {
            is_over.then_some(Unserved::Refused(&Refusal::HeldTooLong))
        }
    }

    fn is_gone(&self, cx: &mut Context<'_>) -> bool {
        // Whatever happens to a connection that nobody writes to, it is said to be writable again
        // with it; to be readable is said without end once the client has said all. The events are
        // consumed before the look: one that comes after it rings again.
        while let Poll::Ready(event) = self.stream.poll_writable(cx) {
            match event {
                Ok(event) if !event.closed => {}
                // It is dead, or a unix socket that has closed: the look tells which.
                Ok(_) => break,
                Err(_shutting_down) => return true,
            }
        }
        match self.stream.socket().glance() {
            Ok(glance) => glance.dead || (glance.ended && !glance.data),
            // poll(2) of one good descriptor; if even that fails it cannot be served.
            Err(_) => true,
        }
    }

    fn back_from_the_runtime(self) -> (Arrival, Guest) {
        let arrival = Arrival {
            socket: self.stream.into_socket(),
            addr: self.guest.client(),
            local: self.local,
            at: self.guest.since(),
            place: self.place,
        };
        (arrival, self.guest)
    }
}

// === impl Rope ===

impl Wake for Rope {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Nobody hears it when nobody waits any more.
        let _ = self.bell.send(self.number);
    }
}
