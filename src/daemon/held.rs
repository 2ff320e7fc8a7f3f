//! Which generated socket units must stay away, since we have their port.
//!
//! systemd starts no socket while its service runs, so a port that a reload brings is bound by us
//! and kept in the descriptor store. Its unit, which the next daemon-reload makes, finds a file of
//! its name here (`ConditionPathExists=!`) and is skipped, instead of failing at an address that
//! is in use, until the daemon is stopped or the machine boots again.
//!
//! A daemon that was killed while it stopped leaves its files: whoever knows that none runs calls
//! [`forget_held`], or those ports would be the next daemon's own again.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use tracing::warn;

use crate::model::Scope;

/// In the runtime directory.
const DIRECTORY: &str = "held";

/// The directory of these files, where there is a runtime directory.
#[derive(Debug, Default)]
pub(super) struct Held(Option<PathBuf>);

impl Held {
    pub(super) fn in_runtime(runtime: Option<&Path>) -> Self {
        Self(runtime.map(|runtime| runtime.join(DIRECTORY)))
    }

    /// Makes the files those of these units.
    pub(super) fn set(&self, units: &BTreeSet<String>) {
        let Some(directory) = &self.0 else { return };
        for e in set(directory, units) {
            warn!(
                "{}: {e}; a socket unit may fail at a port that this daemon has opened itself, or \
                 stay away from one that it has not",
                directory.display()
            );
        }
    }
}

/// The units whose ports the daemon of this scope has opened itself.
#[must_use]
pub fn held_units(scope: Scope) -> BTreeSet<String> {
    let Some(runtime) = scope.runtime() else {
        return BTreeSet::new();
    };
    // Where they cannot be read nothing is known of them, as where there are none.
    list(&runtime.join(DIRECTORY)).unwrap_or_default()
}

/// Removes the files, for nobody holds anything: no daemon of this scope runs.
pub fn forget_held(scope: Scope) {
    Held::in_runtime(scope.runtime().as_deref()).set(&BTreeSet::new());
}

/// Goes on after an error: each file is for a port of its own.
fn set(directory: &Path, units: &BTreeSet<String>) -> Vec<io::Error> {
    let there = match list(directory) {
        Ok(there) => there,
        Err(e) => return vec![e],
    };
    let removed = there
        .difference(units)
        .map(|unit| fs::remove_file(directory.join(unit)));
    let mut done: Vec<io::Result<()>> = removed.collect();
    if !units.is_empty() {
        done.push(fs::create_dir_all(directory));
    }
    let made = units.difference(&there);
    done.extend(made.map(|unit| fs::write(directory.join(unit), "")));
    done.into_iter().filter_map(Result::err).collect()
}

fn list(directory: &Path) -> io::Result<BTreeSet<String>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(e) => return Err(e),
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_those_of_the_units_that_are_held_now() {
        let runtime = tempfile::tempdir().unwrap();
        let held = Held::in_runtime(Some(runtime.path()));
        let units = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let there = || list(&runtime.path().join(DIRECTORY)).unwrap();
        held.set(&units(&[]));
        assert!(
            !runtime.path().join(DIRECTORY).exists(),
            "nothing, for nothing"
        );
        held.set(&units(&["a", "b"]));
        held.set(&units(&["b", "c"]));
        assert_eq!(there(), units(&["b", "c"]));
        held.set(&units(&[]));
        assert_eq!(there(), units(&[]));
    }

    #[test]
    fn one_that_cannot_be_removed_keeps_no_other_from_it() {
        let runtime = tempfile::tempdir().unwrap();
        let directory = runtime.path().join(DIRECTORY);
        fs::create_dir_all(directory.join("a")).unwrap();
        fs::write(directory.join("b"), "").unwrap();
        let errors = set(&directory, &["c".to_owned()].into());
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(
            list(&directory).unwrap(),
            ["a", "c"].map(str::to_owned).into()
        );
    }
}
