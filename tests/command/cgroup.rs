//! Control groups of our own.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A control group for tests, where this machine lets us have one.
pub struct TestCgroup(pub PathBuf);

impl TestCgroup {
    pub fn new(name: &str) -> Option<Self> {
        for root in ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"] {
            let path =
                Path::new(root).join(format!("sleepingd-test-{}-{name}", std::process::id()));
            let version_2 = Path::new(root).join("cgroup.procs").exists();
            if version_2 && fs::create_dir(&path).is_ok() {
                return Some(Self(path));
            }
        }
        eprintln!("skipped: no control group can be made here");
        None
    }

    pub fn groups(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        entries.filter(|path| path.is_dir()).collect()
    }
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        // Killed is not yet gone, and only what is empty can be removed.
        for _ in 0..100_000 {
            let events = fs::read_to_string(self.0.join("cgroup.events")).unwrap_or_default();
            if !events.contains("populated 1") {
                break;
            }
            std::thread::yield_now();
        }
        for group in self.groups() {
            let _ = fs::remove_dir(group);
        }
        let _ = fs::remove_dir(&self.0);
    }
}
