//! COMMAND: a backend that is a process of ours, from its start until nothing of it is left.
//!
//! ```text
//! starting -> running --main process ends--> rest is killed -> ended
//!                │ stop: the signal                              ▲
//!                └─────▶ stopping --all of it ends, or SIGKILL───┘
//! ```
//! Its end is the end of its main process. It is told when the rest is gone too, so that the next
//! one finds its port free. Told to stop, the rest may take its time as the main process may: a
//! shell ends at once, and what it runs is the one that has something to finish.

use std::{
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::{sys::signal::Signal, unistd::Pid};
use tokio::{
    process::Child,
    sync::watch,
    task::spawn_blocking,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    Inner, Runner,
    backend_name::BackendName,
    error::SpawnError,
    found::FoundBackend,
    output::Output,
    spawn::{Remarks, spawn},
    supervise::{GRACE, KILL_WAIT, LOOK_INTERVAL, exit_of, lives, remark},
};
use crate::{
    model::{
        Action, BackendEnd, BackendProcess, CommandExit, CommandRequest, ProcessId, StopPlan,
        StopSignal, duration,
    },
    sys::{
        cgroup::Cgroup,
        process::{PidFd, WatchedProcess, send_signal, start_time},
    },
};

/// What becomes of a COMMAND.
#[derive(Debug)]
pub enum BackendNews {
    /// It runs, as this process.
    Started(BackendProcess),
    /// It has ended, or could not be started, and nothing of it is left.
    Ended(BackendEnd),
}

/// What a COMMAND is told. Dropped, it lets the process go on.
#[derive(Debug)]
pub struct BackendControl(watch::Sender<Order>);

/// The newest order counts: nobody takes one back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Run,
    Stop(StopPlan),
    Kill,
}

/// To whom the news go.
type Teller = Box<dyn Fn(BackendNews) + Send + Sync>;

/// How often it is looked, at the longest, whether the last of what is being stopped has gone.
const LONGEST_LOOK: Duration = Duration::from_millis(250);

/// A COMMAND that is a process.
struct Backend {
    inner: Arc<Inner>,
    service: String,
    process: BackendProcess,
    watched: WatchedProcess,
    /// `None`: an earlier daemon was its parent, and nobody is told its exit status.
    child: Option<Child>,
    /// Of one that we have found again the pipes are read by themselves.
    output: Option<Output>,
    cgroup: Option<Cgroup>,
    name: String,
    orders: watch::Receiver<Order>,
}

/// What was started, and how it is kept.
struct Started {
    child: Child,
    output: Output,
    cgroup: Option<Cgroup>,
    remarks: Remarks,
    process: BackendProcess,
    pidfd: PidFd,
    name: String,
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

// === impl Runner ===

impl Runner {
    /// Runs a COMMAND; returns at once. What becomes of it is told in order; the last news are its
    /// end.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn start_backend(
        &self,
        request: CommandRequest,
        told: impl Fn(BackendNews) + Send + Sync + 'static,
    ) -> BackendControl {
        let (to, orders) = watch::channel(Order::Run);
        let inner = Arc::clone(&self.inner);
        tokio::spawn(begin(inner, request, orders, Box::new(told)));
        BackendControl(to)
    }

    /// Looks after a COMMAND that a former daemon started; its end is told.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn adopt_backend(
        &self,
        service: &str,
        found: FoundBackend,
        told: impl Fn(BackendNews) + Send + Sync + 'static,
    ) -> BackendControl {
        let (to, orders) = watch::channel(Order::Run);
        let inner = Arc::clone(&self.inner);
        tokio::spawn(go_on(
            inner,
            service.to_owned(),
            found,
            orders,
            Box::new(told),
        ));
        BackendControl(to)
    }

    /// Ends a COMMAND that nobody looks after any more; `of` is the word for it in the log.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn end_backend(&self, of: &str, found: FoundBackend, plan: StopPlan) {
        let who = of.to_owned();
        let control = self.adopt_backend(of, found, move |news| {
            if let BackendNews::Ended(_) = news {
                tracing::info!("{who}: its COMMAND has been ended");
            }
        });
        control.stop(plan);
    }

    /// Kills what a COMMAND that has ended while nobody looked has left in its control group.
    /// Its process group may be somebody else's by now.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn bury_backend(&self, process: &BackendProcess) {
        let parent = self.inner.cgroups.as_ref();
        let path = process.cgroup.as_deref();
        let Some(cgroup) = parent
            .zip(path)
            .and_then(|(parent, path)| parent.find(path))
        else {
            return;
        };
        tokio::spawn(async move {
            let until = Instant::now() + KILL_WAIT;
            while !cgroup.is_empty() && Instant::now() < until {
                if let Err(why) = cgroup.kill() {
                    tracing::warn!("what a COMMAND has left cannot be killed: {why}");
                }
                sleep(LOOK_INTERVAL).await;
            }
        });
    }
}

// === impl BackendControl ===

impl BackendControl {
    /// Ends it in this way; its end is told.
    pub fn stop(&self, plan: StopPlan) {
        self.order(Order::Stop(plan));
    }

    /// Kills it, and all that it has started; its end is told.
    pub fn kill(&self) {
        self.order(Order::Kill);
    }

    fn order(&self, order: Order) {
        // One that has ended needs no order.
        let _ = self.0.send(order);
    }
}

// === from a request, or from what was found, to a process ===

async fn begin(
    inner: Arc<Inner>,
    request: CommandRequest,
    mut orders: watch::Receiver<Order>,
    told: Teller,
) {
    let given_up = Arc::new(AtomicBool::new(false));
    let mut starting = {
        let (inner, request) = (Arc::clone(&inner), request.clone());
        let given_up = Arc::clone(&given_up);
        spawn_blocking(move || start(&inner, &request, &given_up))
    };
    let started = tokio::select! {
        started = &mut starting => started,
        () = unwanted(&mut orders) => {
            given_up.store(true, Ordering::Release);
            if let Ok(started) = timeout(GRACE, &mut starting).await {
                started
            } else {
                // A user database or a disk hangs. If there is a process after all, it is put
                // down then, and nobody waits for that.
                told(not_started("it was no longer wanted while it was being started"));
                put_down_late(&inner, &request, starting.await, orders).await;
                return;
            }
        }
    };
    match started {
        Ok(Ok(started)) => match Backend::new(Arc::clone(&inner), &request, started, orders) {
            Ok(mut backend) => {
                told(BackendNews::Started(backend.process.clone()));
                told(BackendNews::Ended(backend.live().await));
                backend.read_on().await;
            }
            Err(e) => told(not_started(&format!("it cannot be watched: {e}"))),
        },
        Ok(Err(e)) => told(not_started(&e.to_string())),
        // It panicked, or the runtime ends: either way nothing runs.
        Err(e) => told(not_started(&e.to_string())),
    }
}

async fn go_on(
    inner: Arc<Inner>,
    service: String,
    found: FoundBackend,
    orders: watch::Receiver<Order>,
    told: Teller,
) {
    match Backend::found(inner, service, found, orders).await {
        Ok(mut backend) => told(BackendNews::Ended(backend.live().await)),
        Err(e) => {
            // It is not ours to watch any more; whoever connects finds out.
            tracing::warn!("a COMMAND that runs cannot be watched, and is left alone: {e}");
            told(BackendNews::Ended(BackendEnd {
                exit: None,
                stderr_tail: Vec::new(),
            }));
        }
    }
}

/// It came too late: nobody wants it any more.
async fn put_down_late(
    inner: &Arc<Inner>,
    request: &CommandRequest,
    started: Result<Result<Started, SpawnError>, tokio::task::JoinError>,
    orders: watch::Receiver<Order>,
) {
    let Ok(Ok(started)) = started else { return };
    match Backend::new(Arc::clone(inner), request, started, orders) {
        Ok(mut backend) => {
            backend.kill_all().await;
            backend.reap().await;
        }
        Err(e) => tracing::warn!("a COMMAND cannot be watched: {e}"),
    }
}

fn not_started(why: &str) -> BackendNews {
    BackendNews::Ended(BackendEnd {
        exit: Some(CommandExit::NotStarted(why.to_owned())),
        stderr_tail: Vec::new(),
    })
}

/// Until it is no longer wanted. Whoever may say so and is gone lets it go on.
async fn unwanted(orders: &mut watch::Receiver<Order>) {
    if orders.wait_for(|order| *order != Order::Run).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Starts it, and has it kept. Blocks; needs a runtime.
fn start(
    inner: &Arc<Inner>,
    request: &CommandRequest,
    given_up: &AtomicBool,
) -> Result<Started, SpawnError> {
    let spawned = spawn(inner, request, given_up)?;
    let pid = spawned.child.id().and_then(|id| i32::try_from(id).ok());
    let watch = |pid: i32| {
        // It is our child, and not reaped: its number is its own.
        let pid = Pid::from_raw(pid);
        Ok((pid, PidFd::open(pid)?, start_time(pid)?))
    };
    let missing = || std::io::Error::other("it has no number");
    let (pid, pidfd, started) = match pid.ok_or_else(missing).and_then(watch) {
        Ok(watched) => watched,
        Err(e) => {
            if let Some(pid) = pid {
                // What cannot be watched must not run; the runtime reaps it.
                let _ = send_signal(Pid::from_raw(-pid), Signal::SIGKILL as i32);
            }
            return Err(SpawnError::Watch(e));
        }
    };
    let name = BackendName::new(&request.slug, inner.next_number()).to_string();
    inner.keeper.keep(&name, pidfd.as_fd());
    let process = BackendProcess {
        id: ProcessId {
            pid: pid.as_raw(),
            started,
        },
        cgroup: spawned.cgroup.as_ref().map(|own| own.path().to_owned()),
    };
    Ok(Started {
        child: spawned.child,
        output: spawned.output,
        cgroup: spawned.cgroup,
        remarks: spawned.remarks,
        process,
        pidfd,
        name,
    })
}

// === impl Backend ===

impl Backend {
    fn new(
        inner: Arc<Inner>,
        request: &CommandRequest,
        started: Started,
        mut orders: watch::Receiver<Order>,
    ) -> std::io::Result<Self> {
        // What it was told while it was being started is still to be done.
        orders.mark_changed();
        remark(&inner, request, &started.remarks);
        Ok(Self {
            inner,
            service: request.service.as_str().to_owned(),
            process: started.process,
            watched: WatchedProcess::new(started.pidfd)?,
            child: Some(started.child),
            output: Some(started.output),
            cgroup: started.cgroup,
            name: started.name,
            orders,
        })
    }

    async fn found(
        inner: Arc<Inner>,
        service: String,
        found: FoundBackend,
        orders: watch::Receiver<Order>,
    ) -> std::io::Result<Self> {
        let FoundBackend {
            process,
            pidfd,
            name,
        } = found;
        let path = process.cgroup.as_deref();
        let cgroup = inner.cgroups.as_ref().zip(path);
        let cgroup = cgroup.and_then(|(parent, path)| parent.find(path));
        let name = match name {
            Some(name) => name,
            // For the daemon after this one.
            None => keep_again(&inner, &service, &pidfd).await?,
        };
        Ok(Self {
            watched: WatchedProcess::new(pidfd)?,
            inner,
            service,
            process,
            child: None,
            output: None,
            cgroup,
            name,
            orders,
        })
    }

    /// Until nothing of it is left; says how it ended.
    async fn live(&mut self) -> BackendEnd {
        let way = self.run().await;
        match way {
            Way::ByItself | Way::Killed => self.kill_all().await,
            Way::Stopping(until) => self.let_the_rest_end(until).await,
        }
        let exit = self.reap().await;
        self.inner.keeper.release(&self.name);
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
                () = self.watched.ended() => return way,
                order = next_order(&mut self.orders) => match order {
                    Order::Run => {}
                    Order::Stop(plan) => way = Way::Stopping(self.stop(plan)),
                    Order::Kill => return Way::Killed,
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
        self.or_say(send_signal(negative(group), signal.number()));
        if let Some(cgroup) = &self.cgroup {
            self.or_say(cgroup.signal(signal.number(), Some(group)));
        }
    }

    /// Its main process has ended, as it was told to. What it had started may have something to
    /// finish; nothing tells of the end of processes that are not children, so it is looked for.
    async fn let_the_rest_end(&mut self, deadline: Option<Instant>) {
        let (group, mut pause) = (self.group(), LOOK_INTERVAL);
        while lives(group, self.cgroup.as_ref()).await {
            tokio::select! {
                () = killed(&mut self.orders) => break,
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
    async fn kill_all(&mut self) {
        let group = self.group();
        let killed = timeout(KILL_WAIT, async {
            loop {
                self.or_say(send_signal(negative(group), Signal::SIGKILL as i32));
                self.or_say(self.cgroup.as_ref().map_or(Ok(()), Cgroup::kill));
                if !lives(group, self.cgroup.as_ref()).await {
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

    /// Only now: until the rest was killed its number, and the group's with it, was nobody else's.
    async fn reap(&mut self) -> Option<CommandExit> {
        let child = self.child.as_mut()?;
        match timeout(KILL_WAIT, child.wait()).await {
            Ok(status) => Some(exit_of(status)),
            // It was said that it hangs; the runtime reaps it when it ends.
            Err(_) => Some(CommandExit::Signalled(Signal::SIGKILL as i32)),
        }
    }

    /// What has left both groups may print on.
    async fn read_on(&mut self) {
        while self.output.as_ref().is_some_and(Output::is_open) {
            advance(self.output.as_mut()).await;
        }
    }

    fn group(&self) -> Pid {
        Pid::from_raw(self.process.id.pid)
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
        let plan = match *self.orders.borrow() {
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

async fn keep_again(inner: &Arc<Inner>, service: &str, pidfd: &PidFd) -> std::io::Result<String> {
    let slug = crate::model::ServiceName::new(service).slug();
    let Some(slug) = slug else {
        return Ok(String::new());
    };
    let name = BackendName::new(&slug, inner.next_number()).to_string();
    let (inner, kept) = (Arc::clone(inner), pidfd.as_fd().try_clone_to_owned()?);
    let under = name.clone();
    // Where the runtime ends there is nobody to keep it for.
    let _ = spawn_blocking(move || inner.keeper.keep(&under, kept.as_fd())).await;
    Ok(name)
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

/// Until it is to be killed.
async fn killed(orders: &mut watch::Receiver<Order>) {
    while next_order(orders).await != Order::Kill {}
}

/// The next order; never, once nobody can give one.
async fn next_order(orders: &mut watch::Receiver<Order>) -> Order {
    match orders.changed().await {
        Ok(()) => *orders.borrow_and_update(),
        Err(_) => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
