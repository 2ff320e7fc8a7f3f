//! COMMANDs that a former daemon has started: found again by what systemd has kept, else by what
//! was written down, and where that daemon came to neither by their control group (`strays`).

mod strays;

use std::{
    collections::HashSet,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, atomic::Ordering},
};

use nix::unistd::Pid;

use super::{Runner, backend::is_gone, backend_name::BackendName};
use crate::{
    model::{BackendProcess, ProcessId, Slug},
    sys::process::{PidFd, start_time},
};

/// A COMMAND that runs, and whose parent we are not.
#[derive(Debug)]
pub struct FoundBackend {
    pub(super) process: BackendProcess,
    /// Or why there is none: it runs all the same.
    pub(super) pidfd: io::Result<PidFd>,
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
    /// The control groups that are in somebody's books: one for each record that was read.
    claimed: HashSet<PathBuf>,
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

    /// The COMMAND that was written down as this process, if it still runs. One that cannot be seen
    /// for want of descriptors or memory is taken to run: what may be in use is not forgotten.
    #[must_use]
    pub fn find_backend(&self, slug: &Slug, process: &BackendProcess) -> Option<FoundBackend> {
        let is_it = |pidfd: &PidFd| matches!(identity(pidfd), Ok(Some(id)) if id == process.id);
        let mut kept = self.inner.kept.lock();
        let index = kept
            .waiting
            .iter()
            .position(|one| one.name.is_of(slug) && is_it(&one.pidfd));
        let (name, pidfd) = match index.map(|index| kept.waiting.swap_remove(index)) {
            Some(one) => (Some(one.name), Ok(one.pidfd)),
            // Nobody has kept it, or systemd has let go of it.
            None => (None, open(process.id)?),
        };
        kept.claimed.extend(process.cgroup.clone());
        Some(FoundBackend {
            process: process.clone(),
            pidfd,
            name,
        })
    }

    /// Keeps one that was found for whoever asks next: its service cannot have it yet. It counts
    /// no longer as unclaimed. One that nobody had kept is found by its number again.
    pub fn put_back(&self, found: FoundBackend) {
        let FoundBackend { pidfd, name, .. } = found;
        if let (Some(name), Ok(pidfd)) = (name, pidfd) {
            let of = Whose::PutBack;
            let waiting = Waiting { name, pidfd, of };
            self.inner.kept.lock().waiting.push(waiting);
        }
    }

    /// What runs and is in nobody's books, by what was kept and by its control group. What was kept
    /// and has ended is forgotten, and so are second names of what was adopted.
    #[must_use]
    pub fn unclaimed_backends(&self) -> Vec<(String, FoundBackend)> {
        let mut kept = self.inner.kept.lock();
        let waiting = std::mem::take(&mut kept.waiting);
        let mut unclaimed = Vec::new();
        for one in waiting {
            let id = match identity(&one.pidfd) {
                Ok(id) => id,
                Err(why) => {
                    tracing::warn!("'{}' is left as it is, it cannot be seen: {why}", one.name);
                    kept.waiting.push(one);
                    continue;
                }
            };
            match id.filter(|id| !kept.adopted.contains(id)) {
                None => self.inner.keeper.release(&one.name.to_string()),
                Some(_) if one.of == Whose::PutBack => kept.waiting.push(one),
                Some(id) => {
                    let cgroup = self.cgroup_of(id, &one.pidfd);
                    kept.claimed.extend(cgroup.clone());
                    let found = FoundBackend {
                        process: BackendProcess { id, cgroup },
                        pidfd: Ok(one.pidfd),
                        name: Some(one.name.clone()),
                    };
                    unclaimed.push((one.name.to_string(), found));
                }
            }
        }
        unclaimed.extend(self.strays(&kept.claimed));
        unclaimed
    }

    /// Nothing was written down of it, so the kernel is asked.
    fn cgroup_of(&self, id: ProcessId, pidfd: &PidFd) -> Option<PathBuf> {
        let parent = self.inner.cgroups.as_ref()?;
        let group = parent.group_of(Pid::from_raw(id.pid))?;
        // Until here its number was its own, so it is not another one's group.
        matches!(identity(pidfd), Ok(Some(still)) if still == id).then_some(group)
    }
}

/// Which process it is; `None` once it has ended.
fn identity(pidfd: &PidFd) -> io::Result<Option<ProcessId>> {
    let Some(pid) = pidfd.pid()? else {
        return Ok(None);
    };
    let started = start_time(pid);
    // Asked last: until then the number was its own.
    if pidfd.has_ended()? {
        return Ok(None);
    }
    Ok(Some(ProcessId {
        pid: pid.as_raw(),
        started: started?,
    }))
}

/// A descriptor of this process, or why there is none; `None` once it has ended.
fn open(id: ProcessId) -> Option<io::Result<PidFd>> {
    let opened =
        PidFd::open(Pid::from_raw(id.pid)).and_then(|pidfd| Ok((identity(&pidfd)?, pidfd)));
    match opened {
        Ok((found, pidfd)) => (found == Some(id)).then_some(Ok(pidfd)),
        // Not seen is not gone.
        Err(why) => (!matches!(is_gone(id), Ok(true))).then_some(Err(why)),
    }
}

// === impl Kept ===

impl Kept {
    /// Somebody looks after it from now on.
    pub(super) fn adopt(&self, id: ProcessId) {
        self.lock().adopted.insert(id);
    }

    /// Whatever is in this control group is in somebody's books.
    pub(super) fn claim(&self, cgroup: Option<&Path>) {
        self.lock().claimed.extend(cgroup.map(Path::to_owned));
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
