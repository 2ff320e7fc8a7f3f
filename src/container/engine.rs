//! Running docker or podman.

use std::{
    env,
    io::Read,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use super::{ContainerError, inspect::Inspected};
use crate::model::{ContainerRef, Engine};

/// More than is ever said of one container; the rest is not read.
const ANSWER_LIMIT: u64 = 4 * 1024 * 1024;

/// An engine whose command there is, or was asked for by name.
#[derive(Debug, Clone, Copy)]
pub(super) struct Installed(Engine);

impl Installed {
    /// The one that is asked for, else the first that is in PATH.
    pub(super) fn of(engine: Option<Engine>) -> Result<Self, ContainerError> {
        if let Some(engine) = engine {
            return Ok(Self(engine));
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let there = |engine: &Engine| {
            env::split_paths(&path).any(|directory| is_program(&directory, engine.command()))
        };
        let found = Engine::ALL.into_iter().find(there);
        found
            .map(Self)
            .ok_or_else(|| ContainerError::NoEngine(path.to_string_lossy().into_owned()))
    }

    /// Does something to a container. What the engine prints, its name, says nothing.
    pub(super) fn run(self, verb: &str, container: &ContainerRef) -> Result<(), ContainerError> {
        let words = [verb, "--", &container.name];
        let mut child = self.spawn(&words, Stdio::null())?;
        let status = child.wait().map_err(|source| self.not_run(source))?;
        self.succeeded(&words, status)
    }

    /// What it says of a container.
    pub(super) fn inspect(self, container: &ContainerRef) -> Result<Inspected, ContainerError> {
        let words = ["container", "inspect", "--", &container.name];
        let mut child = self.spawn(&words, Stdio::piped())?;
        let mut answer = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            // The end of the pipe is closed with it, so that no longer answer can keep the engine.
            let read = stdout.take(ANSWER_LIMIT).read_to_end(&mut answer);
            read.map_err(|source| self.not_run(source))?;
        }
        let status = child.wait().map_err(|source| self.not_run(source))?;
        self.succeeded(&words, status)?;
        Inspected::read(&answer).map_err(|why| ContainerError::Odd {
            command: self.shown(&words),
            why,
        })
    }

    fn spawn(self, words: &[&str], stdout: Stdio) -> Result<Child, ContainerError> {
        Command::new(self.0.command())
            .args(words)
            .stdin(Stdio::null())
            .stdout(stdout)
            .spawn()
            .map_err(|source| self.not_run(source))
    }

    fn succeeded(self, words: &[&str], status: ExitStatus) -> Result<(), ContainerError> {
        if status.success() {
            return Ok(());
        }
        Err(ContainerError::Failed {
            command: self.shown(words),
            status,
        })
    }

    fn not_run(self, source: std::io::Error) -> ContainerError {
        ContainerError::Run {
            command: self.0.command(),
            source,
        }
    }

    fn shown(self, words: &[&str]) -> String {
        format!("{} {}", self.0, words.join(" "))
    }
}

fn is_program(directory: &Path, name: &str) -> bool {
    let path = directory.join(name);
    nix::unistd::access(&path, nix::unistd::AccessFlags::X_OK).is_ok() && path.is_file()
}
