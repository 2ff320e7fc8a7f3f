//! COMMANDs that the daemon which started them could not write down any more.

use std::{collections::HashSet, path::PathBuf};

use super::{FoundBackend, identity};
use crate::{
    command::{Runner, cgroup_label::is_of_command},
    model::BackendProcess,
    sys::{cgroup::Cgroup, process::PidFd},
};

impl Runner {
    /// Those that live in control groups of ours, but for these and for what this daemon has
    /// started itself.
    pub(super) fn strays(&self, claimed: &HashSet<PathBuf>) -> Vec<(String, FoundBackend)> {
        let Some(parent) = &self.inner.cgroups else {
            return Vec::new();
        };
        let groups = parent.left_behind().unwrap_or_else(|why| {
            tracing::warn!("COMMANDs that are in nobody's books cannot be looked for: {why}");
            Vec::new()
        });
        let unknown = groups
            .into_iter()
            .filter(|(name, path)| is_of_command(name) && !claimed.contains(path));
        unknown
            .filter_map(|(name, path)| Some((name, in_group(&parent.find(&path)?)?)))
            .collect()
    }
}

/// The first that was there is the main process, or what is left of that; the others are found by
/// their group. `None`: nothing is left.
fn in_group(group: &Cgroup) -> Option<FoundBackend> {
    // What cannot be seen now runs on until the next start, and is no worse for it.
    let all = group.processes().unwrap_or_default().into_iter();
    let seen = all.filter_map(|pid| {
        let pidfd = PidFd::open(pid).ok()?;
        let id = identity(&pidfd).ok()??;
        Some((id, pidfd))
    });
    let (id, pidfd) = seen.min_by_key(|(id, _)| (id.started, id.pid))?;
    let cgroup = Some(group.path().to_owned());
    Some(FoundBackend {
        process: BackendProcess { id, cgroup },
        pidfd: Ok(pidfd),
        name: None,
    })
}
