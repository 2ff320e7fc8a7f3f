//! Bringing up the process, and making the services those of a configuration.

use std::{collections::BTreeMap, future::pending, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinSet},
    time::timeout,
};
use tracing::{debug, error, info, warn};

use super::{Asked, LOOK_LIMIT, Leaving, REQUESTS, Running, Supervisor, control_socket};
use crate::{
    command::Runner,
    config::Loaded,
    control::{self, api},
    daemon::{
        accept::Listeners,
        actor::{Actor, Common, Message},
        budget::Budget,
        configuration::{Source, missing_accounts},
        held::Held,
        keeper::Store,
        listeners::{Gone, Share, Sockets},
        outcome::{ClientOutcome, Unserved},
        records::Records,
        startup::{self, Options, Runtime, StartError},
        status::Gauge,
        threads::{self, Threads},
    },
    model::{Definition, Scope, ServiceName, Slug, StopPlan},
    relay::{self, PipeLimit},
    service::{Input, Retirement},
    sys::{
        self,
        cgroup::CgroupParent,
        clock,
        net::{Accepted, ListenSocket},
    },
};

/// systemd does not say when it has closed what it had in its store.
const LET_GO_PACE: Duration = Duration::from_millis(1);

/// Its members may use the control socket. Packages make it (systemd/sysusers.d/sleepingd.conf).
const CONTROL_GROUP: &str = "sleepingd";

impl Supervisor {
    pub(super) async fn bring_up(
        options: Options,
        runtime: Option<&Runtime>,
    ) -> Result<Self, StartError> {
        let limit = startup::raise_limits();
        let notifier = Arc::new(options.notifier);
        let path = runtime.map(|runtime| runtime.path.clone());
        let source = Source {
            explicit: options.config_file,
            scope: options.scope,
            runtime: path.clone(),
        };
        let records = Records::new(path.as_deref()).map_err(|source| StartError::Runtime {
            path: path.clone().unwrap_or_default(),
            source,
        })?;
        let store = Arc::new(Store(Arc::clone(&notifier)));
        let runner = Runner::new(store, CgroupParent::delegated());
        for pipe in options.inherited.pipes {
            runner.adopt_pipe(&pipe.name, pipe.fd);
        }
        for backend in options.inherited.backends {
            runner.inherit_backend(&backend.name, backend.fd);
        }
        for other in &options.inherited.others {
            warn!(
                "the inherited descriptor '{}' is of no use here, and closed",
                other.name
            );
        }
        let activated = !options.inherited.sockets.is_empty();
        // Only systemd has units to be held back.
        let under_systemd = notifier.is_connected();
        let held = Held::in_runtime(path.as_deref().filter(|_| under_systemd));
        let mut supervisor = Self {
            sockets: Sockets::inherit(options.inherited.sockets),
            common: Common {
                runner,
                budget: Budget::new(limit, PipeLimit::settle(limit)),
                records: Arc::new(records),
                threads: Threads::default(),
            },
            notifier,
            source,
            held,
            exit_idle: None,
            asleep_since: None,
            after_idle_exit: false,
            totals: Arc::default(),
            services: BTreeMap::new(),
            order: Vec::new(),
            leaving: BTreeMap::new(),
            actors: JoinSet::new(),
            refusers: Vec::new(),
            refusing: JoinSet::new(),
            caveats: Vec::new(),
            started: clock::now(),
            started_with: None,
        };
        supervisor.after_idle_exit = supervisor.was_idle_exit();
        supervisor.begin(activated).await?;
        supervisor.after_idle_exit = false;
        Ok(supervisor)
    }

    pub(super) async fn begin(&mut self, activated: bool) -> Result<(), StartError> {
        let names = self.sockets.names(&[]);
        // Under systemd it waits for the first section: a package has just been installed, and a
        // service that fails until somebody has written one helps nobody.
        let may_wait = activated || self.notifier.is_connected();
        let loaded = if activated {
            let configuration = self.source.load_anyhow(&names);
            self.caveats = configuration.caveats;
            configuration.loaded
        } else if may_wait {
            self.source.load_or_wait(&names)?
        } else {
            self.source.load(&names)?
        };
        if loaded.definitions.is_empty() && !may_wait {
            let place = self.source.usual_file();
            return Err(StartError::NoService(place.display().to_string()));
        }
        for warning in missing_accounts(&loaded) {
            warn!("{warning}");
        }
        self.exit_idle = loaded.exit_idle;
        self.started_with = loaded.threads;
        let count = loaded.threads.unwrap_or_else(threads::default_count);
        self.common.threads = Threads::new(count);
        self.say_forgotten(&loaded);
        let errors = self.apply(loaded, &[]).await;
        // Those of services that are there have been asked for by now.
        for (name, found) in self.common.runner.unclaimed_backends() {
            warn!("'{name}' runs, and is in no service's books; it is ended");
            let plan = StopPlan::default();
            self.common.runner.end_backend(&name, found, plan);
        }
        if activated {
            self.caveats.extend(errors);
        } else if !errors.is_empty() {
            return Err(StartError::Listen(errors));
        }
        Ok(())
    }

    /// What was awake when the last daemon ended, and has no section any more.
    pub(super) fn say_forgotten(&self, loaded: &Loaded) {
        for slug in &self.common.records.slugs() {
            if !loaded.definitions.iter().any(|d| d.slug == *slug) {
                let broken = loaded
                    .broken
                    .iter()
                    .any(|n| n.slug().as_ref() == Some(slug));
                if self.ends_forgotten(slug, broken) {
                    continue;
                }
                warn!(
                    "'{slug}' was awake, and its section is gone: its backend is left as it is; \
                     stop it by hand, or bring the section back"
                );
            }
        }
    }

    /// A COMMAND is ended with its section, whenever that was removed; where the section only has
    /// an error it waits for a better one. Whether there was a COMMAND to be ended.
    fn ends_forgotten(&self, slug: &Slug, broken: bool) -> bool {
        let Common {
            runner, records, ..
        } = &self.common;
        let Some(backend) = records.read(slug).and_then(|record| record.backend) else {
            return false;
        };
        match runner.find_backend(slug, &backend.process) {
            Some(_) if broken => return false,
            Some(found) => {
                info!("'{slug}' was awake, and its section is gone: its COMMAND is ended");
                runner.end_backend(slug.as_str(), found, backend.stop);
            }
            None => runner.bury_backend(&backend.process),
        }
        if let Err(e) = records.write(slug, None) {
            error!("what was written down of '{slug}' cannot be removed: {e}");
        }
        true
    }

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
                actor.run().await;
                slug
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

    pub(super) fn open_control(
        &self,
        runtime: Option<&Runtime>,
    ) -> Result<(mpsc::Receiver<Asked>, AbortHandle), StartError> {
        let (to, requests) = mpsc::channel(REQUESTS);
        let Some(runtime) = runtime else {
            let idle = tokio::spawn(async move {
                // Keeps the channel open, so that nobody takes its end for news.
                let _to = to;
                pending::<()>().await;
            });
            return Ok((requests, idle.abort_handle()));
        };
        let path = control_socket(runtime);
        let listener = control::socket::bind(&path, control_group(self.source.scope))?;
        let listener = tokio::net::UnixListener::from_std(listener)
            .map_err(|source| StartError::Runtime { path, source })?;
        let handler = move |request| {
            let to = to.clone();
            async move {
                let (answer, answered) = oneshot::channel();
                if to.send((request, answer)).await.is_err() {
                    return api::Response::Stopping;
                }
                answered.await.unwrap_or(api::Response::Stopping)
            }
        };
        let server = tokio::spawn(control::serve(listener, handler, pending()));
        Ok((requests, server.abort_handle()))
    }
}

/// Who else may talk to the machine's daemon. Nobody, where no package or administrator has made
/// that group. A member can have done what the files of root say, and no more.
fn control_group(scope: Scope) -> Option<u32> {
    if scope == Scope::User || !nix::unistd::geteuid().is_root() {
        return None;
    }
    sys::user::group_named(CONTROL_GROUP).unwrap_or_else(|e| {
        warn!("group '{CONTROL_GROUP}' could not be looked up, only root can use sleepingctl: {e}");
        None
    })
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
