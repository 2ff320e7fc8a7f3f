//! What a command finds in its environment: nothing of the daemon's but PATH and LANG, and where
//! the user's own managers are.

use std::{
    ffi::{OsStr, OsString},
    fmt::Write as _,
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use super::env_file;
use crate::{
    model::{ClientAddr, CommandRequest, LocalAddr},
    sys::user::{Identity, Person},
};

/// PATH, where the daemon has none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where a user's systemd, its bus and its containers are found. They are one user's: a command
/// that runs as another must not have them.
const OF_THE_USER: [&str; 2] = ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];

/// Names and values; of two with one name, the later counts.
#[derive(Debug, Default)]
pub(super) struct Variables {
    pub(super) set: Vec<(OsString, OsString)>,
    /// Lines of environment files that set nothing: the file and the line's name.
    pub(super) refused: Vec<(PathBuf, String)>,
}

/// An ENVIRONMENT_FILE that must be there is not, or cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("ENVIRONMENT_FILE '{}' cannot be read: {source}; write -{} if it may be missing", .path.display(), .path.display())]
pub(super) struct EnvironmentFileError {
    path: PathBuf,
    source: io::Error,
}

/// The environment, in this order: what of the daemon's is passed on (all of it to what a person
/// has started by us); the user's; ENVIRONMENT;
/// ENVIRONMENT_FILE; and what we say of the request, which nothing overrides. Reads files, so call
/// it off the runtime's thread.
pub(super) fn variables(
    request: &CommandRequest,
    identity: &Identity,
) -> Result<Variables, EnvironmentFileError> {
    let mut all = Variables::default();
    if request.recipe.attached {
        // What was for us alone has been taken out of it.
        let for_it = |(name, _): &(OsString, OsString)| {
            identity.switch.is_none() || OF_THE_USER.iter().all(|one| name != one)
        };
        all.set.extend(std::env::vars_os().filter(for_it));
    }
    let path = std::env::var_os("PATH").filter(|path| !path.is_empty());
    all.set("PATH", path.unwrap_or_else(|| DEFAULT_PATH.into()));
    if let Some(lang) = std::env::var_os("LANG") {
        all.set("LANG", lang);
    }
    if identity.switch.is_none() {
        for name in OF_THE_USER {
            if let Some(value) = std::env::var_os(name) {
                all.set(name, value);
            }
        }
    }
    if !request.recipe.attached || identity.switch.is_some() {
        all.user(identity.user.as_ref());
    }
    for (name, value) in &request.recipe.environment.variables {
        all.set(name, value);
    }
    for (path, may_be_missing) in &request.recipe.environment.files {
        match env_file::read(path) {
            Ok(read) => {
                all.set.extend(
                    read.set
                        .into_iter()
                        .map(|(name, value)| (name.into(), value)),
                );
                all.refused
                    .extend(read.refused.into_iter().map(|name| (path.clone(), name)));
            }
            Err(e) if *may_be_missing && e.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(EnvironmentFileError {
                    path: path.clone(),
                    source,
                });
            }
        }
    }
    all.request(request);
    Ok(all)
}

// === impl Variables ===

impl Variables {
    fn set(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) {
        self.set
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
    }

    fn user(&mut self, user: Option<&Person>) {
        let Some(user) = user else {
            // An id without an entry has no home; programs expect the variable all the same.
            self.set("HOME", "/");
            return;
        };
        self.set("HOME", &user.home);
        self.set("USER", &user.name);
        self.set("LOGNAME", &user.name);
        self.set("SHELL", &user.shell);
    }

    fn request(&mut self, request: &CommandRequest) {
        self.set("SLEEPINGD_SERVICE", request.service.as_str());
        self.set("SLEEPINGD_SLUG", request.slug.as_str());
        self.set("SLEEPINGD_ACTION", request.action.as_str());
        if let Some(destination) = &request.destination {
            self.set("SLEEPINGD_DESTINATION", destination.to_string());
        }
        let Some((client, local)) = &request.client else {
            return;
        };
        if let ClientAddr::Tcp(addr) = client {
            self.set("REMOTE_ADDR", addr.ip().to_string());
            self.set("REMOTE_PORT", addr.port().to_string());
            self.set("SOCAT_PEERADDR", socat(addr));
            self.set("SOCAT_PEERPORT", addr.port().to_string());
        }
        match local {
            LocalAddr::Tcp(addr) => {
                self.set("SLEEPINGD_LOCAL_ADDR", addr.ip().to_string());
                self.set("SLEEPINGD_LOCAL_PORT", addr.port().to_string());
                self.set("SOCAT_SOCKADDR", socat(addr));
                self.set("SOCAT_SOCKPORT", addr.port().to_string());
            }
            LocalAddr::Unix(path) => self.set("SLEEPINGD_LOCAL_ADDR", path),
        }
    }
}

/// An address as socat(1) writes it: IPv6 in brackets, with every zero.
fn socat(addr: &SocketAddr) -> String {
    match addr.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => {
            let mut text = String::from("[");
            for (i, group) in ip.segments().iter().enumerate() {
                let colon = if i == 0 { "" } else { ":" };
                write!(text, "{colon}{group:04x}").expect("a String takes everything");
            }
            text.push(']');
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_scripts_find_addresses_as_socat_writes_them() {
        let show = |text: &str| socat(&text.parse().unwrap());
        assert_eq!(show("192.0.2.1:80"), "192.0.2.1");
        assert_eq!(
            show("[2001:db8::1]:80"),
            "[2001:0db8:0000:0000:0000:0000:0000:0001]"
        );
    }
}
