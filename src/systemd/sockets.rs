//! The descriptors that systemd hands over: sockets, and what was stored with it.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::fd::{AsFd, OwnedFd},
    process,
};

use nix::sys::stat::{SFlag, fstat};

use crate::sys::inherit::{self, InheritError};

/// Names of stored pipes begin so.
pub const PIPE_PREFIX: &str = "pipe.";

/// Names of stored processes begin so. What kind of file a pidfd is depends on the kernel, so the
/// name decides; whoever takes it looks whether it is one.
pub const BACKEND_PREFIX: &str = "backend.";

/// What systemd calls a descriptor that has no name (sd_listen_fds(3)).
const UNNAMED: &str = "unknown";

const LISTEN_PID: &str = "LISTEN_PID";
const LISTEN_FDS: &str = "LISTEN_FDS";
const LISTEN_FDNAMES: &str = "LISTEN_FDNAMES";

/// An inherited descriptor.
#[derive(Debug)]
pub struct Named {
    /// Its `FileDescriptorName=` or `FDNAME=`; `unknown` where nobody named it. Several may bear
    /// one name.
    pub name: String,
    /// The descriptor: CLOEXEC, and blocking or not as it came.
    pub fd: OwnedFd,
}

/// Everything that was inherited, each kind in the order it came: that of several socket units
/// is not defined, and stored descriptors come last.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Sockets of any kind; whether one listens is for the taker to see.
    pub sockets: Vec<Named>,
    /// Pipes whose name begins with [`PIPE_PREFIX`].
    pub pipes: Vec<Named>,
    /// What is no socket, and has a name that begins with [`BACKEND_PREFIX`].
    pub backends: Vec<Named>,
    /// What is neither; nobody has a use for it.
    pub others: Vec<Named>,
}

/// Why the inherited descriptors could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    /// A variable is not a number, or not a sensible one.
    #[error("{name}={value} is not a number; start the daemon by systemd, or unset it")]
    NotANumber {
        /// The variable.
        name: &'static str,
        /// What it says.
        value: String,
    },
    /// Names and descriptors do not pair up.
    #[error("LISTEN_FDNAMES has {names} names for the {descriptors} descriptors of LISTEN_FDS")]
    Names {
        /// How many names.
        names: usize,
        /// How many descriptors.
        descriptors: usize,
    },
    /// The descriptors or the environment could not be had.
    #[error(transparent)]
    Inherit(#[from] InheritError),
    /// Something is wrong with one of them.
    #[error("the inherited descriptor '{name}' cannot be examined: {source}")]
    Stat {
        /// Its name.
        name: String,
        /// Why not.
        source: std::io::Error,
    },
}

/// The variables, as they were found.
#[derive(Debug, Default)]
struct Variables {
    pid: Option<OsString>,
    count: Option<OsString>,
    names: Option<OsString>,
}

/// Takes every inherited descriptor, and the variables that announce them. To be called once, at
/// the top of a plain `main`, before any thread exists.
///
/// Nothing is taken where `LISTEN_PID` is missing or names another process: then the variables
/// were meant for somebody else, and the numbers are not descriptors of ours.
///
/// # Errors
/// Where the variables contradict themselves or the descriptors. Whatever was taken is closed.
pub fn take() -> Result<Inherited, SocketsError> {
    let variables = Variables::from_env();
    let ours = variables.are_for(process::id());
    // listenfd knows neither names nor LISTEN_PIDFDID, and honours LISTEN_FDS_FIRST_FD, which is
    // no part of the protocol.
    inherit::unset(&[LISTEN_FDNAMES, "LISTEN_PIDFDID", "LISTEN_FDS_FIRST_FD"])?;
    let descriptors = match ours {
        Ok(true) => inherit::take_listen_fds()?,
        Ok(false) | Err(_) => Vec::new(),
    };
    inherit::unset(&[LISTEN_PID, LISTEN_FDS])?;
    ours?;
    sort(pair(variables.names.as_deref(), descriptors)?)
}

// === impl Inherited ===

impl Inherited {
    /// Whether nothing was inherited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
            && self.pipes.is_empty()
            && self.backends.is_empty()
            && self.others.is_empty()
    }
}

// === impl Variables ===

impl Variables {
    fn from_env() -> Self {
        Self {
            pid: env::var_os(LISTEN_PID),
            count: env::var_os(LISTEN_FDS),
            names: env::var_os(LISTEN_FDNAMES),
        }
    }

    /// Whether they announce descriptors to the process `me`.
    fn are_for(&self, me: u32) -> Result<bool, SocketsError> {
        let (Some(pid), Some(count)) = (&self.pid, &self.count) else {
            return Ok(false);
        };
        if number(LISTEN_PID, pid)? != me {
            return Ok(false);
        }
        Ok(number(LISTEN_FDS, count)? > 0)
    }
}

pub(super) fn number(name: &'static str, value: &OsStr) -> Result<u32, SocketsError> {
    // Descriptors are ints; room is left for the three below the first.
    let limit = i32::MAX.unsigned_abs() - 3;
    let digits = value
        .to_str()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    digits
        .and_then(|text| text.parse().ok())
        .filter(|n| *n <= limit)
        .ok_or_else(|| SocketsError::NotANumber {
            name,
            value: value.to_string_lossy().into_owned(),
        })
}

fn pair(names: Option<&OsStr>, descriptors: Vec<OwnedFd>) -> Result<Vec<Named>, SocketsError> {
    if descriptors.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<String> = match names {
        Some(names) => names
            .to_string_lossy()
            .split(':')
            .map(str::to_owned)
            .collect(),
        None => vec![UNNAMED.to_owned(); descriptors.len()],
    };
    if names.len() != descriptors.len() {
        let (names, descriptors) = (names.len(), descriptors.len());
        return Err(SocketsError::Names { names, descriptors });
    }
    Ok(names
        .into_iter()
        .zip(descriptors)
        .map(|(name, fd)| Named { name, fd })
        .collect())
}

fn sort(all: Vec<Named>) -> Result<Inherited, SocketsError> {
    let mut inherited = Inherited::default();
    for named in all {
        let kind = fstat(named.fd.as_fd())
            .map(|stat| SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()))
            .map_err(|errno| SocketsError::Stat {
                name: named.name.clone(),
                source: errno.into(),
            })?;
        if kind == SFlag::S_IFSOCK {
            inherited.sockets.push(named);
        } else if kind == SFlag::S_IFIFO && named.name.starts_with(PIPE_PREFIX) {
            inherited.pipes.push(named);
        } else if named.name.starts_with(BACKEND_PREFIX) {
            inherited.backends.push(named);
        } else {
            inherited.others.push(named);
        }
    }
    Ok(inherited)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pid: Option<&str>, count: Option<&str>) -> Variables {
        Variables {
            pid: pid.map(Into::into),
            count: count.map(Into::into),
            names: None,
        }
    }

    #[test]
    fn descriptors_announced_to_another_process_are_not_ours() {
        assert!(variables(Some("7"), Some("1")).are_for(7).unwrap());
        assert!(!variables(Some("8"), Some("1")).are_for(7).unwrap());
        assert!(!variables(None, Some("1")).are_for(7).unwrap());
        assert!(!variables(Some("7"), None).are_for(7).unwrap());
        assert!(!variables(Some("7"), Some("0")).are_for(7).unwrap());
    }

    #[test]
    fn numbers_that_are_none_are_named() {
        for bad in ["", "x", "-1", "+1", " 1", "99999999999", "2147483647"] {
            let error = variables(Some("7"), Some(bad))
                .are_for(7)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(&format!("LISTEN_FDS={bad} ")), "{error}");
        }
    }

    #[test]
    fn a_name_too_few_is_an_error_and_no_names_at_all_are_unknown() {
        let two = || {
            let (a, b) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
            vec![a, b]
        };
        let error = pair(Some(OsStr::new("web")), two())
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "LISTEN_FDNAMES has 1 names for the 2 descriptors of LISTEN_FDS"
        );
        let named = pair(None, two()).unwrap();
        assert!(named.iter().all(|n| n.name == "unknown"));
    }

    #[test]
    fn pipes_are_told_from_sockets_by_name_and_kind() {
        let (pipe, other) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
        let name = |name: &str, fd| Named {
            name: name.to_owned(),
            fd,
        };
        let sorted = sort(vec![
            name("web", socket.into()),
            name("pipe.web", pipe),
            name("web", other),
        ])
        .unwrap();
        let names = |list: &[Named]| list.iter().map(|n| n.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&sorted.sockets), ["web"]);
        assert_eq!(names(&sorted.pipes), ["pipe.web"]);
        assert_eq!(names(&sorted.others), ["web"]);
    }
}
