//! START, CHECK, STOP, IDLE and READY commands: spawned, timed, read, reaped. And COMMAND, which is
//! a backend: watched, ended, found again.
//!
//! A command runs in a process group of its own and, where one can be had, in a control group of
//! its own; with nothing of the daemon's but PATH and LANG, with stdin from `/dev/null`, and with
//! its outputs in pipes. Its first line of output is its answer; the rest, and everything on
//! standard error, is logged.
//!
//! Commands and what they start may outlive the daemon. So their pipes are given to a
//! [`PipeKeeper`] before they start, and [`Runner::adopt_pipe`] goes on with what a former daemon
//! left; [`Runner::find_backend`] finds a COMMAND that it left.

mod backend;
mod backend_name;
mod cgroup_label;
mod env_file;
mod environment;
mod error;
mod found;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod invocation;
mod lines;
mod output;
mod pipe_name;
mod spawn;
mod supervise;

use std::{
    fmt,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::sync::{Notify, oneshot};

use self::{
    found::Kept,
    output::{Output, Stream},
    pipe_name::PipeName,
    supervise::{Supervisor, Teller},
};
use crate::{
    model::{CommandExit, CommandOutcome, CommandRequest},
    sys::{self, cgroup::CgroupParent, clock},
};

pub use self::{
    backend::{BackendControl, BackendNews},
    found::FoundBackend,
};

/// Runs commands. Cheap to clone; all clones are one runner.
#[derive(Clone)]
pub struct Runner {
    inner: Arc<Inner>,
}

/// A command that was started, or is about to be: a future of its outcome.
///
/// Dropped, it lets the command go on; it is still read and reaped.
#[derive(Debug)]
pub struct RunningCommand {
    outcome: oneshot::Receiver<CommandOutcome>,
    known: Option<CommandOutcome>,
    canceller: Canceller,
}

/// Ends a command that somebody else waits for.
#[derive(Debug, Clone)]
pub struct Canceller(Arc<Notify>);

/// Keeps the read ends of commands' pipes, and the descriptors of COMMANDs, for the time when this
/// daemon is gone: systemd's descriptor store, for instance. It may be called from any thread.
pub trait PipeKeeper: Send + Sync {
    /// Keeps a duplicate of this descriptor under this name: at most 255 bytes, no colon. It may wait a
    /// moment, so it is not for the runtime's thread.
    fn keep(&self, name: &str, fd: BorrowedFd<'_>);

    /// Nobody writes to the pipe of this name any more, or that process has ended. It never waits.
    fn release(&self, name: &str);
}

/// What all commands share.
struct Inner {
    keeper: Arc<dyn PipeKeeper>,
    cgroups: Option<CgroupParent>,
    /// What a former daemon had kept.
    kept: Kept,
    /// Tells the pipes of one command from those of the next.
    next: AtomicU64,
    /// Ours alone: commands are not to have it.
    spared_by_oom_killer: bool,
    said_no_cgroup: AtomicBool,
}

/// Keeps nothing, for where there is nobody to keep it: then the pipes of what outlives the daemon
/// have no reader, and those who write there wait once a pipe is full.
impl PipeKeeper for () {
    fn keep(&self, _name: &str, _fd: BorrowedFd<'_>) {}

    fn release(&self, _name: &str) {}
}

// === impl Runner ===

impl Runner {
    /// A runner that gives its pipes to `keeper`, and each command a control group under
    /// `cgroups`. Removes the empty groups that a former daemon left there.
    #[must_use]
    pub fn new(keeper: Arc<dyn PipeKeeper>, cgroups: Option<CgroupParent>) -> Self {
        if let Some(Err(e)) = cgroups.as_ref().map(CgroupParent::sweep) {
            tracing::debug!("empty control groups of earlier commands are not removed: {e}");
        }
        let inner = Inner {
            keeper,
            cgroups,
            kept: Kept::default(),
            next: AtomicU64::new(0),
            spared_by_oom_killer: sys::process::spared_by_oom_killer(),
            said_no_cgroup: AtomicBool::new(false),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Runs a command; returns at once. Its time runs from now.
    ///
    /// The outcome comes when the command has ended, whatever it left running; for START, when its
    /// first line of output is complete ([`CommandExit::Running`]), if that is sooner.
    ///
    /// # Panics
    /// Outside a runtime.
    #[must_use = "dropped, the command goes on, and nobody learns what came of it"]
    pub fn run(&self, request: CommandRequest) -> RunningCommand {
        let (to, outcome) = oneshot::channel();
        let cancel = Arc::new(Notify::new());
        let supervisor = Supervisor {
            inner: Arc::clone(&self.inner),
            request,
            cancel: Arc::clone(&cancel),
            told: Teller {
                to: Some(to),
                since: clock::now(),
            },
        };
        tokio::spawn(supervisor.run());
        RunningCommand {
            outcome,
            known: None,
            canceller: Canceller(cancel),
        }
    }

    /// Goes on reading a pipe that a former daemon gave to its keeper under this name, until
    /// nobody writes to it any more; then releases it. To be called before commands are run.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn adopt_pipe(&self, name: &str, fd: OwnedFd) {
        let adopted = name
            .parse()
            .map_err(|e| format!("{e}"))
            .and_then(|name: PipeName| {
                let prepared = sys::fd::set_cloexec(fd.as_fd())
                    .and_then(|()| sys::fd::set_nonblocking(fd.as_fd()))
                    .and_then(|()| Stream::new(name.channel, name.to_string(), fd));
                prepared
                    .map(|stream| (name, stream))
                    .map_err(|e| format!("it cannot be read: {e}"))
            });
        match adopted {
            Ok((name, stream)) => {
                // What is kept under one name goes as one: numbers must not come again.
                self.inner
                    .next
                    .fetch_max(name.number.saturating_add(1), Ordering::Relaxed);
                let mut output = Output::adopted(&name, stream, Arc::clone(&self.inner.keeper));
                tokio::spawn(async move {
                    while output.is_open() {
                        output.advance().await;
                    }
                });
            }
            Err(why) => {
                tracing::warn!("the inherited descriptor '{name}' is closed: {why}");
                self.inner.keeper.release(name);
            }
        }
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("cgroups", &self.inner.cgroups)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn next_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

// === impl RunningCommand ===

impl RunningCommand {
    /// What came of it. Dropped before that, it loses nothing; asked again, it says the same.
    pub async fn outcome(&mut self) -> CommandOutcome {
        self.await
    }

    /// Ends the command and everything that it started: SIGTERM, and SIGKILL to what is left 2 s
    /// later. The outcome, [`CommandExit::Cancelled`], comes when that is done. Once there is an
    /// outcome this does nothing: a START that runs on is a backend, and STOP's.
    pub fn cancel(&self) {
        self.canceller.cancel();
    }

    /// The same, for somebody who does not wait for the outcome.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }
}

impl Future for RunningCommand {
    type Output = CommandOutcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<CommandOutcome> {
        if let Some(known) = &self.known {
            return Poll::Ready(known.clone());
        }
        Pin::new(&mut self.outcome).poll(context).map(|told| {
            // Nobody tells: the runtime ended, and the command went its own way.
            let outcome = told.unwrap_or_else(|_| CommandOutcome {
                exit: CommandExit::Cancelled,
                first_line: None,
                stderr_tail: Vec::new(),
                took: Duration::ZERO,
            });
            self.known.insert(outcome).clone()
        })
    }
}

// === impl Canceller ===

impl Canceller {
    /// See [`RunningCommand::cancel`].
    pub fn cancel(&self) {
        self.0.notify_one();
    }
}
