//! What a changed configuration means for the sockets that are there.

use std::collections::BTreeSet;

use super::name::is_generated;

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

impl Plan {
    /// `wanted` are the units of the configuration. `listed` is what `systemctl list-units --all
    /// --plain --no-legend` prints: `UNIT LOAD ACTIVE SUB DESCRIPTION`.
    #[must_use]
    pub fn new(wanted: &BTreeSet<String>, listed: &str) -> Self {
        let active: BTreeSet<String> = listed.lines().filter_map(active_socket).collect();
        Self {
            new: wanted.difference(&active).cloned().collect(),
            stale: active.difference(wanted).cloned().collect(),
            unchanged: active.intersection(wanted).cloned().collect(),
        }
    }

    /// Whether systemd has any of our sockets open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.stale.is_empty() || !self.unchanged.is_empty()
    }
}

/// The unit, if it is a generated socket that systemd has open.
fn active_socket(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let unit = words.next().filter(|unit| is_generated(unit))?;
    (words.nth(1) == Some("active")).then(|| unit.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_and_gone_from_the_files_is_stale() {
        let wanted = ["sleepingd-a:1.socket", "sleepingd-b:2.socket"];
        let wanted = wanted.map(str::to_owned).into();
        let listed = "\
            sleepingd-a:1.socket loaded active running sleepingd listener *:1 of a\n\
            sleepingd-b:2.socket loaded inactive dead sleepingd listener *:2 of b\n\
            sleepingd-c:3.socket not-found active listening sleepingd-c:3.socket\n\
            sleepingd-d:4.socket not-found failed failed sleepingd-d:4.socket\n\
            sleepingd-example.socket loaded active running by hand\n";
        let plan = Plan::new(&wanted, listed);
        let of = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
        assert_eq!(of(&plan.new), ["sleepingd-b:2.socket"]);
        assert_eq!(of(&plan.stale), ["sleepingd-c:3.socket"]);
        assert_eq!(of(&plan.unchanged), ["sleepingd-a:1.socket"]);
        assert!(plan.is_open());
        assert!(!Plan::new(&wanted, "").is_open());
    }
}
