//! A COMMAND that runs: what it prints is read, its end is waited for, it is ended.

use std::{os::fd::AsFd, sync::Arc, time::Duration};

use nix::{sys::signal::Signal, unistd::Pid};
use tokio::{
    process::Child,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    beginning::Started,
    keeping::Keeping,
    orders::{Heard, Order, Orders},
    watching::Watch,
};
use crate::{
    command::{
        Inner,
        found::FoundBackend,
        output::Output,
        supervise::{KILL_WAIT, LOOK_INTERVAL, exit_of, lives, remark},
    },
    model::{
        Action, BackendEnd, BackendProcess, CommandExit, CommandRequest, ServiceName, StopPlan,
        StopSignal, duration,
    },
    sys::{
        cgroup::Cgroup,
        process::{is_group_of, send_signal},
    },
};

/// How often it is looked, at the longest, whether the last of what is being stopped has gone.
const LONGEST_LOOK: Duration = Duration::from_millis(250);

/// A COMMAND that is a process.
pub(super) struct Backend {
    inner: Arc<Inner>,
    service: String,
    process: BackendProcess,
    watch: Watch,
    /// `None`: an earlier daemon was its parent, and nobody is told its exit status.
    child: Option<Child>,
    /// Of one that we have found again the pipes are read by themselves.
    output: Option<Output>,
    cgroup: Option<Cgroup>,
    /// `None`: the record alone is left to the next daemon.
    keeping: Option<Keeping>,
    orders: Orders,
}

/// How the running of it came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By itself: what is left of it is killed.
    ByItself,
    /// It was told to, and what is left of it has until then.
    Stopping(Option<Instant>),
    /// It was killed.
    Killed,
}

// === impl Backend ===

impl Backend {
    pub(super) fn new(
        inner: Arc<Inner>,
        request: &CommandRequest,
        started: Started,
        mut orders: Orders,
    ) -> Self {
        // What it was told while it was being started is still to be done.
        orders.again();
        remark(&inner, request, &started.remarks);
        let keeping = Keeping::begin(&inner, &request.slug, started.watched.as_fd());
        Self {
            inner,
            service: request.service.as_str().to_owned(),
            watch: Watch::event(started.process.id, started.watched),
            process: started.process,
            child: Some(started.child),
            output: Some(started.output),
            cgroup: started.cgroup,
            keeping: Some(keeping),
            orders,
        }
    }

    pub(super) fn found(
        inner: Arc<Inner>,
        service: String,
        found: FoundBackend,
        orders: Orders,
    ) -> Self {
        let FoundBackend {
            process,
            pidfd,
            name,
        } = found;
        let path = process.cgroup.as_deref();
        let cgroup = inner.cgroups.as_ref().zip(path);
        let cgroup = cgroup.and_then(|(parent, path)| parent.find(path));
        let keeping = match (&name, &pidfd, ServiceName::new(&service).slug()) {
            (Some(name), ..) => Some(Keeping::already(name)),
            // For the daemon after this one.
            (None, Ok(pidfd), Some(slug)) => Some(Keeping::begin(&inner, &slug, pidfd.as_fd())),
            (None, ..) => None,
        };
        let (watch, why_not) = Watch::of(process.id, pidfd);
        if let Some(why) = why_not {
            tracing::warn!(
                sleepingd_service = service,
                sleepingd_action = Action::Command.as_str(),
                "no event tells of the end of its COMMAND, so it is looked for: {why}"
            );
        }
        Self {
            watch,
            inner,
            service,
            process,
            child: None,
            output: None,
            cgroup,
            keeping,
            orders,
        }
    }

    /// Until nothing of it is left; says how it ended.
    pub(super) async fn live(&mut self) -> BackendEnd {
        let way = self.run().await;
        match way {
            Way::ByItself | Way::Killed => self.kill_all().await,
            Way::Stopping(until) => self.let_the_rest_end(until).await,
        }
        let exit = self.reap().await;
        if let Some(output) = &mut self.output {
            output.take_rest();
        }
        BackendEnd {
            exit,
            stderr_tail: self.output.as_ref().map(Output::tail).unwrap_or_default(),
        }
    }

    /// Until its main process has ended, or it is to be killed.
    async fn run(&mut self) -> Way {
        let mut way = Way::ByItself;
        loop {
            let deadline = match way {
                Way::Stopping(deadline) => deadline,
                _ => None,
            };
            tokio::select! {
                // What was printed comes before the end, and that before the end of its time.
                biased;
                () = advance(self.output.as_mut()) => {}
                () = self.watch.ended() => return way,
                heard = self.orders.heard() => match heard {
                    Heard::Order(Order::Run) => {}
                    Heard::Order(Order::Stop(plan)) => way = Way::Stopping(self.stop(plan)),
                    Heard::Order(Order::Kill) => return Way::Killed,
                    Heard::Signal(signal, done) => {
                        self.signal(signal);
                        drop(done);
                    }
                },
                () = until(deadline) => {
                    self.say_killed();
                    return Way::Killed;
                }
            }
        }
    }

    /// Gives the signal; says when its time is over.
    fn stop(&self, plan: StopPlan) -> Option<Instant> {
        self.signal(plan.signal);
        // One that is stopped cannot take it to heart.
        if let Ok(go_on) = StopSignal::try_from(Signal::SIGCONT as i32) {
            self.signal(go_on);
        }
        plan.timeout.map(|limit| Instant::now() + limit)
    }

    /// To the process group, and to what has left it but not the control group.
    fn signal(&self, signal: StopSignal) {
        let group = self.group();
        if let Some(group) = group {
            self.or_say(send_signal(negative(group), signal.number()));
        }
        if let Some(cgroup) = &self.cgroup {
            self.or_say(cgroup.signal(signal.number(), group));
        }
    }

    /// Its main process has ended, as it was told to. What it had started may have something to
    /// finish; nothing tells of the end of processes that are not children, so it is looked for.
    async fn let_the_rest_end(&mut self, deadline: Option<Instant>) {
        let mut pause = LOOK_INTERVAL;
        while self.lives().await {
            tokio::select! {
                () = self.orders.killed() => break,
                () = until(deadline) => {
                    self.say_killed();
                    break;
                }
                // It may wait for somebody to read what it prints.
                () = drain(self.output.as_mut()) => {}
                () = sleep(pause) => pause = (pause * 2).min(LONGEST_LOOK),
            }
        }
        self.kill_all().await;
    }

    /// SIGKILL to whatever is left, again and again against those that forked meanwhile.
    async fn kill_all(&self) {
        let killed = timeout(KILL_WAIT, async {
            loop {
                if let Some(group) = self.group() {
                    self.or_say(send_signal(negative(group), Signal::SIGKILL as i32));
                }
                self.or_say(self.cgroup.as_ref().map_or(Ok(()), Cgroup::kill));
                if !self.lives().await {
                    break;
                }
                sleep(LOOK_INTERVAL).await;
            }
        })
        .await;
        if killed.is_err() {
            tracing::warn!(
                sleepingd_service = self.service,
                sleepingd_action = Action::Command.as_str(),
                "SIGKILL has not ended all of COMMAND yet: some of it hangs in the kernel"
            );
        }
    }

    /// Nobody wants it: it never was told to run.
    pub(super) async fn put_down(&mut self) {
        self.kill_all().await;
        // Nobody is told how it ended.
        let _ = self.reap().await;
        if let Some(output) = &mut self.output {
            output.release();
        }
    }

    /// Only now: until the rest was killed its number, and the group's with it, was nobody else's.
    /// Nor does anybody keep it from here on.
    async fn reap(&mut self) -> Option<CommandExit> {
        if let Some(keeping) = &mut self.keeping {
            keeping.end(&self.inner).await;
        }
        let child = self.child.as_mut()?;
        match timeout(KILL_WAIT, child.wait()).await {
            Ok(status) => Some(exit_of(status)),
            // It was said that it hangs; the runtime reaps it when it ends.
            Err(_) => Some(CommandExit::Signalled(Signal::SIGKILL as i32)),
        }
    }

    /// What has left both groups may print on.
    pub(super) async fn read_on(&mut self) {
        while self.output.as_ref().is_some_and(Output::is_open) {
            advance(self.output.as_mut()).await;
        }
    }

    /// Its process group, as long as that is known to be its own.
    ///
    /// Our child is reaped last, and keeps the number until then. One that a former daemon started
    /// is reaped by init, at once: from then on it is what is left in the group that keeps the
    /// number, and where nothing is left it may be a stranger's. That is asked for each time, and
    /// there are microseconds between the question and the signal, as in [`Cgroup::signal`].
    fn group(&self) -> Option<Pid> {
        let leader = Pid::from_raw(self.process.id.pid);
        let is_its_own = self.child.is_some()
            || matches!(self.watch.has_ended(), Ok(false))
            // Not known is not its own.
            || matches!(is_group_of(leader, self.process.id.started), Ok(true));
        is_its_own.then_some(leader)
    }

    /// Whether anything of it lives that we may signal.
    async fn lives(&self) -> bool {
        match (self.group(), self.cgroup.as_ref()) {
            (Some(group), cgroup) => lives(group, cgroup).await,
            (None, Some(cgroup)) => !cgroup.is_empty(),
            (None, None) => false,
        }
    }

    fn or_say(&self, result: std::io::Result<()>) {
        if let Err(why) = result {
            tracing::warn!(
                sleepingd_service = self.service,
                sleepingd_action = Action::Command.as_str(),
                "COMMAND could not be signalled, so some of it may run on: {why}"
            );
        }
    }

    fn say_killed(&self) {
        let plan = match self.orders.newest() {
            Order::Stop(plan) => plan,
            Order::Run | Order::Kill => return,
        };
        tracing::warn!(
            sleepingd_service = self.service,
            sleepingd_action = Action::Command.as_str(),
            "COMMAND did not end within {} of {}, and is killed (STOP_TIMEOUT, STOP_SIGNAL)",
            duration::show(plan.timeout.unwrap_or_default()),
            plan.signal
        );
    }
}

/// kill(2)'s word for a group.
fn negative(group: Pid) -> Pid {
    Pid::from_raw(-group.as_raw())
}

/// Takes what was printed; never ready once nobody may print.
async fn advance(output: Option<&mut Output>) {
    match output {
        Some(output) if output.is_open() => output.advance().await,
        _ => std::future::pending().await,
    }
}

/// Takes all that is printed while it is waited for something else.
async fn drain(mut output: Option<&mut Output>) {
    loop {
        advance(output.as_deref_mut()).await;
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
