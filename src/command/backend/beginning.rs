//! From a request, or from what a former daemon has left, to a COMMAND that runs.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
};

use nix::{sys::signal::Signal, unistd::Pid};
use tokio::{process::Child, task::spawn_blocking, time::timeout};

use super::{BackendNews, Teller, life::Backend, orders::Orders};
use crate::{
    command::{
        Inner,
        error::SpawnError,
        found::FoundBackend,
        output::Output,
        spawn::{Remarks, Spawned, spawn},
        supervise::{GRACE, KILL_WAIT, LOOK_INTERVAL},
    },
    model::{BackendEnd, BackendProcess, CommandExit, CommandRequest, ProcessId},
    sys::{
        cgroup::Cgroup,
        clock,
        process::{PidFd, WatchedProcess, group_lives, signal_group, start_time},
    },
};

/// What was started, and how it is kept.
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) output: Output,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) remarks: Remarks,
    pub(super) process: BackendProcess,
    pub(super) watched: WatchedProcess,
}

pub(super) async fn begin(
    inner: Arc<Inner>,
    request: CommandRequest,
    mut orders: Orders,
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
        () = orders.unwanted() => {
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
        Ok(Ok(started)) => {
            // Before all else: until it is written down, a daemon that dies leaves it in nobody's
            // books. The next one finds it by its control group then. Where there is none, nothing
            // tells it from what others have started, and what is left of that time is some
            // hundred microseconds: from fork(2) to the record.
            told(BackendNews::Started(started.process.clone()));
            let mut backend = Backend::new(Arc::clone(&inner), &request, started, orders);
            told(BackendNews::Ended(backend.live().await));
            backend.read_on().await;
        }
        Ok(Err(e)) => told(not_started(&e.to_string())),
        // It panicked, or the runtime ends: either way nothing runs.
        Err(e) => told(not_started(&e.to_string())),
    }
}

pub(super) async fn go_on(
    inner: Arc<Inner>,
    service: String,
    found: FoundBackend,
    orders: Orders,
    told: Teller,
) {
    let id = found.process.id;
    let mut backend = Backend::found(Arc::clone(&inner), service, found, orders);
    told(BackendNews::Ended(backend.live().await));
    inner.kept.let_go(id);
}

/// It came too late: nobody wants it any more.
async fn put_down_late(
    inner: &Arc<Inner>,
    request: &CommandRequest,
    started: Result<Result<Started, SpawnError>, tokio::task::JoinError>,
    orders: Orders,
) {
    let Ok(Ok(started)) = started else { return };
    let mut backend = Backend::new(Arc::clone(inner), request, started, orders);
    backend.put_down().await;
}

fn not_started(why: &str) -> BackendNews {
    BackendNews::Ended(BackendEnd {
        exit: Some(CommandExit::NotStarted(why.to_owned())),
        stderr_tail: Vec::new(),
    })
}

/// Starts it. Blocks; needs a runtime.
fn start(
    inner: &Arc<Inner>,
    request: &CommandRequest,
    given_up: &AtomicBool,
) -> Result<Started, SpawnError> {
    let spawned = spawn(inner, request, given_up)?;
    watch(spawned, |pid| {
        WatchedProcess::new(PidFd::open(pid)?).map_err(|unwatched| unwatched.source)
    })
}

/// What cannot be watched must not run: it is killed, and so is all that it has started.
fn watch(
    mut spawned: Spawned,
    open: impl FnOnce(Pid) -> io::Result<WatchedProcess>,
) -> Result<Started, SpawnError> {
    let pid = spawned.child.id().and_then(|id| i32::try_from(id).ok());
    // It is our child, and not reaped: its number is its own.
    let Some(pid) = pid.map(Pid::from_raw) else {
        return Err(SpawnError::Watch(io::Error::other("it has no number")));
    };
    let watched = open(pid).and_then(|watched| Ok((watched, start_time(pid)?)));
    let (watched, started) = match watched {
        Ok(watched) => watched,
        Err(e) => {
            kill_unwatched(&mut spawned, pid);
            return Err(SpawnError::Watch(e));
        }
    };
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
        watched,
    })
}

/// SIGKILL until nothing of it lives, and only then reaps it: until then the group's number is its
/// own. Blocks. The names of its pipes are released too, since nobody reads on.
#[expect(
    clippy::disallowed_methods,
    reason = "it runs on a thread for what blocks, where a runtime's timer cannot be had"
)]
fn kill_unwatched(spawned: &mut Spawned, group: Pid) {
    let until = clock::now() + KILL_WAIT;
    loop {
        let cgroup = spawned.cgroup.as_ref();
        let killed = signal_group(group, Signal::SIGKILL);
        if let Err(why) = killed.and(cgroup.map_or(Ok(()), Cgroup::kill)) {
            tracing::warn!("a COMMAND that cannot be watched could not be killed: {why}");
        }
        // Not seen is not gone.
        let lives = !matches!(group_lives(group), Ok(false));
        if !lives && cgroup.is_none_or(Cgroup::is_empty) {
            break;
        }
        if clock::now() >= until {
            tracing::warn!("a COMMAND that cannot be watched hangs in the kernel, killed");
            break;
        }
        sleep(LOOK_INTERVAL);
    }
    // What hangs is reaped by the runtime when it ends.
    let _ = spawned.child.try_wait();
    spawned.output.release();
}

#[cfg(test)]
mod tests;
