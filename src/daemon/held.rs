//! Which generated socket units must stay away, since we have their port.
//!
//! systemd starts no socket while its service runs, so a port that a reload brings is bound by us
//! and kept in the descriptor store. Its unit, which the next daemon-reload makes, finds a file of
//! its name here (`ConditionPathExists=!`) and is skipped, instead of failing at an address that
//! is in use, until the daemon is stopped or the machine boots again.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use tracing::warn;

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
        if let Err(e) = set(directory, units) {
            warn!(
                "{}: {e}; a socket unit may fail at a port that this daemon has opened itself",
                directory.display()
            );
        }
    }
}

fn set(directory: &Path, units: &BTreeSet<String>) -> io::Result<()> {
    let there = list(directory)?;
    for unit in there.difference(units) {
        fs::remove_file(directory.join(unit))?;
    }
    if !units.is_empty() {
        fs::create_dir_all(directory)?;
    }
    for unit in units.difference(&there) {
        fs::write(directory.join(unit), "")?;
    }
    Ok(())
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
}
