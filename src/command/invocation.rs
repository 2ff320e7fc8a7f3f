//! How a command is executed: as a program, by a shell, or by this very program.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use tokio::process::Command;

use super::error::SpawnError;
use crate::model::{CommandRequest, Execution};

/// SHELL, where the recipe says none.
const DEFAULT_SHELL: &str = "/bin/bash";
/// This very program, even after an upgrade has replaced its file, and for a user that may not
/// read the directory it is in.
const OURSELVES: &str = "/proc/self/exe";

/// How a command is executed.
#[derive(Debug)]
pub(super) enum Invocation {
    Direct(PathBuf, Vec<OsString>),
    Shell(PathBuf, String),
    /// This very program.
    Ourselves(Vec<OsString>),
}

// === impl Invocation ===

impl Invocation {
    pub(super) fn of(request: &CommandRequest) -> Self {
        match request.command.execution() {
            Execution::Program(words) => {
                let mut words = words.into_iter().map(OsString::from);
                let program = words.next().map(PathBuf::from).unwrap_or_default();
                Self::Direct(program, words.collect())
            }
            Execution::Ourselves(arguments) => {
                Self::Ourselves(arguments.into_iter().map(OsString::from).collect())
            }
            Execution::Shell(text) => {
                let said = &request.recipe.shell;
                let none = said.as_os_str().is_empty();
                let shell = if none { Path::new(DEFAULT_SHELL) } else { said };
                Self::Shell(shell.to_owned(), text.to_owned())
            }
        }
    }

    /// The same by a shell, if it is without one: as shells do with scripts that have no `#!` line.
    pub(super) fn by_shell(&self) -> Option<Self> {
        let Self::Direct(program, arguments) = self else {
            return None;
        };
        // What has no shell character in it means the same to a shell.
        let mut text = program.clone().into_os_string();
        for argument in arguments {
            text.push(" ");
            text.push(argument);
        }
        let text = text.to_string_lossy().into_owned();
        Some(Self::Shell(PathBuf::from(DEFAULT_SHELL), text))
    }

    pub(super) fn command(&self) -> Command {
        match self {
            Self::Direct(program, arguments) => {
                let mut command = Command::new(program);
                command.args(arguments);
                command
            }
            Self::Shell(shell, text) => {
                let mut command = Command::new(shell);
                command.arg("-c").arg(text);
                command
            }
            Self::Ourselves(arguments) => {
                let mut command = Command::new(OURSELVES);
                command.arg0(env!("CARGO_PKG_NAME")).args(arguments);
                command
            }
        }
    }

    /// Why execve(2) refused: in the words that a shell has for its statuses 126 and 127.
    pub(super) fn explain(&self, source: io::Error) -> SpawnError {
        match self {
            Self::Shell(shell, _) => SpawnError::Shell {
                shell: shell.clone(),
                source,
            },
            Self::Ourselves(_) => SpawnError::Program {
                program: PathBuf::from(OURSELVES),
                why: source.to_string(),
            },
            Self::Direct(program, _) => {
                let why = match source.kind() {
                    // The same errno for a script whose interpreter is missing.
                    io::ErrorKind::NotFound if program.is_absolute() && program.exists() => {
                        "the interpreter that it asks for does not exist".to_owned()
                    }
                    io::ErrorKind::NotFound => "command not found".to_owned(),
                    io::ErrorKind::PermissionDenied => {
                        "command not executable, or not for this user".to_owned()
                    }
                    _ => source.to_string(),
                };
                SpawnError::Program {
                    program: program.clone(),
                    why,
                }
            }
        }
    }
}
