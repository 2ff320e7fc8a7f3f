//! From a request, or from what a former daemon has left, to a COMMAND that runs.

use std::os::fd::AsFd;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use nix::{sys::signal::Signal, unistd::Pid};
use tokio::{process::Child, sync::watch, task::spawn_blocking, time::timeout};

use super::{BackendNews, Order, Teller, life::Backend};
use crate::{
    command::{
        Inner,
        backend_name::BackendName,
        error::SpawnError,
        found::FoundBackend,
        output::Output,
        spawn::{Remarks, spawn},
        supervise::GRACE,
    },
    model::{BackendEnd, BackendProcess, CommandExit, CommandRequest, ProcessId},
    sys::{
        cgroup::Cgroup,
        process::{PidFd, send_signal, start_time},
    },
};

/// What was started, and how it is kept.
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) output: Output,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) remarks: Remarks,
    pub(super) process: BackendProcess,
    pub(super) pidfd: PidFd,
    pub(super) name: String,
}

pub(super) async fn begin(
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

pub(super) async fn go_on(
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
