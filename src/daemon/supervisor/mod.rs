//! The process: brings up the services, takes signals and requests, reloads, ends.
//!
//! | file | the idea in it |
//! | --- | --- |
//! | `mod` | what it has, and its day: it waits for whatever comes next |
//! | `start` | bringing up the process |
//! | `apply` | making the services those of a configuration |
//! | `forgotten` | what the last daemon has left awake, and no section is for any more |
//! | `requests` | what is asked over the control socket, a reload among it |
//! | `signals` | the signals that it knows |
//! | `idle` | EXIT_IDLE_TIME |
//! | `end` | stop or restart, drain, put to sleep |
//! | `afterwards` | what a daemon that had to be killed could not do at its end |

mod afterwards;
mod apply;
mod end;
mod forgotten;
mod idle;
mod requests;
mod signals;
mod start;

use std::{collections::BTreeMap, future::pending, num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::{AbortHandle, JoinSet},
    time::{Instant, timeout_at},
};
use tracing::{error, info, warn};

pub use self::afterwards::put_to_sleep;
use self::{
    forgotten::Strays,
    signals::{EndSignals, Signal, Signals},
};
use super::{
    actor::{Common, Message},
    configuration::Source,
    held::Held,
    listeners::{Share, SocketId, Sockets},
    scope::CONTROL,
    startup::{Ended, Options, Runtime, StartError},
    status::{self, Gauge, Totals},
};
use crate::{
    control::api,
    model::{CommandExit, Definition, Slug, StopSignal},
    service::Snapshot,
    sys::{self, memory},
    systemd::Notifier,
};

/// How long services may take to say how they look.
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
    held: Held,
    common: Common,
    totals: Arc<Totals>,
    services: BTreeMap<Slug, Running>,
    /// In the order of the files.
    order: Vec<Slug>,
    /// Services that are on their way out, and what is to follow them: a section that comes back
    /// waits until the old one has ended.
    leaving: BTreeMap<Slug, Leaving>,
    strays: Strays,
    /// Each tells how its COMMAND has ended, if it was told to end.
    actors: JoinSet<(Slug, Option<CommandExit>)>,
    refusers: Vec<AbortHandle>,
    refusing: JoinSet<()>,
    caveats: Vec<String>,
    started: crate::model::Timestamp,
    /// THREADS at the start.
    started_with: Option<NonZeroUsize>,
    /// EXIT_IDLE_TIME.
    exit_idle: Option<Duration>,
    /// Since when everything sleeps.
    asleep_since: Option<Instant>,
    /// What ends us, and stops us, is passed on to what we run: `forward`.
    passes_on: bool,
    /// How COMMAND has ended, as it was told to.
    command_exit: Option<CommandExit>,
    /// It begins after an exit for EXIT_IDLE_TIME: AUTO_START is of no account.
    after_idle_exit: bool,
}

/// A service on its way out, and those that wait until it has ended: its section brought back,
/// or another that has its address or its backend now.
struct Leaving {
    running: Running,
    next: Vec<Next>,
}

/// What a service is to be.
type Next = (Arc<Definition>, Share);

/// A service, and how to speak to it.
struct Running {
    definition: Arc<Definition>,
    /// What it listens on.
    listens: Vec<SocketId>,
    to: mpsc::UnboundedSender<Message>,
    gauge: Arc<Gauge>,
}

/// Why it does not serve any more.
enum Leave {
    /// It was told to end, by this signal.
    Told(StopSignal),
    /// EXIT_IDLE_TIME.
    Idle,
}

/// A request over the control socket, and where its answer goes.
type Asked = (api::Request, oneshot::Sender<api::Response>);

/// Runs the daemon until it is told to end. Returns when every service has ended.
///
/// # Errors
/// See [`StartError`]; nothing runs then.
pub async fn run(options: Options) -> Result<Ended, StartError> {
    // Before anything is announced: a SIGTERM during the start must not find the default action.
    let signals = match options.given {
        Some(_) => Signals::of_forward(),
        None => Signals::of_daemon(),
    };
    let mut signals = signals.map_err(StartError::Signals)?;
    let runtime = match options.given {
        // Nothing is remembered of it.
        Some(_) => None,
        None => Runtime::claim(options.runtime_directory.as_deref(), options.scope)?,
    };
    let mut supervisor = Supervisor::bring_up(options, runtime.as_ref()).await?;
    let (requests, control) = supervisor.open_control(runtime.as_ref())?;
    supervisor.tell(Notifier::ready);
    supervisor.tell_status();
    info!("ready: {} service(s)", supervisor.services.len());
    let command = match supervisor.serve(&mut signals, requests).await {
        Leave::Told(by) => supervisor.end(by, &mut signals.end).await,
        Leave::Idle => {
            supervisor.depart();
            None
        }
    };
    control.abort();
    if let Some(runtime) = &runtime {
        // The next daemon replaces it anyway.
        let _ = std::fs::remove_file(control_socket(runtime));
    }
    Ok(Ended { command })
}

fn control_socket(runtime: &Runtime) -> std::path::PathBuf {
    runtime.path.join(CONTROL)
}

impl Supervisor {
    // === the day ===

    async fn serve(&mut self, signals: &mut Signals, mut requests: mpsc::Receiver<Asked>) -> Leave {
        let watchdog = self.notifier.watchdog_interval();
        let mut next_ping = watchdog.map(|interval| Instant::now() + interval);
        let mut told = Instant::now();
        let mut tell_at: Option<Instant> = None;
        let mut exit_at = self.exit_at();
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Err(end) => return Leave::Told(end),
                    Ok(Signal::HangUp) => {
                        // Whoever sent a signal looks into the log for what came of it; it is there.
                        self.reload(&[]).await;
                        exit_at = self.exit_at();
                    }
                    Ok(Signal::Stop) => self.stop_for_a_while().await,
                    Ok(Signal::GoOn) => self.pass_on(StopSignal::CONT).await,
                },
                Some((request, answer)) = requests.recv() => {
                    let response = self.answer(request).await;
                    // Who asked may have gone.
                    let _ = answer.send(response);
                    exit_at = self.exit_at();
                }
                Some(ended) = self.actors.join_next() => self.ended(ended),
                // Not at every connection: what changes until then is told with it.
                () = self.totals.changed.notified(), if tell_at.is_none() => {
                    tell_at = Some(told + status::PACE);
                    // Somebody came or went, be it for less time than lies between two looks.
                    self.asleep_since = None;
                    exit_at = None;
                }
                () = until(tell_at) => {
                    self.tell_status();
                    if self.all_asleep() {
                        // What a crowd of clients needed is not kept until the next one.
                        memory::give_back();
                    }
                    told = Instant::now();
                    tell_at = None;
                    exit_at = self.exit_at();
                }
                () = until(exit_at) => {
                    if self.all_pause().await {
                        return Leave::Idle;
                    }
                    exit_at = self.exit_at();
                }
                () = until(next_ping) => {
                    self.tell(Notifier::watchdog);
                    next_ping = watchdog.map(|interval| Instant::now() + interval);
                }
            }
        }
    }

    /// As Ctrl-Z has it: what we run stops, and so do we, until we are told to go on.
    async fn stop_for_a_while(&self) {
        self.pass_on(StopSignal::TSTP).await;
        if let Err(e) = sys::process::stop_ourselves() {
            warn!("it cannot be stopped: {e}");
        }
    }

    /// Returns when everybody has it.
    async fn pass_on(&self, signal: StopSignal) {
        let tell = |running: &Running| {
            let (done, passed_on) = oneshot::channel();
            running.tell(Message::PassOn(signal, done));
            passed_on
        };
        let until = Instant::now() + LOOK_LIMIT;
        let waiting: Vec<_> = self.services.values().map(tell).collect();
        for passed_on in waiting {
            // Dropped is done; and one that is about to end needs no signal.
            let _ = timeout_at(until, passed_on).await;
        }
    }

    fn ended(&mut self, ended: Result<(Slug, Option<CommandExit>), tokio::task::JoinError>) {
        match ended {
            Ok((slug, exit)) => {
                self.command_exit = exit.or(self.command_exit.take());
                self.services.remove(&slug);
                let left = self.leaving.remove(&slug);
                for (definition, share) in left.into_iter().flat_map(|left| left.next) {
                    self.bring(definition, share);
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

    // === systemd ===

    fn words(&self) -> String {
        status::in_words(self.services.values().map(|running| &running.gauge))
    }

    fn all_asleep(&self) -> bool {
        let mut all = self.services.values();
        all.all(|running| running.gauge.is_asleep(&running.definition.recipe))
    }

    fn tell_status(&self) {
        let mut words = if self.order.is_empty() {
            self.source.nothing_configured()
        } else {
            self.words()
        };
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

    /// Asks how it looks. It has done by then what it was told before.
    fn look(&self) -> oneshot::Receiver<Snapshot> {
        let (to, snapshot) = oneshot::channel();
        self.tell(Message::Look(to));
        snapshot
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

impl Leaving {
    /// Whether this service must not begin before it has ended: no client may reach a dying
    /// backend, and nobody may take one for awake.
    fn is_in_the_way_of(&self, definition: &Definition) -> bool {
        let old = &self.running.definition;
        old.slug == definition.slug
            || old
                .targets
                .iter()
                .any(|target| definition.targets.contains(target))
            || old
                .listen
                .iter()
                .any(|addr| definition.listen.contains(addr))
    }
}
