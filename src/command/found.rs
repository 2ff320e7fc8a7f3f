//! COMMANDs that a former daemon has started: found again by what systemd has kept, else by what
//! was written down.

use std::{
    collections::HashSet,
    os::fd::OwnedFd,
    path::PathBuf,
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
    pub(super) name: Option<BackendName>,
}

/// What was kept, and who has been taken from there.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Nobody looks after these: no more than were inherited.
    waiting: Vec<Waiting>,
    /// Somebody does, and they run: one for each that was found.
    adopted: HashSet<ProcessId>,
}

/// One that was kept.
#[derive(Debug)]
struct Waiting {
    name: BackendName,
    pidfd: PidFd,
    of: Whose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// Nobody has asked for it yet.
    Unknown,
    /// It was asked for and put back: its service is in the books, and cannot have it yet.
    PutBack,
}

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
                let waiting = Waiting {
                    name,
                    pidfd: process,
                    of: Whose::Unknown,
                };
                self.inner.kept.lock().waiting.push(waiting);
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
            .waiting
            .iter()
            .position(|one| one.name.is_of(slug) && is_it(&one.pidfd));
        let (name, pidfd) = match index.map(|index| kept.waiting.swap_remove(index)) {
            Some(one) => (Some(one.name), one.pidfd),
            // Nobody has kept it, or systemd has let go of it.
            None => (None, PidFd::open(Pid::from_raw(process.id.pid)).ok()?),
        };
        if is_it(&pidfd) {
            return Some(FoundBackend {
                process: process.clone(),
                pidfd,
                name,
            });
        }
        if let Some(name) = name {
            // It has ended in this very moment.
            self.inner.keeper.release(&name.to_string());
        }
        None
    }

    /// Keeps one that was found for whoever asks next: its service cannot have it yet. It counts
    /// no longer as unclaimed. One that nobody had kept is found by its number again.
    pub fn put_back(&self, found: FoundBackend) {
        let FoundBackend { pidfd, name, .. } = found;
        if let Some(name) = name {
            let of = Whose::PutBack;
            let waiting = Waiting { name, pidfd, of };
            self.inner.kept.lock().waiting.push(waiting);
        }
    }

    /// What was kept and is in nobody's books: those that have ended are forgotten, and so are
    /// second names of what was adopted. The others are to be ended.
    #[must_use]
    pub fn unclaimed_backends(&self) -> Vec<(String, FoundBackend)> {
        let mut kept = self.inner.kept.lock();
        let waiting = std::mem::take(&mut kept.waiting);
        let mut unclaimed = Vec::new();
        for one in waiting {
            let id = identity(&one.pidfd);
            match id.filter(|id| !kept.adopted.contains(id)) {
                None => self.inner.keeper.release(&one.name.to_string()),
                Some(_) if one.of == Whose::PutBack => kept.waiting.push(one),
                Some(id) => {
                    let cgroup = self.cgroup_of(id, &one.pidfd);
                    let found = FoundBackend {
                        process: BackendProcess { id, cgroup },
                        pidfd: one.pidfd,
                        name: Some(one.name.clone()),
                    };
                    unclaimed.push((one.name.to_string(), found));
                }
            }
        }
        unclaimed
    }

    /// Nothing was written down of it, so the kernel is asked.
    fn cgroup_of(&self, id: ProcessId, pidfd: &PidFd) -> Option<PathBuf> {
        let parent = self.inner.cgroups.as_ref()?;
        let group = parent.group_of(Pid::from_raw(id.pid))?;
        // Until here its number was its own, so it is not another one's group.
        (identity(pidfd) == Some(id)).then_some(group)
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
    /// Somebody looks after it from now on.
    pub(super) fn adopt(&self, id: ProcessId) {
        self.lock().adopted.insert(id);
    }

    /// It has ended, or nobody looks after it any more.
    pub(super) fn let_go(&self, id: ProcessId) {
        self.lock().adopted.remove(&id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A list is sound at every moment, whoever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
