//! Where the files of a daemon are: the machine's, or a user's.

use std::{env, path::PathBuf};

use super::startup::runtime_directory;
use crate::{config, model::Scope};

/// In the runtime directory.
pub(super) const CONTROL: &str = "control.sock";

impl Scope {
    /// What `--user` says.
    #[must_use]
    pub fn of(user: bool) -> Self {
        if user { Self::User } else { Self::System }
    }

    /// Where a generator is run for (systemd.generator(7): SYSTEMD_SCOPE, since 251).
    #[must_use]
    pub fn of_generator() -> Self {
        Self::of(env::var_os("SYSTEMD_SCOPE").is_some_and(|scope| scope == "user"))
    }

    /// The directory of the configuration. `None` where the user has no home.
    #[must_use]
    pub fn configuration(self) -> Option<PathBuf> {
        match self {
            Self::System => Some(PathBuf::from(config::BASE_DIRECTORY)),
            Self::User => absolute("XDG_CONFIG_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".config")))
                .map(|configuration| configuration.join("sleepingd")),
        }
    }

    /// The runtime directory. `None` where the user has none.
    #[must_use]
    pub fn runtime(self) -> Option<PathBuf> {
        match self {
            Self::System => Some(PathBuf::from("/run/sleepingd")),
            Self::User => absolute("XDG_RUNTIME_DIR").map(|runtime| runtime.join("sleepingd")),
        }
    }

    /// The control socket of the daemon that this manager starts.
    #[must_use]
    pub fn control_socket_of_manager(self) -> Option<PathBuf> {
        self.runtime().map(|runtime| runtime.join(CONTROL))
    }

    /// The control socket to talk to: a user's own; else that of the daemon which this user runs,
    /// if one does; else the machine's.
    #[must_use]
    pub fn control_socket(self) -> Option<PathBuf> {
        if self == Self::User {
            return self.control_socket_of_manager();
        }
        let own = runtime_directory().map(|runtime| runtime.join(CONTROL));
        own.filter(|path| path.exists())
            .or_else(|| self.control_socket_of_manager())
    }
}

/// A relative path is to be ignored (XDG Base Directory Specification).
fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}
