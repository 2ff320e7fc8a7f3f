//! The pages and completions, as a package gets them.
//!
//! | file | what must hold |
//! | --- | --- |
//! | `complete` | nothing is left out: keys, options, commands; the same bytes each time |
//! | `examples` | what an example shows is what the program reads |
//! | `lint` | man, groff and mandoc find nothing; whatis finds the page |
//! | `shells` | bash, zsh and fish take the completions, and offer what there is |
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts test functions, not what they call"
)]

mod complete;
mod examples;
mod lint;
mod shells;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// What was written, in a directory that goes with it.
struct Written {
    directory: tempfile::TempDir,
}

impl Written {
    fn new() -> Self {
        Self::of_day("1782000000")
    }

    /// Of another day, by SOURCE_DATE_EPOCH.
    fn of_day(epoch: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_sleepingd-pages"));
        program.env("SOURCE_DATE_EPOCH", epoch);
        run(program.arg(directory.path()));
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The page's source.
    fn page(&self, name: &str) -> String {
        fs::read_to_string(self.path("man").join(name)).unwrap()
    }

    /// The page as it is read.
    fn read(&self, name: &str) -> String {
        let mut man = Command::new("man");
        man.env("MANWIDTH", "200")
            .env("LC_ALL", "C.UTF-8")
            .arg("-l");
        let output = run(man.arg(self.path("man").join(name)));
        String::from_utf8(output.stdout).unwrap()
    }

    fn pages(&self) -> Vec<PathBuf> {
        files(&self.path("man"))
    }
}

/// Every file below it, in order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What it says, where it succeeds.
#[track_caller]
fn run(command: &mut Command) -> Output {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}; install it, tests/run says how"));
    assert!(output.status.success(), "{program}: {output:?}");
    output
}

fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(name)
}
