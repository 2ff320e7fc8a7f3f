//! The programs of rivals, as the system's packages install them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A program that a candidate needs.
#[derive(Debug)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// What it calls itself.
    pub version: String,
}

/// It is not installed.
#[derive(Debug, thiserror::Error)]
#[error("{what} is not installed; apt-get install {package}")]
pub struct Missing {
    /// What is.
    pub what: &'static str,
    /// Where it comes from.
    pub package: &'static str,
}

// === impl Program ===

impl Program {
    /// Finds one in the first of these places that has it, and asks it for its version.
    pub(super) fn find(
        name: &'static str,
        places: &[&str],
        version: &str,
        package: &'static str,
    ) -> Result<Self, Missing> {
        let path = places
            .iter()
            .map(|place| Path::new(place).join(name))
            .find(|path| path.is_file())
            .ok_or(Missing {
                what: name,
                package,
            })?;
        let mut program = Self {
            path,
            version: String::new(),
        };
        let said = program.says(version);
        let line = said.lines().find(|line| line.contains("ersion"));
        let line = line.or(said.lines().next()).unwrap_or("unknown");
        line.trim().clone_into(&mut program.version);
        Ok(program)
    }

    /// What it says to this argument, to whichever output; nothing, if it cannot be run.
    pub(super) fn says(&self, argument: &str) -> String {
        Command::new(&self.path)
            .arg(argument)
            .stdin(Stdio::null())
            .output()
            .map(|output| {
                let both = [output.stdout, output.stderr].concat();
                String::from_utf8_lossy(&both).into_owned()
            })
            .unwrap_or_default()
    }
}
