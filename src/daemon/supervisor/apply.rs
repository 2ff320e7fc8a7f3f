//! Making the services those of a configuration.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::timeout};
use tracing::{debug, error, info, warn};

use super::{LOOK_LIMIT, Leaving, Running, Supervisor};
use crate::{
    config::Loaded,
    daemon::{
        accept::Listeners,
        actor::{Actor, Message},
        budget::Budget,
        listeners::{Gone, Share},
        outcome::{ClientOutcome, Unserved},
        status::Gauge,
    },
    model::{Definition, ServiceName, Slug},
    relay,
    service::{Input, Retirement},
    sys::{
        self,
        net::{Accepted, ListenSocket},
    },
};

/// systemd does not say when it has closed what it had in its store.
const LET_GO_PACE: Duration = Duration::from_millis(1);

impl Supervisor {
    /// Makes the running services those of the configuration, with these generated units stopped.
    /// Says what could not be bound.
    pub(super) async fn apply(&mut self, loaded: Loaded, stopped: &[String]) -> Vec<String> {
        let definitions: Vec<Arc<Definition>> =
            loaded.definitions.into_iter().map(Arc::new).collect();
        let references: Vec<&Definition> = definitions.iter().map(Arc::as_ref).collect();
        let gone = self.sockets.claim(&references, stopped, &self.notifier);
        if !gone.is_empty() {
            self.let_go(&gone).await;
        }
        let allotment = self.sockets.allot(&references, &self.notifier);
        for error in &allotment.errors {
            error!("{error}");
        }
        self.held.set(&allotment.held);
        self.refuse(allotment.unclaimed);
        self.order = definitions.iter().map(|d| d.slug.clone()).collect();
        if self.order.is_empty() {
            warn!("{}", self.source.nothing_configured());
        }
        let gone: Vec<Slug> = self
            .services
            .keys()
            .filter(|slug| !self.order.contains(slug))
            .cloned()
            .collect();
        for slug in gone {
            self.remove(&slug);
        }
        // Who was to come after one that leaves is brought again below, if it is still wanted.
        self.leaving.values_mut().for_each(|left| left.next.clear());
        for (definition, share) in definitions.into_iter().zip(allotment.shares) {
            self.bring(definition, share);
        }
        self.share_descriptors();
        allotment.errors
    }

    /// Has everybody close the duplicates of sockets that are gone, and waits for it: what they
    /// were bound to is to be had again.
    async fn let_go(&mut self, gone: &[Gone]) {
        // They are brought again with what nobody claims then.
        self.refusers.clear();
        self.refusing.shutdown().await;
        let mut waiting = Vec::new();
        for running in self.services.values_mut() {
            let Share { ids, sockets } = self.sockets.still_there(&running.listens);
            if ids != running.listens {
                running.listens = ids;
                running.tell(Message::LetGo(sockets));
                waiting.push(running.look());
            }
        }
        // Those that leave have been told before to listen no more.
        waiting.extend(self.leaving.values().map(|left| left.running.look()));
        let closed = async {
            for answer in waiting {
                // Messages are read in their order. One that does not answer is seen below.
                let _ = answer.await;
            }
            while !gone.iter().all(Gone::is_closed) {
                tokio::time::sleep(LET_GO_PACE).await;
            }
        };
        // Whoever binds what is still open says so.
        let _ = timeout(LOOK_LIMIT, closed).await;
    }

    /// What is left for clients depends on how many services there are to look after.
    fn share_descriptors(&self) {
        match sys::fd::open_descriptors() {
            Ok(open) => {
                let budget = &self.common.budget;
                // A held client has one, a relayed one two. Pipes have a share of their own.
                let clients = 2 * budget.clients();
                let others = open.saturating_sub(clients + relay::descriptors_of_pipes());
                budget.share(others, self.services.len());
            }
            Err(e) => debug!("the open descriptors cannot be counted: {e}"),
        }
    }

    pub(super) fn bring(&mut self, definition: Arc<Definition>, share: Share) {
        let slug = definition.slug.clone();
        let Some(running) = self.services.get_mut(&slug) else {
            let mut leaving = self.leaving.values_mut();
            match leaving.find(|left| left.is_in_the_way_of(&definition)) {
                Some(left) => left.next.push((definition, share)),
                None => self.spawn(definition, share),
            }
            return;
        };
        let changed = *running.definition != *definition;
        // Not only when its own PORT has changed: a port that was in use may be had now, and
        // another section may have given one up.
        if running.listens != share.ids {
            running.listens = share.ids;
            running.tell(Message::Listen(share.sockets));
        }
        if changed {
            running.definition = Arc::clone(&definition);
            running.tell(Message::Input(Input::Configured(definition)));
        }
    }

    pub(super) fn spawn(&mut self, definition: Arc<Definition>, share: Share) {
        let (to, inbox) = mpsc::unbounded_channel();
        let gauge = Gauge::new(&self.totals);
        let record = self.common.records.read(&definition.slug);
        let mut begins_as = Arc::clone(&definition);
        if self.after_idle_exit {
            Arc::make_mut(&mut begins_as).auto_start = false;
        }
        let mut actor = Actor::new(
            &begins_as,
            record,
            self.common.clone(),
            Arc::clone(&gauge),
            inbox,
            to.clone(),
        );
        let slug = definition.slug.clone();
        self.actors.spawn({
            let slug = slug.clone();
            async move {
                // Borrowed: a future stores twice what it is given and keeps.
                let exit = actor.run().await;
                (slug, exit)
            }
        });
        let running = Running {
            definition,
            listens: share.ids,
            to,
            gauge,
        };
        running.tell(Message::Listen(share.sockets));
        self.services.insert(slug, running);
    }

    pub(super) fn remove(&mut self, slug: &Slug) {
        let Some(running) = self.services.remove(slug) else {
            return;
        };
        info!(
            sleepingd_service = %running.definition.name,
            "its section is gone, it ends",
        );
        running.tell(Message::Input(Input::Retire(Retirement::Stop)));
        let next = Vec::new();
        self.leaving.insert(slug.clone(), Leaving { running, next });
    }

    /// Resets whoever connects to a socket that nobody claims. The refusers of before, whose
    /// sockets may have an owner now, end.
    pub(super) fn refuse(&mut self, sockets: Vec<ListenSocket>) {
        for refuser in self.refusers.drain(..) {
            refuser.abort();
        }
        if sockets.is_empty() {
            return;
        }
        match Listeners::new(sockets) {
            Ok(listeners) => {
                let budget = self.common.budget.clone();
                self.refusers
                    .push(self.refusing.spawn(refuse_all(listeners, budget)));
            }
            Err(e) => error!("sockets that no section claims cannot be watched: {e}"),
        }
    }
}

async fn refuse_all(mut listeners: Listeners, budget: Budget) {
    let nobody = ServiceName::new("unclaimed sockets");
    loop {
        let Accepted { socket, client, .. } = listeners.accept(&nobody, &budget).await;
        ClientOutcome::unserved(None, client, Duration::ZERO, Unserved::Unclaimed).tell();
        // A unix socket has no reset; closing it is all there is.
        let _ = socket.reset_on_close();
    }
}
