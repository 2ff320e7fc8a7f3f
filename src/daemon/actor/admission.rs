//! From a listener to the service: who may come in now.

use std::{io, sync::Arc};

use tokio::sync::oneshot;
use tracing::error;

use super::{Actor, Conversation};
use crate::{
    daemon::{
        accept::Listeners,
        connection::{self, Client},
        headers::Arrival,
    },
    model::ConnId,
    service::{Input, Report},
    sys::{
        clock,
        net::{Accepted, ListenSocket},
    },
};

/// More than wait in any listen backlog of ours.
const BACKLOG: usize = 4096;

impl Actor {
    pub(super) fn listen(&mut self, sockets: Vec<ListenSocket>) {
        match Listeners::new(sockets) {
            Ok(listeners) => self.listeners = listeners,
            Err(e) => error!(
                sleepingd_service = %self.shared.service,
                "its listeners cannot be watched: {e}",
            ),
        }
    }

    /// Everybody who waits to be accepted now, as far as there is room; closing a listener resets
    /// the rest.
    pub(super) fn accept_all(&mut self) {
        for _ in 0..BACKLOG {
            if !self.accepting() || !self.common.budget.has_room() {
                return;
            }
            match self.listeners.accept_now() {
                Some(accepted) => self.accepted(accepted),
                None => return,
            }
        }
    }

    pub(super) fn accepted(&mut self, accepted: Accepted) {
        let Accepted {
            socket,
            client: addr,
            local,
        } = accepted;
        let place = self.common.budget.take();
        let local = match local.map_or_else(|| socket.local_addr(), Ok) {
            Ok(local) => local,
            // It was reset between accept and here.
            Err(_) => return self.report(&Report::ClientLeft(addr)),
        };
        let arrival = Arrival {
            socket,
            addr,
            local,
            at: clock::now(),
            place,
        };
        let policy = &self.shared.policy;
        if policy.proxy.accept.trusts(&addr) {
            let limit = policy.timeouts.proxy;
            self.headers.read(&self.shared.service, arrival, limit);
        } else {
            self.admit(arrival);
        }
    }

    /// Somebody who was accepted could not be watched.
    pub(super) fn unwatched(&mut self, error: &io::Error) {
        let budget = &self.common.budget;
        self.listeners
            .unwatched(&self.shared.service, budget, error);
    }

    pub(super) fn accepting(&self) -> bool {
        let most = self.shared.policy.limits.waiting;
        !self.paused && self.service.accepting() && self.headers.has_room(most)
    }

    /// Those whose header has come, as far as there is room for them.
    pub(super) fn admit_named(&mut self) {
        while self.service.accepting() {
            let Some(arrival) = self.headers.pop() else {
                return;
            };
            self.admit(arrival);
        }
    }

    /// From here on the service knows of it.
    fn admit(&mut self, arrival: Arrival) {
        let Arrival {
            socket,
            addr,
            local,
            at,
            place,
        } = arrival;
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        let (to, decision) = oneshot::channel();
        let conversation = Conversation {
            decision: Some(to),
            relay: None,
            _place: place,
        };
        self.clients.insert(conn, conversation);
        let client = Client {
            conn,
            addr,
            local: local.clone(),
            socket,
            arrived: at,
        };
        let shared = Arc::clone(&self.shared);
        // First of all: while the service is awake the task finds its decision there.
        self.step(Input::ClientArrived {
            conn,
            client: addr,
            local,
            at,
        });
        self.common
            .threads
            .spawn(|counted| connection::serve(client, decision, shared, counted));
    }
}
