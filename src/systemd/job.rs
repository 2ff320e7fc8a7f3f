//! Is this a stop or a restart?
//!
//! systemd sends the same SIGTERM for both, but backends must stay for a restart and go at a
//! stop. The difference is in the job that systemd runs for our unit meanwhile.

use std::{fs, io, time::Duration};

use super::systemctl::{Systemctl, SystemctlError};

/// How long systemd may take to say what it is doing. Long: on a machine that is busy with its own
/// upgrade it may well be slow, and a restart that is taken for a stop puts to sleep what is used.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long each of three questions about the sockets may take.
const SOCKETS_PATIENCE: Duration = Duration::from_secs(5);

/// What systemd is doing with our unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job {
    /// It stops it, for good or because the machine shuts down.
    Stop,
    /// It stops it in order to start it again.
    Restart,
    /// Nothing: the signal came from somebody else.
    None,
}

/// Why the job is not known.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Our control group cannot be read.
    #[error("our unit is not known: /proc/self/cgroup: {0}")]
    Cgroup(#[source] io::Error),
    /// We are not a service of systemd.
    #[error("no service of systemd is in our control group path")]
    NoUnit,
    /// systemd did not say.
    #[error(transparent)]
    Systemctl(#[from] SystemctlError),
}

/// Our own unit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unit {
    name: String,
    /// It belongs to a user's manager.
    user: bool,
}

/// Asks systemd what it is doing with our unit. Takes 20 seconds at most.
///
/// # Errors
/// Where it is not known. Nothing is lost by taking that for [`Job::Stop`] but the backends.
pub async fn unit_job() -> Result<Job, JobError> {
    let cgroup = fs::read_to_string("/proc/self/cgroup").map_err(JobError::Cgroup)?;
    let unit = Unit::from_cgroup(&cgroup).ok_or(JobError::NoUnit)?;
    let list = ["list-jobs", "--plain", "--no-legend", "--no-pager"];
    let answer = unit.systemctl().ask(&list, PATIENCE).await?;
    Ok(Job::from_list(&answer, &unit.name))
}

/// Stops the socket units that start our service: who stops it means its ports too, and systemd
/// by itself would start it again for the next client. Takes 15 seconds at most; the stop itself is
/// not waited for.
///
/// # Errors
/// Where they are not known, or systemd says no (it does while the machine shuts down, when it
/// stops them by itself).
pub async fn stop_sockets() -> Result<(), JobError> {
    let cgroup = fs::read_to_string("/proc/self/cgroup").map_err(JobError::Cgroup)?;
    let unit = Unit::from_cgroup(&cgroup).ok_or(JobError::NoUnit)?;
    let systemctl = unit.systemctl();
    let sockets = systemctl.sockets_of(&unit.name, SOCKETS_PATIENCE).await?;
    if sockets.is_empty() {
        return Ok(());
    }
    let mut stop = vec!["stop", "--no-block"];
    stop.extend(sockets.iter().map(String::as_str));
    systemctl.ask(&stop, SOCKETS_PATIENCE).await?;
    Ok(())
}

// === impl Job ===

impl Job {
    /// Reads what `systemctl list-jobs --plain --no-legend` prints: `JOB UNIT TYPE STATE`.
    ///
    /// While a unit stops in order to start again, its job is `restart`; only after that does it
    /// become `start`.
    fn from_list(list: &str, unit: &str) -> Self {
        for line in list.lines() {
            let mut words = line.split_ascii_whitespace().skip(1);
            if words.next() != Some(unit) {
                continue;
            }
            return match words.next() {
                Some("stop") => Self::Stop,
                Some("restart" | "try-restart" | "start") => Self::Restart,
                _ => Self::None,
            };
        }
        Self::None
    }
}

// === impl Unit ===

impl Unit {
    fn systemctl(&self) -> Systemctl {
        Systemctl { user: self.user }
    }

    /// Reads `/proc/self/cgroup` (cgroups(7)). The innermost service is ours, whether we sit in
    /// its control group or in one below it.
    fn from_cgroup(text: &str) -> Option<Self> {
        // systemd's own hierarchy: the only one, or the named one beside those of version 1. In a
        // container both may be there, and only one of them be in use.
        text.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let path = rest
                .strip_prefix("name=systemd:")
                .or_else(|| rest.strip_prefix(':'))?;
            Self::from_path(path)
        })
    }

    fn from_path(path: &str) -> Option<Self> {
        let mut parts: Vec<&str> = path.split('/').collect();
        let at = parts.iter().rposition(|part| is_service(part))?;
        let name = parts.swap_remove(at).to_owned();
        let user = parts[..at]
            .iter()
            .any(|part| part.starts_with("user@") && is_service(part));
        Some(Self { name, user })
    }
}

fn is_service(part: &str) -> bool {
    part.strip_suffix(".service")
        .is_some_and(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_restart_and_neither_are_told_apart() {
        let list = "  9 other.service     stop    running\n\
                    143 sleepingd.service restart running\n";
        assert_eq!(Job::from_list(list, "sleepingd.service"), Job::Restart);
        assert_eq!(Job::from_list(list, "other.service"), Job::Stop);
        assert_eq!(Job::from_list(list, "sleepingd"), Job::None);
        let job = |kind: &str| Job::from_list(&format!("1 a.service {kind} running"), "a.service");
        assert_eq!(job("stop"), Job::Stop);
        assert_eq!(job("try-restart"), Job::Restart);
        assert_eq!(job("reload"), Job::None);
        assert_eq!(Job::from_list("No jobs running.\n", "a.service"), Job::None);
        assert_eq!(Job::from_list("", "a.service"), Job::None);
    }

    #[test]
    fn the_unit_is_the_innermost_service_of_the_path() {
        let unit = |text: &str| Unit::from_cgroup(text).map(|unit| (unit.name, unit.user));
        let found = |name: &str, user| Some((name.to_owned(), user));
        assert_eq!(
            unit("0::/system.slice/sleepingd.service\n"),
            found("sleepingd.service", false)
        );
        assert_eq!(
            unit("0::/system.slice/sleepingd.service/daemon\n"),
            found("sleepingd.service", false)
        );
        assert_eq!(
            unit("0::/user.slice/user-7.slice/user@7.service/app.slice/my\\x2dsleep.service\n"),
            found("my\\x2dsleep.service", true)
        );
        assert_eq!(
            unit("4:cpu:/x.service\n1:name=systemd:/system.slice/a.service\n0::/\n"),
            found("a.service", false)
        );
        assert_eq!(
            unit("9:name=systemd:/\n4:cpu:/\n0::/system.slice/a.service\n"),
            found("a.service", false)
        );
        for none in [
            "0::/\n",
            "",
            "0::/user.slice/session-1.scope\n",
            "0::/.service\n",
        ] {
            assert_eq!(unit(none), None, "{none}");
        }
    }
}
