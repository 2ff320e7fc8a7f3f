//! Clients that wait for a wake.

use std::collections::{BTreeMap, BTreeSet};

use super::wake::Wake;
use crate::model::{ClientAddr, CommandId, ConnId, LocalAddr, ProbeId, Timestamp};

/// One held client.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) client: ClientAddr,
    pub(super) local: LocalAddr,
    /// On the IGNORE list: never wakes, never keeps awake.
    pub(super) ignored: bool,
    /// Has sent something.
    pub(super) spoke: bool,
    /// When it was accepted.
    pub(super) since: Timestamp,
    /// WAKE_TIMEOUT from then.
    pub(super) deadline: Option<Timestamp>,
    /// The next connect is not tried before this: the last one has just failed.
    pub(super) not_before: Option<Timestamp>,
    /// Where START decides for each connection: its own wake. Boxed: few have one.
    pub(super) attempt: Option<Box<Wake>>,
    /// `false`: the client has left or was refused, and only its START is still waited for.
    pub(super) present: bool,
}

/// The held clients, in the order in which they came to the service (so do identities grow).
///
/// There may be many thousands: what is asked at each event is not looked for among all of them.
///
/// Boxed: every client goes through here and on to those that are being connected, and a node of
/// such a tree has eleven places.
#[derive(Debug, Default)]
pub(super) struct HoldQueue {
    clients: BTreeMap<ConnId, Box<Held>>,
    books: Books,
}

/// What is asked of all of them at each event.
#[derive(Debug, Default)]
struct Books {
    /// Clients that are still there.
    present: usize,
    /// The wakes under way for one connection each.
    attempts: BTreeSet<ConnId>,
    /// When each of them is due next.
    due: BTreeSet<(Timestamp, ConnId)>,
}

impl HoldQueue {
    pub(super) fn insert(&mut self, conn: ConnId, held: Box<Held>) {
        // Nobody is in it twice, but the books would not bear it.
        self.remove(conn);
        self.books.enter(conn, &held);
        self.clients.insert(conn, held);
    }

    pub(super) fn get(&self, conn: ConnId) -> Option<&Held> {
        self.clients.get(&conn).map(Box::as_ref)
    }

    /// The only way to change one: the books are kept by it.
    pub(super) fn change<R>(
        &mut self,
        conn: ConnId,
        change: impl FnOnce(&mut Held) -> R,
    ) -> Option<R> {
        let held = self.clients.get_mut(&conn)?;
        self.books.strike(conn, held);
        let done = change(held);
        self.books.enter(conn, held);
        Some(done)
    }

    pub(super) fn remove(&mut self, conn: ConnId) -> Option<Box<Held>> {
        let held = self.clients.remove(&conn)?;
        self.books.strike(conn, &held);
        Some(held)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Held)> {
        self.clients.iter().map(|(conn, held)| (*conn, &**held))
    }

    /// Clients that are still there.
    pub(super) fn present(&self) -> usize {
        self.books.present
    }

    /// Nobody is held, and no START for one runs.
    pub(super) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Those that match, by identity.
    pub(super) fn matching(&self, test: impl Fn(&Held) -> bool) -> Vec<ConnId> {
        self.iter()
            .filter(|(_, held)| test(held))
            .map(|(conn, _)| conn)
            .collect()
    }

    /// STARTs that run for one connection each.
    pub(super) fn starting(&self) -> usize {
        self.wakes().filter(|(_, wake)| wake.starting()).count()
    }

    /// Those with a wake of their own.
    pub(super) fn attempts(&self) -> Vec<ConnId> {
        self.books.attempts.iter().copied().collect()
    }

    /// Whether there is a wake for one connection alone.
    pub(super) fn has_attempts(&self) -> bool {
        !self.books.attempts.is_empty()
    }

    pub(super) fn owner_of_command(&self, id: CommandId) -> Option<ConnId> {
        self.owner(|wake| wake.owns_command(id))
    }

    pub(super) fn owner_of_probe(&self, id: ProbeId) -> Option<ConnId> {
        self.owner(|wake| wake.owns_probe(id))
    }

    /// The next moment at which one of them is due.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.books.due.first().map(|(at, _)| *at)
    }

    /// Those that are due by now, oldest first.
    pub(super) fn due_by(&self, now: Timestamp) -> Vec<ConnId> {
        let due = self.books.due.iter().take_while(|(at, _)| *at <= now);
        let mut due: Vec<ConnId> = due.map(|(_, conn)| *conn).collect();
        due.sort_unstable();
        due
    }

    fn owner(&self, owns: impl Fn(&Wake) -> bool) -> Option<ConnId> {
        self.wakes()
            .find(|(_, wake)| owns(wake))
            .map(|(conn, _)| conn)
    }

    fn wakes(&self) -> impl Iterator<Item = (ConnId, &Wake)> {
        self.books.attempts.iter().filter_map(|conn| {
            let wake = self.get(*conn)?.attempt.as_deref()?;
            Some((*conn, wake))
        })
    }
}

impl Books {
    /// Takes a client in, as it is.
    fn enter(&mut self, conn: ConnId, held: &Held) {
        self.present += usize::from(held.present);
        if held.attempt.is_some() {
            self.attempts.insert(conn);
        }
        self.due.extend(held.due().map(|at| (at, conn)));
    }

    /// Takes a client out, as it was when it was taken in.
    fn strike(&mut self, conn: ConnId, held: &Held) {
        self.present -= usize::from(held.present);
        if held.attempt.is_some() {
            self.attempts.remove(&conn);
        }
        if let Some(at) = held.due() {
            self.due.remove(&(at, conn));
        }
    }
}

impl Held {
    /// Whether the backend is woken for it.
    pub(super) fn wants_wake(&self, on_data: bool) -> bool {
        self.present && !self.ignored && (self.spoke || !on_data)
    }

    /// When something is due for it: its deadline, its next try, its wake.
    fn due(&self) -> Option<Timestamp> {
        let deadline = self.deadline.filter(|_| self.present);
        let wake = self.attempt.as_ref().and_then(|wake| wake.due());
        [deadline, self.not_before, wake]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether its next connect may be tried.
    pub(super) fn may_connect(&self, now: Timestamp) -> bool {
        self.present && self.attempt.is_none() && self.not_before.is_none_or(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn held(deadline: Option<Timestamp>) -> Box<Held> {
        Box::new(Held {
            client: ClientAddr::Unix,
            local: LocalAddr::Unix("/run/web.sock".into()),
            ignored: false,
            spoke: false,
            since: Timestamp::BOOT,
            deadline,
            not_before: None,
            attempt: None,
            present: true,
        })
    }

    /// The books say what a look at everybody says.
    fn check(queue: &HoldQueue, now: Timestamp) {
        let all = || queue.iter();
        assert_eq!(
            queue.present(),
            all().filter(|(_, held)| held.present).count()
        );
        assert_eq!(queue.due(), all().filter_map(|(_, held)| held.due()).min());
        let due = |held: &Held| held.due().is_some_and(|at| at <= now);
        assert_eq!(queue.due_by(now), queue.matching(due));
    }

    #[test]
    fn the_books_are_what_a_look_at_all_says_whatever_is_changed() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut queue = HoldQueue::default();
        for _ in 0..5_000 {
            let conn = ConnId(rng.u64(0..40));
            let at = Timestamp::BOOT + Duration::from_secs(rng.u64(0..20));
            let some = rng.bool().then_some(at);
            match rng.u8(0..5) {
                0 => queue.insert(conn, held(some)),
                1 => drop(queue.remove(conn)),
                2 => drop(queue.change(conn, |held| held.deadline = some)),
                3 => drop(queue.change(conn, |held| held.not_before = some)),
                _ => drop(queue.change(conn, |held| held.present = rng.bool())),
            }
            check(&queue, at);
        }
        for conn in queue.matching(|_| true) {
            queue.remove(conn);
        }
        assert!(queue.books.due.is_empty() && queue.books.present == 0);
    }
}
