//! The process: brings up the services, takes signals and requests, reloads, ends.

use std::{collections::BTreeMap, future::pending, io, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinSet},
    time::{Instant, timeout},
};
use tracing::{debug, error, info, warn};

use super::{
    accept::Listeners,
    actor::{Actor, Common, Message},
    budget::Budget,
    configuration::Source,
    keeper::Store,
    listeners::Sockets,
    records::Records,
    startup::{self, Options, Runtime, StartError},
    status::{self, Gauge, Totals},
};
use crate::{
    command::Runner,
    config::Loaded,
    control::{self, api},
    model::{Definition, ServiceName, Slug},
    service::{Input, Retirement},
    sys::{cgroup::CgroupParent, clock, net::ListenSocket},
    systemd::{Job, Notifier, job::JobError, stop_sockets, unit_job},
};

/// How long one service may take to say how it looks.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// While it ends, systemd is told at this pace that it takes longer.
const EXTEND_EVERY: Duration = Duration::from_secs(5);
const EXTEND_BY: Duration = Duration::from_secs(30);

/// Requests that may wait for the supervisor.
const REQUESTS: usize = 16;

/// The process.
struct Supervisor {
    notifier: Arc<Notifier>,
    source: Source,
    sockets: Sockets,
    common: Common,
    totals: Arc<Totals>,
    services: BTreeMap<Slug, Running>,
    /// In the order of the files.
    order: Vec<Slug>,
    /// Services that are on their way out, and what is to follow them: a section that comes back
    /// waits until the old one has ended.
    leaving: BTreeMap<Slug, Option<Next>>,
    actors: JoinSet<Slug>,
    refusers: Vec<AbortHandle>,
    refusing: JoinSet<()>,
    caveats: Vec<String>,
    started: crate::model::Timestamp,
}

/// What a section that has come back is to be.
type Next = (Arc<Definition>, Vec<ListenSocket>);

/// A service, and how to speak to it.
struct Running {
    definition: Arc<Definition>,
    to: mpsc::UnboundedSender<Message>,
    gauge: Arc<Gauge>,
}

/// The signals that the daemon knows.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

/// A request over the control socket, and where its answer goes.
type Asked = (api::Request, oneshot::Sender<api::Response>);

/// Runs the daemon until it is told to end. Returns when every service has ended.
///
/// # Errors
/// See [`StartError`]; nothing runs then.
pub async fn run(options: Options) -> Result<(), StartError> {
    // Before anything is announced: a SIGTERM during the start must not find the default action.
    let mut signals = Signals::new().map_err(StartError::Signals)?;
    let runtime = Runtime::claim(options.runtime_directory.as_deref())?;
    let mut supervisor = Supervisor::bring_up(options, runtime.as_ref())?;
    let (requests, control) = supervisor.open_control(runtime.as_ref())?;
    supervisor.tell(Notifier::ready);
    supervisor.tell_status();
    supervisor.serve(&mut signals, requests).await;
    supervisor.end().await;
    control.abort();
    if let Some(runtime) = &runtime {
        // The next daemon replaces it anyway.
        let _ = std::fs::remove_file(control_socket(runtime));
    }
    Ok(())
}

fn control_socket(runtime: &Runtime) -> std::path::PathBuf {
    runtime.path.join("control.sock")
}

impl Supervisor {
    // === the start ===

    fn bring_up(options: Options, runtime: Option<&Runtime>) -> Result<Self, StartError> {
        let limit = startup::raise_limits();
        let notifier = Arc::new(options.notifier);
        let path = runtime.map(|runtime| runtime.path.clone());
        let source = Source {
            explicit: options.config_file,
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
        for other in &options.inherited.others {
            warn!(
                "the inherited descriptor '{}' is of no use here, and closed",
                other.name
            );
        }
        let activated = !options.inherited.sockets.is_empty();
        let mut supervisor = Self {
            sockets: Sockets::inherit(options.inherited.sockets),
            common: Common {
                runner,
                budget: Budget::new(limit),
                records: Arc::new(records),
            },
            notifier,
            source,
            totals: Arc::default(),
            services: BTreeMap::new(),
            order: Vec::new(),
            leaving: BTreeMap::new(),
            actors: JoinSet::new(),
            refusers: Vec::new(),
            refusing: JoinSet::new(),
            caveats: Vec::new(),
            started: clock::now(),
        };
        supervisor.begin(activated)?;
        Ok(supervisor)
    }

    fn begin(&mut self, activated: bool) -> Result<(), StartError> {
        let names = self.sockets.names();
        let loaded = if activated {
            let configuration = self.source.load_anyhow(&names);
            self.caveats = configuration.caveats;
            configuration.loaded
        } else {
            self.source.load(&names)?
        };
        if loaded.definitions.is_empty() && !activated {
            let place = self.source.explicit.clone();
            let place = place.unwrap_or_else(|| "/etc/sleepingd/sleepingd.conf".into());
            return Err(StartError::NoService(place.display().to_string()));
        }
        self.say_forgotten(&loaded);
        let errors = self.apply(loaded);
        if activated {
            self.caveats.extend(errors);
        } else if !errors.is_empty() {
            return Err(StartError::Listen(errors));
        }
        Ok(())
    }

    /// What was awake when the last daemon ended, and has no section any more.
    fn say_forgotten(&self, loaded: &Loaded) {
        for slug in self.common.records.slugs() {
            if !loaded.definitions.iter().any(|d| d.slug.as_str() == slug) {
                warn!(
                    "'{slug}' was awake, and its section is gone: its backend is left as it is; \
                     stop it by hand, or bring the section back"
                );
            }
        }
    }

    /// Makes the running services those of the configuration. Says what could not be bound.
    fn apply(&mut self, loaded: Loaded) -> Vec<String> {
        let definitions: Vec<Arc<Definition>> =
            loaded.definitions.into_iter().map(Arc::new).collect();
        let references: Vec<&Definition> = definitions.iter().map(Arc::as_ref).collect();
        let allotment = self.sockets.allot(&references, &self.notifier);
        for error in &allotment.errors {
            error!("{error}");
        }
        self.refuse(allotment.unclaimed);
        self.order = definitions.iter().map(|d| d.slug.clone()).collect();
        let gone: Vec<Slug> = self
            .services
            .keys()
            .filter(|slug| !self.order.contains(slug))
            .cloned()
            .collect();
        for slug in gone {
            self.remove(&slug);
        }
        for (definition, sockets) in definitions.into_iter().zip(allotment.sockets) {
            self.bring(definition, sockets);
        }
        allotment.errors
    }

    fn bring(&mut self, definition: Arc<Definition>, sockets: Vec<ListenSocket>) {
        let slug = definition.slug.clone();
        if let Some(next) = self.leaving.get_mut(&slug) {
            *next = Some((definition, sockets));
            return;
        }
        let Some(running) = self.services.get_mut(&slug) else {
            return self.spawn(definition, sockets);
        };
        let changed = *running.definition != *definition;
        if running.definition.listen != definition.listen
            || running.definition.sockets != definition.sockets
        {
            running.tell(Message::Listen(sockets));
        }
        if changed {
            running.definition = Arc::clone(&definition);
            running.tell(Message::Input(Input::Configured(definition)));
        }
    }

    fn spawn(&mut self, definition: Arc<Definition>, sockets: Vec<ListenSocket>) {
        let (to, inbox) = mpsc::unbounded_channel();
        let gauge = Gauge::new(&self.totals);
        let record = self.common.records.read(&definition.slug);
        let actor = Actor::new(
            &definition,
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
                actor.run().await;
                slug
            }
        });
        let running = Running {
            definition,
            to,
            gauge,
        };
        running.tell(Message::Listen(sockets));
        self.services.insert(slug, running);
    }

    fn remove(&mut self, slug: &Slug) {
        let Some(running) = self.services.remove(slug) else {
            return;
        };
        info!(
            sleepingd_service = %running.definition.name,
            "its section is gone, it ends",
        );
        running.tell(Message::Input(Input::Retire(Retirement::Stop)));
        self.leaving.insert(slug.clone(), None);
    }

    /// Resets whoever connects to a socket that nobody claims. The refusers of before, whose
    /// sockets may have an owner now, end.
    fn refuse(&mut self, sockets: Vec<ListenSocket>) {
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

    fn open_control(
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
        let listener = control::socket::bind(&path, control_group())?;
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

    // === the day ===

    async fn serve(&mut self, signals: &mut Signals, mut requests: mpsc::Receiver<Asked>) {
        let watchdog = self.notifier.watchdog_interval();
        let mut next_ping = watchdog.map(|interval| Instant::now() + interval);
        let mut told = Instant::now();
        let mut tell_at: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = signals.terminate.recv() => return,
                _ = signals.interrupt.recv() => return,
                _ = signals.hang_up.recv() => {
                    // Whoever sent a signal looks into the log for what came of it; it is there.
                    let _ = self.reload();
                }
                Some((request, answer)) = requests.recv() => {
                    let response = self.answer(request).await;
                    // Who asked may have gone.
                    let _ = answer.send(response);
                }
                Some(ended) = self.actors.join_next() => self.ended(ended),
                () = self.totals.changed.notified() => {
                    tell_at.get_or_insert(told + status::PACE);
                }
                () = until(tell_at) => {
                    self.tell_status();
                    told = Instant::now();
                    tell_at = None;
                }
                () = until(next_ping) => {
                    self.tell(Notifier::watchdog);
                    next_ping = watchdog.map(|interval| Instant::now() + interval);
                }
            }
        }
    }

    async fn answer(&mut self, request: api::Request) -> api::Response {
        match request {
            api::Request::Status => api::Response::Status(Box::new(self.status().await)),
            api::Request::Reload => match self.reload() {
                Ok(reloaded) => api::Response::Reloaded(reloaded),
                Err(errors) => api::Response::Rejected(api::Errors { errors }),
            },
        }
    }

    /// Reads the files again. With any error in them, nothing changes.
    fn reload(&mut self) -> Result<api::Reloaded, Vec<String>> {
        self.tell(Notifier::reloading);
        let outcome = self.source.load(&self.sockets.names());
        let result = match outcome {
            Ok(loaded) => {
                let warnings: Vec<String> = loaded.warnings().map(ToString::to_string).collect();
                let services = loaded.definitions.len();
                // What cannot be bound is an error, but the rest has taken effect by then.
                self.caveats = self.apply(loaded);
                info!("reloaded: {services} service(s)");
                if self.caveats.is_empty() {
                    let services = u64::try_from(services).unwrap_or(u64::MAX);
                    Ok(api::Reloaded { services, warnings })
                } else {
                    Err(self.caveats.clone())
                }
            }
            Err(errors) => {
                for line in &errors.0 {
                    error!("{line}");
                }
                error!("not reloaded, what ran goes on: {errors}");
                Err(errors.0)
            }
        };
        self.tell(Notifier::ready);
        self.tell_status();
        result
    }

    fn ended(&mut self, ended: Result<Slug, tokio::task::JoinError>) {
        match ended {
            Ok(slug) => {
                self.services.remove(&slug);
                if let Some(Some((definition, sockets))) = self.leaving.remove(&slug) {
                    self.spawn(definition, sockets);
                }
                self.totals.changed.notify_one();
            }
            // Its clients are lost, and nobody knows in what state its backend is. Ending here
            // makes systemd start us again, and what is awake is found again.
            Err(e) => {
                error!("a bug of ours, a service has crashed: {e}");
                std::process::abort();
            }
        }
    }

    async fn status(&self) -> api::Status {
        let now = clock::now();
        let mut services = Vec::with_capacity(self.order.len());
        for slug in &self.order {
            let Some(running) = self.services.get(slug) else {
                continue;
            };
            let (to, snapshot) = oneshot::channel();
            running.tell(Message::Look(to));
            if let Ok(Ok(seen)) = timeout(LOOK_LIMIT, snapshot).await {
                let service = status::of_service(&running.definition, &seen, &running.gauge, now);
                services.push(service);
            }
        }
        let mut warnings = self.caveats.clone();
        warnings.extend(self.sockets.unclaimed());
        api::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            up_seconds: now.since(self.started).as_secs(),
            services,
            counters: status::counters(&self.totals),
            warnings,
        }
    }

    // === the end ===

    /// Stops accepting, drains, and puts to sleep what is awake; not at a restart.
    async fn end(mut self) {
        self.tell(Notifier::stopping);
        let how = self.retirement().await;
        match how {
            Retirement::Stop => info!("stopping: {}", self.words()),
            Retirement::Keep => {
                info!("restarting: {}; what is awake stays awake", self.words());
            }
        }
        // What was to come back after its old self does not.
        self.leaving.values_mut().for_each(|next| *next = None);
        for running in self.services.values() {
            running.tell(Message::Input(Input::Retire(how)));
        }
        let mut extend = tokio::time::interval(EXTEND_EVERY);
        loop {
            tokio::select! {
                ended = self.actors.join_next() => match ended {
                    Some(ended) => self.ended(ended),
                    None => break,
                },
                _ = extend.tick() => {
                    self.tell(|notifier| notifier.extend_timeout(EXTEND_BY));
                    let status = format!("ending: {}", self.words());
                    self.tell(|notifier| notifier.status(&status));
                    self.tell(Notifier::watchdog);
                }
            }
        }
        if how == Retirement::Stop {
            self.sockets.remove_paths();
        }
        info!("ended");
    }

    async fn retirement(&self) -> Retirement {
        if !self.notifier.is_connected() {
            return Retirement::Stop;
        }
        match unit_job().await {
            Ok(Job::Restart) => Retirement::Keep,
            Ok(Job::Stop) => {
                if let Err(e) = stop_sockets().await {
                    debug!("the sockets are left to systemd: {e}");
                }
                Retirement::Stop
            }
            // A signal by hand, or another manager than systemd.
            Ok(Job::None) | Err(JobError::NoUnit) => Retirement::Stop,
            Err(e) => {
                warn!("is this a stop or a restart? {e}; taken for a stop");
                Retirement::Stop
            }
        }
    }

    // === systemd ===

    fn words(&self) -> String {
        status::in_words(self.services.values().map(|running| &running.gauge))
    }

    fn tell_status(&self) {
        let mut words = self.words();
        if !self.caveats.is_empty() {
            words.push_str("; ");
            words.push_str(&self.caveats.join("; "));
        }
        self.tell(|notifier| notifier.status(&words));
    }

    fn tell(&self, what: impl FnOnce(&Notifier) -> Result<(), crate::systemd::NotifyError>) {
        if let Err(e) = what(&self.notifier) {
            warn!("systemd was not told: {e}");
        }
    }
}

impl Running {
    fn tell(&self, message: Message) {
        // An actor that has ended is collected in its turn.
        let _ = self.to.send(message);
    }
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

async fn refuse_all(mut listeners: Listeners, budget: Budget) {
    let nobody = ServiceName::new("unclaimed sockets");
    loop {
        let (socket, _) = listeners.accept(&nobody, &budget).await;
        // A unix socket has no reset; closing it is all there is.
        let _ = socket.reset_on_close();
    }
}

/// The group that may use the control socket, where it exists.
fn control_group() -> Option<u32> {
    let group = nix::unistd::Group::from_name("sleepingd").ok()??;
    nix::unistd::geteuid().is_root().then(|| group.gid.as_raw())
}
