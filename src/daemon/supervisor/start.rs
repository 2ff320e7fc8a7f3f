//! Bringing up the process.

use std::{collections::BTreeMap, future::pending, sync::Arc};

use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinSet},
};
use tracing::warn;

use super::{Asked, REQUESTS, Supervisor, control_socket, forgotten::Strays};
use crate::{
    command::Runner,
    config::Loaded,
    control::{self, api},
    daemon::{
        actor::Common,
        budget::Budget,
        configuration::{Configuration, Source, missing_accounts},
        held::Held,
        keeper::Store,
        listeners::Sockets,
        records::Records,
        startup::{self, Options, Runtime, StartError},
        threads::{self, Threads},
    },
    model::Scope,
    relay::PipeLimit,
    sys::{self, cgroup::CgroupParent, clock},
    systemd::{Named, Notifier},
};

/// Its members may use the control socket. Packages make it (systemd/sysusers.d/sleepingd.conf).
const CONTROL_GROUP: &str = "sleepingd";

impl Supervisor {
    pub(super) async fn bring_up(
        mut options: Options,
        runtime: Option<&Runtime>,
    ) -> Result<Self, StartError> {
        let activated = !options.inherited.sockets.is_empty();
        let given = options.given.take();
        let mut supervisor = Self::without_services(options, runtime)?;
        supervisor.passes_on = given.is_some();
        supervisor.after_idle_exit = supervisor.was_idle_exit();
        supervisor.begin(activated, given).await?;
        supervisor.after_idle_exit = false;
        Ok(supervisor)
    }

    /// The process, with what it has inherited, before it serves anything.
    pub(super) fn without_services(
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
        let records = Records::new(path.as_deref(), source.files()).map_err(|source| {
            StartError::Runtime {
                path: path.clone().unwrap_or_default(),
                source,
            }
        })?;
        let inherited = options.inherited;
        let runner = runner(&notifier, inherited.pipes, inherited.backends);
        for other in &inherited.others {
            warn!(
                "the inherited descriptor '{}' is of no use here, and closed",
                other.name
            );
        }
        // Only systemd has units to be held back.
        let under_systemd = notifier.is_connected();
        let held = Held::in_runtime(path.as_deref().filter(|_| under_systemd));
        let sockets = Sockets::inherit(inherited.sockets);
        let common = Common {
            runner,
            budget: Budget::new(limit, PipeLimit::settle(limit)),
            records: Arc::new(records),
            threads: Threads::default(),
        };
        Ok(Self::new(notifier, source, sockets, held, common))
    }

    /// Without any service yet.
    fn new(
        notifier: Arc<Notifier>,
        source: Source,
        sockets: Sockets,
        held: Held,
        common: Common,
    ) -> Self {
        Self {
            notifier,
            source,
            sockets,
            held,
            common,
            totals: Arc::default(),
            services: BTreeMap::new(),
            order: Vec::new(),
            leaving: BTreeMap::new(),
            strays: Strays::default(),
            actors: JoinSet::new(),
            refusers: Vec::new(),
            refusing: JoinSet::new(),
            caveats: Vec::new(),
            started: clock::now(),
            started_with: None,
            exit_idle: None,
            asleep_since: None,
            passes_on: false,
            command_exit: None,
            after_idle_exit: false,
        }
    }

    pub(super) async fn begin(
        &mut self,
        activated: bool,
        given: Option<Loaded>,
    ) -> Result<(), StartError> {
        let loaded = match given {
            Some(given) => given,
            None => self.first_configuration(activated)?,
        };
        warn_of_missing_accounts(&loaded);
        self.exit_idle = loaded.exit_idle;
        self.started_with = loaded.threads;
        let count = loaded.threads.unwrap_or_else(threads::default_count);
        self.common.threads = Threads::new(count);
        self.look_after_forgotten(&loaded);
        let errors = self.apply(loaded, &[]).await;
        // Those of services that are there have been asked for by now.
        self.end_strays();
        if activated && !self.passes_on {
            self.caveats.extend(errors);
        } else if !errors.is_empty() {
            return Err(StartError::Listen(errors));
        }
        Ok(())
    }

    fn first_configuration(&mut self, activated: bool) -> Result<Loaded, StartError> {
        let names = self.sockets.names(&[]);
        // Under systemd it waits for the first section: a package has just been installed, and a
        // service that fails until somebody has written one helps nobody.
        let may_wait = activated || self.notifier.is_connected();
        let instead = may_wait.then(|| self.source.load_instead_of_nothing(&names));
        if let Some(Configuration { loaded, caveats }) = instead.flatten() {
            self.caveats = caveats;
            return Ok(loaded);
        }
        if activated {
            let Configuration { loaded, caveats } = self.source.load_anyhow(&names);
            self.caveats = caveats;
            return Ok(loaded);
        }
        if may_wait {
            return Ok(self.source.load_or_wait(&names)?);
        }
        let loaded = self.source.load(&names)?;
        if loaded.definitions.is_empty() {
            let place = self.source.usual_file();
            return Err(StartError::NoService(place.display().to_string()));
        }
        Ok(loaded)
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

/// In its own time: a name service may take long to say that it is down.
fn warn_of_missing_accounts(loaded: &Loaded) {
    let definitions = loaded.definitions.clone();
    // Nothing waits for it, the end of the process neither.
    tokio::task::spawn_blocking(move || {
        for warning in missing_accounts(&definitions) {
            warn!("{warning}");
        }
    });
}

/// A runner that goes on with what a former daemon has left in systemd's descriptor store.
fn runner(notifier: &Arc<Notifier>, pipes: Vec<Named>, backends: Vec<Named>) -> Runner {
    let store = Arc::new(Store(Arc::clone(notifier)));
    let runner = Runner::new(store, CgroupParent::delegated());
    for pipe in pipes {
        runner.adopt_pipe(&pipe.name, pipe.fd);
    }
    for backend in backends {
        runner.inherit_backend(&backend.name, backend.fd);
    }
    runner
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
