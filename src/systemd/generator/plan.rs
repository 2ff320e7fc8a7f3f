//! What a changed configuration means for the sockets that are there.

use std::collections::BTreeSet;

/// What `systemctl show` is asked for with [`Plan::new`].
pub const PROPERTIES: &str = "--property=Id,LoadState,ActiveState,FragmentPath";

/// Which units it is asked about.
pub const PATTERN: &str = "sleepingd-*.socket";

/// Which generated sockets are to be opened, closed, and left alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the configuration, and not open.
    pub new: BTreeSet<String>,
    /// Open, and in the configuration no more.
    pub stale: BTreeSet<String>,
    /// In both.
    pub unchanged: BTreeSet<String>,
}

/// A unit, as `systemctl show` says it.
#[derive(Debug, Default)]
struct Seen<'a> {
    id: &'a str,
    load: &'a str,
    active: &'a str,
    path: &'a str,
}

impl Plan {
    /// `wanted` are the units of the configuration; `shown` is what `systemctl show` prints of
    /// those that systemd knows: blocks of `PROPERTY=VALUE`, with a blank line between them.
    #[must_use]
    pub fn new(wanted: &BTreeSet<String>, shown: &str) -> Self {
        let units: Vec<Seen<'_>> = shown.split("\n\n").map(Seen::read).collect();
        let active = || units.iter().filter(|unit| unit.active == "active");
        let is_wanted = |unit: &&Seen<'_>| wanted.contains(unit.id);
        let ids = |unit: &Seen<'_>| unit.id.to_owned();
        let unchanged: BTreeSet<String> = active().filter(is_wanted).map(ids).collect();
        Self {
            new: wanted.difference(&unchanged).cloned().collect(),
            stale: active()
                .filter(|unit| !is_wanted(unit) && unit.is_generated())
                .map(ids)
                .collect(),
            unchanged,
        }
    }

    /// Whether systemd has any of our sockets open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.stale.is_empty() || !self.unchanged.is_empty()
    }
}

impl<'a> Seen<'a> {
    fn read(block: &'a str) -> Self {
        let mut seen = Self::default();
        for line in block.lines() {
            match line.split_once('=') {
                Some(("Id", id)) => seen.id = id,
                Some(("LoadState", load)) => seen.load = load,
                Some(("ActiveState", active)) => seen.active = active,
                Some(("FragmentPath", path)) => seen.path = path,
                _ => {}
            }
        }
        seen
    }

    /// A generator made it, and may have made it no more; not the administrator by hand.
    fn is_generated(&self) -> bool {
        self.load == "not-found" || self.path.contains("/generator/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(units: &[[&str; 4]]) -> String {
        let block = |[id, load, active, path]: &[&str; 4]| {
            format!("Id={id}\nLoadState={load}\nActiveState={active}\nFragmentPath={path}\n")
        };
        units.iter().map(block).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_is_open_and_gone_from_the_files_is_stale() {
        let wanted = ["a", "b"].map(str::to_owned).into();
        let here = "/run/systemd/generator/x";
        let seen = shown(&[
            ["a", "loaded", "active", here],
            ["b", "loaded", "inactive", here],
            ["gone", "not-found", "active", ""],
            ["before-the-reload", "loaded", "active", here],
            ["never-open", "not-found", "inactive", ""],
            ["by-hand", "loaded", "active", "/etc/systemd/system/by-hand"],
        ]);
        let plan = Plan::new(&wanted, &seen);
        let of = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
        assert_eq!(of(&plan.new), ["b"]);
        assert_eq!(of(&plan.stale), ["before-the-reload", "gone"]);
        assert_eq!(of(&plan.unchanged), ["a"]);
        assert!(plan.is_open());
        assert!(!Plan::new(&wanted, "").is_open());
    }
}
