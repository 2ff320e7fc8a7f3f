//! Where the control group of a process is in the file system.

use std::path::{Path, PathBuf};

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

/// systemd runs the other commands of a unit (ExecStopPost=) in a group of their own below the
/// unit's, where that is delegated.
pub(super) fn of_unit(group: PathBuf) -> PathBuf {
    if group.file_name().is_some_and(|name| name == ".control") {
        group.parent().map(Path::to_owned).unwrap_or(group)
    } else {
        group
    }
}

/// The directories of a process's groups; `cgroups` is its /proc/PID/cgroup, `mounts` our
/// /proc/self/mountinfo.
///
/// Where systemd uses the hierarchy of version 2, its attributes are there; on a machine booted
/// with version 1 alone, in its own named hierarchy.
pub(super) fn groups(cgroups: &str, mounts: &str) -> impl Iterator<Item = PathBuf> {
    [&UNIFIED, &NAMED]
        .into_iter()
        .filter_map(move |hierarchy| group_in(hierarchy, cgroups, mounts))
}

/// The same in one hierarchy.
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
}
