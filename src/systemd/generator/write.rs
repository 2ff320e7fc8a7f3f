//! Units as files and links, where systemd looks for what generators make.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::unit::Unit;

/// Who wants the sockets: the service, so that `enable` and `start` of it open them, and the
/// target, for a machine that starts the daemon with the first client only.
const WANTED_BY: [&str; 2] = ["sleepingd.service", "sleepingd-sockets.target"];

/// Something could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct WriteError {
    /// What.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// Writes the units below `directory` (the first argument of a generator, systemd.generator(7)),
/// and has the service want them. What is there already is replaced.
///
/// # Errors
/// Each unit that could not be written; the others are.
pub fn write(directory: &Path, units: &[Unit]) -> Result<(), Vec<WriteError>> {
    let mut errors = Vec::new();
    for unit in units {
        if let Err(error) = write_one(directory, unit) {
            errors.push(error);
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

fn write_one(directory: &Path, unit: &Unit) -> Result<(), WriteError> {
    let path = directory.join(&unit.name);
    fs::write(&path, &unit.text).map_err(|source| WriteError { path, source })?;
    for wanted_by in WANTED_BY {
        let wants = directory.join(format!("{wanted_by}.wants"));
        let path = wants.join(&unit.name);
        link(&wants, &path, &unit.name).map_err(|source| WriteError { path, source })?;
    }
    Ok(())
}

fn link(directory: &Path, path: &Path, name: &str) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    match symlink(format!("../{name}"), path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}
