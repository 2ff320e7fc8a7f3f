//! Control groups of commands (cgroups(7), version 2): what a command started can be found and
//! killed even if it has left the process group.
//!
//! | file | the idea in it |
//! | --- | --- |
//! | `mod` | the daemon's group, and in it one for each command |
//! | `tree` | a group with what is below it: found empty, removed, signalled |
//! | `hierarchy` | where the group of a process is in the file system |

mod hierarchy;
mod tree;

use std::{
    collections::HashSet,
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use nix::{sys::signal::Signal, unistd::Pid};

use self::tree::{DEEPEST, is_empty, processes, remove, signal_all};
use super::fd;

/// The control group under which commands get one each. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CgroupParent {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    next: AtomicU64,
    /// The groups that somebody still holds: a sweep leaves them, since one that is empty may be
    /// about to be entered.
    held: Mutex<HashSet<PathBuf>>,
}

/// One command's control group. Dropped, it is removed if nothing runs in it; else it stays, with
/// what runs in it, until a [`CgroupParent::sweep`] finds it empty.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    parent: Arc<Inner>,
}

/// How every group of ours begins.
const PREFIX: &str = "cmd-";
/// How many numbers are tried for a free name.
const NAME_TRIES: usize = 100_000;
/// How much of a label goes into a name; NAME_MAX is 255.
pub const LABEL_MAX: usize = 200;

// === impl CgroupParent ===

impl CgroupParent {
    /// The daemon's own control group, if it was delegated to the daemon (`Delegate=yes`), which
    /// systemd says by an extended attribute. Elsewhere another manager's processes may be in it,
    /// and nothing is ours to change: `None`, as where there is no cgroup version 2 at all.
    #[must_use]
    pub fn delegated() -> Option<Self> {
        let cgroups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        let ours = |path: &PathBuf| {
            ["trusted.delegate", "user.delegate"]
                .iter()
                .any(|name| matches!(fd::xattr(path, name), Ok(Some(value)) if value == b"1"))
        };
        hierarchy::groups(&cgroups, &mounts)
            .map(hierarchy::of_unit)
            .find(ours)
            .map(Self::at)
    }

    /// The group of this path, delegated or not.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let inner = Inner {
            path: path.into(),
            next: AtomicU64::new(0),
            held: Mutex::new(HashSet::new()),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Makes a group `cmd-LABEL-N`, with the next N that is free.
    ///
    /// # Errors
    /// As mkdir(2).
    pub fn create(&self, label: &str) -> io::Result<Cgroup> {
        let label = label.get(..LABEL_MAX).unwrap_or(label);
        for _ in 0..NAME_TRIES {
            let number = self.inner.next.fetch_add(1, Ordering::Relaxed);
            let path = self.inner.path.join(format!("{PREFIX}{label}-{number}"));
            // One lock over both: a sweep never sees the group before it is held.
            let mut held = self.inner.held();
            match fs::create_dir(&path) {
                Ok(()) => {
                    held.insert(path.clone());
                    return Ok(Cgroup {
                        path,
                        parent: Arc::clone(&self.inner),
                    });
                }
                // A backend that an earlier daemon woke still runs in it.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// A group that a former daemon made, and that may have something in it. `None` where the path
    /// is that of no group of ours, or it is gone.
    #[must_use]
    pub fn find(&self, path: &Path) -> Option<Cgroup> {
        let name = path.file_name()?.to_str()?;
        if path.parent() != Some(&self.inner.path) || !name.starts_with(PREFIX) || !path.is_dir() {
            return None;
        }
        self.inner.held().insert(path.to_owned());
        Some(Cgroup {
            path: path.to_owned(),
            parent: Arc::clone(&self.inner),
        })
    }

    /// The groups of ours that something lives in and nobody holds, with their names.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn left_behind(&self) -> io::Result<Vec<(String, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.inner.path)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            let ours = name.starts_with(PREFIX) && !self.inner.held().contains(&path);
            if ours && !is_empty(&path) {
                found.push((name, path));
            }
        }
        Ok(found)
    }

    /// The group of ours that this process is in, or in one below it. Its number must be its own
    /// until the answer is there: the caller asks its pidfd afterwards.
    #[must_use]
    pub fn group_of(&self, process: Pid) -> Option<PathBuf> {
        let cgroups = fs::read_to_string(format!("/proc/{process}/cgroup")).ok()?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
        hierarchy::groups(&cgroups, &mounts).find_map(|group| self.ours_above(&group))
    }

    /// The command's group that this one is, or lies in.
    fn ours_above(&self, group: &Path) -> Option<PathBuf> {
        let below = group.strip_prefix(&self.inner.path).ok()?;
        let name = below.components().next()?.as_os_str();
        let is_ours = name.to_str()?.starts_with(PREFIX);
        is_ours.then(|| self.inner.path.join(name))
    }

    /// Removes the groups of commands that are empty, those of an earlier daemon too; gives how
    /// many.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn sweep(&self) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.inner.path)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
                continue;
            }
            let path = entry.path();
            let held = self.inner.held();
            // One that is in use says EBUSY and stays.
            if !held.contains(&path) && remove(&path, DEEPEST).is_ok() {
                removed += 1;
            }
        }
        Ok(removed)
    }
}

impl Inner {
    fn held(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        // A set is sound at every moment, whoever panicked.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Cgroup ===

impl Cgroup {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file through which a process enters: it writes `0`.
    ///
    /// # Errors
    /// As open(2).
    pub fn entrance(&self) -> io::Result<OwnedFd> {
        Ok(fs::OpenOptions::new()
            .write(true)
            .open(self.path.join("cgroup.procs"))?
            .into())
    }

    /// Whether no process lives in it, or below. One that cannot be read any more is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        is_empty(&self.path)
    }

    /// Sends a signal to every process in it, and below, but for those of the process group
    /// `except`, which has got it already.
    ///
    /// As systemd's, it goes by process id: one that ends in the microseconds between the list
    /// and the signal, and whose id is taken at once, would be wrongly hit.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn signal(&self, number: i32, except: Option<Pid>) -> io::Result<()> {
        signal_all(&self.path, number, except, DEEPEST)
    }

    /// The processes in it, and below.
    ///
    /// # Errors
    /// When a list cannot be read.
    pub fn processes(&self) -> io::Result<Vec<Pid>> {
        processes(&self.path, DEEPEST)
    }

    /// Kills everything in it, and below. Processes may still be on their way out afterwards: see
    /// [`Self::is_empty`]. Where the kernel cannot do it at once (before 5.14), one pass goes
    /// through the list: repeat until it is empty, against those that fork meanwhile.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub fn kill(&self) -> io::Result<()> {
        match fs::write(self.path.join("cgroup.kill"), "1") {
            Ok(()) => Ok(()),
            Err(_) => self.signal(Signal::SIGKILL as i32, None),
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let mut held = self.parent.held();
        held.remove(&self.path);
        // EBUSY: the backend runs on in it. A sweep removes it later.
        let _ = remove(&self.path, DEEPEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_in_a_group_of_ours_however_deep_and_in_no_other() {
        let parent = CgroupParent::at("/sys/fs/cgroup/a.service");
        let ours = |group: &str| parent.ours_above(Path::new(group));
        let own = PathBuf::from("/sys/fs/cgroup/a.service/cmd-web-command-1");
        for inner in ["", "/inner", "/inner/most"] {
            assert_eq!(
                ours(&format!("{}{inner}", own.display())),
                Some(own.clone())
            );
        }
        for other in ["", "/other", "/other/cmd-web-command-1"] {
            assert_eq!(ours(&format!("/sys/fs/cgroup/a.service{other}")), None);
        }
        assert_eq!(ours("/sys/fs/cgroup/b.service/cmd-web-command-1"), None);
        assert_eq!(parent.group_of(Pid::this()), None);
    }

    #[test]
    fn a_sweep_removes_what_is_empty_and_nobodys() {
        // Plain directories: mkdir and rmdir are all that this needs.
        let home = tempfile::tempdir().unwrap();
        let parent = CgroupParent::at(home.path());
        fs::create_dir(home.path().join("cmd-web-start-0")).unwrap();
        fs::create_dir_all(home.path().join("cmd-web-start-1/inner")).unwrap();
        fs::create_dir(home.path().join("other")).unwrap();
        let held = parent.create("web-start").unwrap();
        assert_eq!(held.path(), home.path().join("cmd-web-start-2"));
        assert_eq!(parent.sweep().unwrap(), 2);
        assert!(held.path().exists());
        assert!(home.path().join("other").exists());
        let path = held.path().to_owned();
        assert!(parent.find(&home.path().join("other")).is_none());
        assert!(parent.find(&home.path().join("cmd-gone")).is_none());
        assert!(parent.find(Path::new("/tmp")).is_none());
        assert_eq!(parent.find(&path).unwrap().path(), path);
        fs::create_dir_all(&path).unwrap();
        drop(held);
        assert!(!path.exists());
    }
}
