//! COMMANDs that a former daemon has started: found again by what systemd has kept, else by what
//! was written down.

use std::{
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError, atomic::Ordering},
};

use nix::unistd::Pid;

use super::{Runner, backend_name::BackendName};
use crate::{
    model::{BackendProcess, ProcessId, Slug},
    sys::process::{PidFd, start_time},
};

/// A COMMAND that runs, and whose parent we are not.
#[derive(Debug)]
pub struct FoundBackend {
    pub(super) process: BackendProcess,
    pub(super) pidfd: PidFd,
    /// Under which it is kept already.
    pub(super) name: Option<String>,
}

/// What was kept, and nobody has asked for yet.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Vec<(BackendName, PidFd)>>);

impl Runner {
    /// Takes the descriptor of a process that a former daemon gave to its keeper under this name.
    /// To be called before commands are run.
    pub fn inherit_backend(&self, name: &str, fd: OwnedFd) {
        let taken = name
            .parse::<BackendName>()
            .map_err(|e| e.to_string())
            .and_then(|name| {
                let process = PidFd::from_fd(fd).map_err(|e| e.to_string())?;
                Ok((name, process))
            });
        match taken {
            Ok((name, process)) => {
                // What is kept under one name goes as one: numbers must not come again.
                let next = name.number.saturating_add(1);
                self.inner.next.fetch_max(next, Ordering::Relaxed);
                self.inner.kept.lock().push((name, process));
            }
            Err(why) => {
                tracing::warn!("the inherited descriptor '{name}' is closed: {why}");
                self.inner.keeper.release(name);
            }
        }
    }

    /// The COMMAND that was written down as this process, if it still runs.
    #[must_use]
    pub fn find_backend(&self, slug: &Slug, process: &BackendProcess) -> Option<FoundBackend> {
        let is_it = |pidfd: &PidFd| identity(pidfd) == Some(process.id);
        let mut kept = self.inner.kept.lock();
        let index = kept
            .iter()
            .position(|(name, pidfd)| name.is_of(slug) && is_it(pidfd));
        let (name, pidfd) = match index.map(|index| kept.swap_remove(index)) {
            Some((name, pidfd)) => (Some(name.to_string()), pidfd),
            // Nobody has kept it, or systemd has let go of it.
            None => (None, PidFd::open(Pid::from_raw(process.id.pid)).ok()?),
        };
        is_it(&pidfd).then(|| FoundBackend {
            process: process.clone(),
            pidfd,
            name,
        })
    }

    /// Keeps one that was found for who may ask again.
    pub fn put_back(&self, found: FoundBackend) {
        let name = found.name.as_deref().and_then(|name| name.parse().ok());
        if let Some(name) = name {
            self.inner.kept.lock().push((name, found.pidfd));
        }
    }

    /// What was kept and is in nobody's books: those that have ended are forgotten, the others
    /// are to be ended.
    #[must_use]
    pub fn unclaimed_backends(&self) -> Vec<(String, FoundBackend)> {
        let kept = std::mem::take(&mut *self.inner.kept.lock());
        let running = kept.into_iter().filter_map(|(name, pidfd)| {
            let name = name.to_string();
            let Some(id) = identity(&pidfd) else {
                self.inner.keeper.release(&name);
                return None;
            };
            let process = BackendProcess { id, cgroup: None };
            let found = FoundBackend {
                process,
                pidfd,
                name: Some(name.clone()),
            };
            Some((name, found))
        });
        running.collect()
    }
}

/// Which process it is; `None` once it has ended.
fn identity(pidfd: &PidFd) -> Option<ProcessId> {
    let pid = pidfd.pid().ok()??;
    let started = start_time(pid).ok()?;
    // Asked last: until then the number was its own.
    match pidfd.has_ended() {
        Ok(false) => Some(ProcessId {
            pid: pid.as_raw(),
            started,
        }),
        Ok(true) | Err(_) => None,
    }
}

// === impl Kept ===

impl Kept {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(BackendName, PidFd)>> {
        // A list is sound at every moment, whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
