//! Control groups of commands (cgroups(7), version 2): what a command started can be found and
//! killed even if it has left the process group.

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

use nix::{
    errno::Errno,
    sys::signal::Signal,
    unistd::{Pid, getpgid},
};

use super::{fd, process::send_signal};

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
/// How deep groups may be nested below ours: commands may make their own.
const DEEPEST: usize = 16;
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
        // Where systemd uses the hierarchy of version 2, its attribute is there; on a machine
        // booted with version 1 alone, in its own named hierarchy.
        [&UNIFIED, &NAMED]
            .into_iter()
            .filter_map(|hierarchy| group_in(hierarchy, &cgroups, &mounts))
            .map(of_unit)
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
        [&UNIFIED, &NAMED]
            .into_iter()
            .filter_map(|hierarchy| group_in(hierarchy, &cgroups, &mounts))
            .find_map(|group| self.ours_above(&group))
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

fn is_empty(group: &Path) -> bool {
    match fs::read_to_string(group.join("cgroup.events")) {
        Ok(events) => events.lines().any(|line| line == "populated 0"),
        Err(_) => true,
    }
}

/// Removes a group and those below it, the deepest first; one that is in use stays, with what is
/// below it, empty or not: a backend may have made it for later.
fn remove(path: &Path, depth: usize) -> io::Result<()> {
    if !is_empty(path) {
        return Err(Errno::EBUSY.into());
    }
    if depth > 0 {
        for child in children(path)? {
            remove(&child, depth - 1)?;
        }
    }
    // Not remove_dir_all: the files in it are the kernel's, and go with the directory.
    fs::remove_dir(path)
}

fn processes(path: &Path, depth: usize) -> io::Result<Vec<Pid>> {
    let Some(mut all) = own_processes(path)? else {
        return Ok(Vec::new());
    };
    if depth > 0 {
        for child in children(path)? {
            all.extend(processes(&child, depth - 1)?);
        }
    }
    Ok(all)
}

/// `None`: the group is gone.
fn own_processes(path: &Path) -> io::Result<Option<Vec<Pid>>> {
    let processes = match fs::read_to_string(path.join("cgroup.procs")) {
        Ok(processes) => processes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let numbers = processes.lines().filter_map(|line| line.parse().ok());
    // 0 stands for a process outside our pid namespace, and would mean ourselves.
    let known = numbers.filter(|pid| *pid > 0);
    Ok(Some(known.map(Pid::from_raw).collect()))
}

fn signal_all(path: &Path, number: i32, except: Option<Pid>, depth: usize) -> io::Result<()> {
    let Some(own) = own_processes(path)? else {
        return Ok(());
    };
    for pid in own {
        if except.is_some() && getpgid(Some(pid)).ok() == except {
            continue;
        }
        // One that is gone meanwhile is no error.
        send_signal(pid, number)?;
    }
    if depth > 0 {
        for child in children(path)? {
            signal_all(&child, number, except, depth - 1)?;
        }
    }
    Ok(())
}

fn children(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

// === where we are ===

/// systemd runs the other commands of a unit (ExecStopPost=) in a group of their own below the
/// unit's, where that is delegated.
fn of_unit(group: PathBuf) -> PathBuf {
    if group.file_name().is_some_and(|name| name == ".control") {
        group.parent().map(Path::to_owned).unwrap_or(group)
    } else {
        group
    }
}

/// One of systemd's hierarchies, as /proc/self/cgroup and /proc/self/mountinfo name it.
struct Hierarchy {
    /// What its line in the one begins with, after its number.
    line: &'static str,
    /// Its file system in the other.
    kind: &'static str,
    /// An option of the mount.
    option: &'static str,
}

const UNIFIED: Hierarchy = Hierarchy {
    line: ":",
    kind: "cgroup2",
    option: "",
};

const NAMED: Hierarchy = Hierarchy {
    line: "name=systemd:",
    kind: "cgroup",
    option: "name=systemd",
};

/// The directory of a process's group in a hierarchy; `cgroups` is its /proc/PID/cgroup.
fn group_in(hierarchy: &Hierarchy, cgroups: &str, mounts: &str) -> Option<PathBuf> {
    let own = cgroups
        .lines()
        .find_map(|line| line.split_once(':')?.1.strip_prefix(hierarchy.line))?;
    mounts.lines().find_map(|line| {
        // proc_pid_mountinfo(5): 36 35 98:0 ROOT MOUNTPOINT OPTIONS [FIELDS...] - TYPE ...
        let (before, after) = line.split_once(" - ")?;
        let mut kind = after.split(' ');
        let options = kind.clone().next_back()?;
        let option = hierarchy.option;
        let has_option = option.is_empty() || options.split(',').any(|one| one == option);
        if kind.next() != Some(hierarchy.kind) || !has_option {
            return None;
        }
        let mut fields = before.split(' ').skip(3);
        let root = unescape(fields.next()?);
        let mount_point = unescape(fields.next()?);
        // Where a part of the tree is mounted, as in containers, our path begins with that part.
        let relative = Path::new(own).strip_prefix(&root).ok()?;
        Some(Path::new(&mount_point).join(relative))
    })
}

/// mountinfo writes space, tab, newline and backslash as octal `\NNN`.
fn unescape(field: &str) -> String {
    [
        (r"\040", " "),
        (r"\011", "\t"),
        (r"\012", "\n"),
        (r"\134", r"\"),
    ]
    .iter()
    .fold(field.to_owned(), |text, (code, plain)| {
        text.replace(code, plain)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURE: &str = "25 30 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn our_group_is_found_in_every_arrangement() {
        let shown = |path: PathBuf| path.display().to_string();
        let find = |own: &str, mounts: &str| group_in(&UNIFIED, own, mounts).map(shown);
        let named = |own: &str, mounts: &str| group_in(&NAMED, own, mounts).map(shown);
        assert_eq!(
            named("1:name=systemd:/system.slice/a.service\n0::/\n", HYBRID).as_deref(),
            Some("/sys/fs/cgroup/systemd/system.slice/a.service")
        );
        assert_eq!(named("0::/a.service\n", PURE), None);
        assert_eq!(
            find("0::/system.slice/sleepingd.service\n", PURE).as_deref(),
            Some("/sys/fs/cgroup/system.slice/sleepingd.service")
        );
        assert_eq!(
            find("1:name=systemd:/x\n0::/system.slice/a.service\n", HYBRID).as_deref(),
            Some("/sys/fs/cgroup/unified/system.slice/a.service")
        );
        let part = "25 30 0:23 /docker/1 /sys/fs/my\\040cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(
            find("0::/docker/1/a\n", part).as_deref(),
            Some("/sys/fs/my cgroup/a")
        );
        assert_eq!(find("0::/elsewhere\n", part), None);
        assert_eq!(find("9:name=systemd:/\n", HYBRID), None);
        assert_eq!(
            find(
                "0::/\n",
                "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
            ),
            None
        );
    }

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
