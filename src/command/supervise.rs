//! One command from its start until nobody holds its outputs any more.
//!
//! ```text
//! starting -> running -> outcome -> background -> over
//! ```
//! The outcome is told once: when the command has ended, when START's first line is complete, or
//! when the command was put down. In the background the task goes on reading what is printed, so
//! that nobody blocks on a full pipe, and reaps what has not ended yet.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::{sys::signal::Signal, unistd::Pid};
use tokio::{
    process::Child,
    sync::{Notify, oneshot},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{
    Inner,
    output::Output,
    spawn::{Remarks, Spawned, spawn},
};
use crate::{
    model::{Action, CommandExit, CommandOutcome, CommandRequest, Timestamp},
    sys::{
        cgroup::Cgroup,
        clock,
        process::{group_lives, signal_group},
    },
};

/// How long a command that is put down has between SIGTERM and SIGKILL.
pub(super) const GRACE: Duration = Duration::from_secs(2);
/// How long to wait for SIGKILL to take: a process that hangs in the kernel (a dead NFS server)
/// outlives it.
pub(super) const KILL_WAIT: Duration = Duration::from_secs(5);
/// How often it is looked whether the last of a command's processes has gone.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A command on its way, before it is a process and after.
pub(super) struct Supervisor {
    pub(super) inner: Arc<Inner>,
    pub(super) request: CommandRequest,
    pub(super) cancel: Arc<Notify>,
    pub(super) told: Teller,
}

/// Tells the outcome, once.
pub(super) struct Teller {
    pub(super) to: Option<oneshot::Sender<CommandOutcome>>,
    pub(super) since: Timestamp,
}

/// A command that is a process.
struct Process {
    request: CommandRequest,
    child: Child,
    output: Output,
    cgroup: Option<Cgroup>,
    told: Teller,
    /// Its outcome was that it runs on.
    runs_on: bool,
    /// It was reaped.
    ended: bool,
}

// === impl Supervisor ===

impl Supervisor {
    /// The whole life of a command.
    pub(super) async fn run(mut self) {
        let limit = self.request.timeout;
        let cancel = Arc::clone(&self.cancel);
        let stop = unwanted(limit, &cancel);
        tokio::pin!(stop);
        let given_up = Arc::new(AtomicBool::new(false));
        let mut starting = {
            let (inner, request) = (Arc::clone(&self.inner), self.request.clone());
            let given_up = Arc::clone(&given_up);
            spawn_blocking(move || spawn(&inner, &request, &given_up))
        };
        let (started, unwanted) = tokio::select! {
            started = &mut starting => (started, None),
            exit = &mut stop => {
                given_up.store(true, Ordering::Release);
                if let Ok(started) = timeout(GRACE, &mut starting).await {
                    (started, Some(exit))
                } else {
                    // A user database or a disk hangs. Whoever waits is told now; if there is a
                    // process after all, it is put down then.
                    self.told.tell(exit.clone(), None);
                    (starting.await, Some(exit))
                }
            }
        };
        match (started, unwanted) {
            (Ok(Ok(spawned)), unwanted) => {
                remark(&self.inner, &self.request, &spawned.remarks);
                let mut process = Process::new(self.request, spawned, self.told);
                match unwanted {
                    Some(exit) => process.put_down(exit).await,
                    None => process.until_told(&mut stop).await,
                }
                process.until_over().await;
            }
            (_, Some(exit)) => self.told.tell(exit, None),
            (Ok(Err(e)), None) => self.told.tell(CommandExit::NotStarted(e.to_string()), None),
            // It panicked, or the runtime ends: either way nothing runs.
            (Err(e), None) => self.told.tell(CommandExit::NotStarted(e.to_string()), None),
        }
    }
}

/// Says what went not quite as it should.
pub(super) fn remark(inner: &Inner, request: &CommandRequest, remarks: &Remarks) {
    let (service, action) = (request.service.as_str(), request.action.as_str());
    for (file, name) in &remarks.refused_variables {
        tracing::warn!(
            sleepingd_service = service,
            sleepingd_action = action,
            "{}: '{name}' is not the name of a variable; the line is ignored",
            file.display()
        );
    }
    if let Some(why) = &remarks.no_cgroup {
        if !inner.said_no_cgroup.swap(true, Ordering::Relaxed) {
            tracing::debug!("commands run without control groups, in process groups only: {why}");
        }
    }
}

/// Until the command may no longer run; says why.
async fn unwanted(limit: Option<Duration>, cancel: &Notify) -> CommandExit {
    let expired = async {
        match limit {
            Some(limit) => {
                sleep(limit).await;
                CommandExit::TimedOut(limit)
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        exit = expired => exit,
        () = cancel.notified() => CommandExit::Cancelled,
    }
}

// === impl Teller ===

impl Teller {
    fn tell(&mut self, exit: CommandExit, output: Option<&Output>) {
        let Some(to) = self.to.take() else { return };
        let outcome = CommandOutcome {
            exit,
            first_line: output.and_then(Output::first_line).map(str::to_owned),
            stderr_tail: output.map(Output::tail).unwrap_or_default(),
            took: clock::now().since(self.since),
        };
        // Nobody waits any more: the command was let go.
        let _ = to.send(outcome);
    }

    fn has_told(&self) -> bool {
        self.to.is_none()
    }
}

// === impl Process ===

impl Process {
    fn new(request: CommandRequest, spawned: Spawned, told: Teller) -> Self {
        let Spawned {
            child,
            output,
            cgroup,
            remarks: _,
        } = spawned;
        Self {
            request,
            child,
            output,
            cgroup,
            told,
            runs_on: false,
            ended: false,
        }
    }

    /// Running -> outcome.
    async fn until_told(&mut self, stop: &mut (impl Future<Output = CommandExit> + Unpin)) {
        while !self.told.has_told() {
            tokio::select! {
                // What is there comes before the question whether it has ended, and both before
                // the end of its time.
                biased;
                () = self.output.advance(), if self.output.is_open() => self.heard(),
                status = self.child.wait() => self.exited(status),
                exit = &mut *stop => self.put_down(exit).await,
            }
        }
    }

    /// Background -> over: nobody holds its outputs, and it was reaped.
    async fn until_over(&mut self) {
        while self.output.is_open() || !self.ended {
            tokio::select! {
                () = self.output.advance(), if self.output.is_open() => {}
                status = self.child.wait(), if !self.ended => self.exited_later(status),
            }
        }
    }

    /// START is done with its first line.
    fn heard(&mut self) {
        if self.request.action != Action::Start || self.output.first_line().is_none() {
            return;
        }
        match self.child.try_wait() {
            Ok(None) => {
                self.runs_on = true;
                self.told.tell(CommandExit::Running, Some(&self.output));
            }
            Ok(Some(status)) => self.exited(Ok(status)),
            Err(e) => self.exited(Err(e)),
        }
    }

    /// It has ended. What it started may run on and hold its outputs: nobody waits for that.
    fn exited(&mut self, status: std::io::Result<std::process::ExitStatus>) {
        self.ended = true;
        self.output.take_rest();
        self.told.tell(exit_of(status), Some(&self.output));
    }

    /// It ended after its outcome was told.
    fn exited_later(&mut self, status: std::io::Result<std::process::ExitStatus>) {
        self.ended = true;
        if !self.runs_on {
            // It was put down, and hung in the kernel until now.
            return;
        }
        let exit = exit_of(status);
        let (service, action) = (self.request.service.as_str(), self.request.action.as_str());
        let key = self.request.action.key();
        match exit {
            CommandExit::Exited(0) => {}
            // How a backend is stopped, more often than not.
            CommandExit::Signalled(libc::SIGTERM | libc::SIGINT | libc::SIGHUP) => tracing::info!(
                sleepingd_service = service,
                sleepingd_action = action,
                "{key}, which ran on after its first line, {exit}"
            ),
            _ => tracing::warn!(
                sleepingd_service = service,
                sleepingd_action = action,
                "{key} {exit}, after its first line was taken"
            ),
        }
    }

    /// Ends it with everything that it started, and tells so. What is printed meanwhile is read:
    /// nobody should wait for us in order to end.
    async fn put_down(&mut self, exit: CommandExit) {
        let Self {
            request,
            child,
            output,
            cgroup,
            ..
        } = self;
        let killing = kill_tree(request, child, cgroup.as_ref());
        tokio::pin!(killing);
        self.ended = loop {
            tokio::select! {
                ended = &mut killing => break ended,
                () = output.advance(), if output.is_open() => {}
            }
        };
        self.output.take_rest();
        self.told.tell(exit, Some(&self.output));
    }
}

pub(super) fn exit_of(status: std::io::Result<std::process::ExitStatus>) -> CommandExit {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Ok(status) => match (status.code(), status.signal()) {
            (Some(code), _) => CommandExit::Exited(code),
            (None, signal) => CommandExit::Signalled(signal.unwrap_or(0)),
        },
        // Somebody else reaped it: SIGCHLD is ignored, or a library waits for any child.
        Err(e) => CommandExit::NotStarted(format!("it ran, but its exit status is lost: {e}")),
    }
}

// === putting down ===

/// SIGTERM, and SIGKILL to what is left after [`GRACE`]. Gives whether the command was reaped.
///
/// The command itself is not reaped before SIGKILL was sent: until then its process id, and the
/// group's with it, can be nobody else's.
async fn kill_tree(request: &CommandRequest, child: &mut Child, cgroup: Option<&Cgroup>) -> bool {
    let Some(group) = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .map(Pid::from_raw)
    else {
        return true;
    };
    let signal_or_say = |result, what| say_if_unsignalled(request, result, what);
    let signal = |signal| {
        signal_or_say(signal_group(group, signal), "process group");
        let rest = cgroup.map_or(Ok(()), |cgroup| cgroup.signal(signal as i32, Some(group)));
        signal_or_say(rest, "control group");
    };
    signal(Signal::SIGTERM);
    // One that is stopped cannot take it to heart.
    signal(Signal::SIGCONT);
    let gone = async {
        while lives(group, cgroup).await {
            sleep(LOOK_INTERVAL).await;
        }
    };
    // Run out or not: SIGKILL goes to whatever is left.
    let _ = timeout(GRACE, gone).await;

    let killed = timeout(KILL_WAIT, async {
        // Again and again, against those that forked meanwhile.
        loop {
            signal_or_say(signal_group(group, Signal::SIGKILL), "process group");
            signal_or_say(cgroup.map_or(Ok(()), Cgroup::kill), "control group");
            if !lives(group, cgroup).await {
                break;
            }
            sleep(LOOK_INTERVAL).await;
        }
    })
    .await;
    let reaped = timeout(KILL_WAIT, child.wait()).await.is_ok();
    if killed.is_err() || !reaped {
        tracing::warn!(
            sleepingd_service = request.service.as_str(),
            sleepingd_action = request.action.as_str(),
            "SIGKILL has not ended all of the command yet: some of it hangs in the kernel"
        );
    }
    reaped
}

fn say_if_unsignalled(request: &CommandRequest, result: std::io::Result<()>, what: &str) {
    if let Err(why) = result {
        tracing::warn!(
            sleepingd_service = request.service.as_str(),
            sleepingd_action = request.action.as_str(),
            "the command's {what} could not be signalled, so some of it may run on: {why}"
        );
    }
}

/// Whether anything of the command lives; without reaping it. It is looked for again and again,
/// not waited for: this is rare and short, and nothing tells of the end of processes that are not
/// children.
pub(super) async fn lives(group: Pid, cgroup: Option<&Cgroup>) -> bool {
    // Both: what `systemd-run --scope` started has left the control group, not the process group.
    if cgroup.is_some_and(|cgroup| !cgroup.is_empty()) {
        return true;
    }
    // Not seen is not gone: where /proc cannot be read, the whole grace is waited for.
    !matches!(
        spawn_blocking(move || group_lives(group)).await,
        Ok(Ok(false))
    )
}
