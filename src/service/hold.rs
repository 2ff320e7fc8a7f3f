//! Clients that wait for a wake.

use std::collections::BTreeMap;

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
/// Boxed: every client goes through here and on to those that are being connected, and a node of
/// such a tree has eleven places.
#[derive(Debug, Default)]
pub(super) struct HoldQueue(BTreeMap<ConnId, Box<Held>>);

impl HoldQueue {
    pub(super) fn insert(&mut self, conn: ConnId, held: Box<Held>) {
        self.0.insert(conn, held);
    }

    pub(super) fn get(&self, conn: ConnId) -> Option<&Held> {
        self.0.get(&conn).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Held> {
        self.0.get_mut(&conn).map(Box::as_mut)
    }

    pub(super) fn remove(&mut self, conn: ConnId) -> Option<Box<Held>> {
        self.0.remove(&conn)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Held)> {
        self.0.iter().map(|(conn, held)| (*conn, &**held))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnId, &mut Held)> {
        self.0.iter_mut().map(|(conn, held)| (*conn, &mut **held))
    }

    /// Clients that are still there.
    pub(super) fn present(&self) -> usize {
        self.0.values().filter(|held| held.present).count()
    }

    /// Nobody is held, and no START for one runs.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
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
        self.0
            .values()
            .filter(|h| h.attempt.as_ref().is_some_and(|wake| wake.starting()))
            .count()
    }

    /// Wakes under way for one connection each.
    pub(super) fn attempts(&self) -> usize {
        self.0
            .values()
            .filter(|held| held.attempt.is_some())
            .count()
    }

    pub(super) fn owner_of_command(&self, id: CommandId) -> Option<ConnId> {
        self.owner(|wake| wake.owns_command(id))
    }

    pub(super) fn owner_of_probe(&self, id: ProbeId) -> Option<ConnId> {
        self.owner(|wake| wake.owns_probe(id))
    }

    fn owner(&self, owns: impl Fn(&Wake) -> bool) -> Option<ConnId> {
        self.iter()
            .find(|(_, h)| h.attempt.as_ref().is_some_and(|wake| owns(wake)))
            .map(|(conn, _)| conn)
    }

    /// The next moment at which one of them is due: its deadline, its next try, its wake.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let moments = self.0.values().flat_map(|held| {
            let deadline = held.deadline.filter(|_| held.present);
            [
                deadline,
                held.not_before,
                held.attempt.as_ref().and_then(|wake| wake.due()),
            ]
        });
        moments.flatten().min()
    }
}

impl Held {
    /// Whether the backend is woken for it.
    pub(super) fn wants_wake(&self, on_data: bool) -> bool {
        self.present && !self.ignored && (self.spoke || !on_data)
    }

    /// Whether its next connect may be tried.
    pub(super) fn may_connect(&self, now: Timestamp) -> bool {
        self.present && self.attempt.is_none() && self.not_before.is_none_or(|at| at <= now)
    }
}
