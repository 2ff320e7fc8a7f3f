//! Asking systemd by its own command: no D-Bus library, and it works where there is no bus.

use std::{collections::BTreeSet, io, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::timeout,
};

use super::generator::{self, Plan};
use crate::model::duration::show;

/// What generated sockets start.
const SERVICE: &str = "sleepingd.service";

/// More than any list of units; the rest is not for us.
const ANSWER_LIMIT: u64 = 4 * 1024 * 1024;

/// `systemctl`, of the machine's manager or of the user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Systemctl {
    /// The user's.
    pub user: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SystemctlError {
    /// It could not be run or read.
    #[error("systemctl: {0}")]
    Run(#[source] io::Error),
    /// It took too long, and was killed.
    #[error("systemctl did not answer within {}", show(*.0))]
    Slow(Duration),
    /// It says no.
    #[error("{}", refusal(.status, .said))]
    Failed {
        /// Its exit status.
        status: std::process::ExitStatus,
        /// What it wrote to standard error, without blanks at the ends.
        said: String,
    },
}

impl Systemctl {
    /// What it prints, within `limit`.
    ///
    /// # Errors
    /// Where it cannot be run, takes too long, or fails.
    pub async fn ask(self, arguments: &[&str], limit: Duration) -> Result<String, SystemctlError> {
        timeout(limit, self.run(arguments))
            .await
            .map_err(|_| SystemctlError::Slow(limit))?
    }

    /// The socket units that start this service, and those that were generated for it and have
    /// lost their file since: systemd does not say any more whom they start.
    ///
    /// # Errors
    /// As [`Self::ask`] has them.
    pub async fn sockets_of(
        self,
        service: &str,
        limit: Duration,
    ) -> Result<BTreeSet<String>, SystemctlError> {
        let show = ["show", "--property=TriggeredBy", "--value", service];
        let triggers = self.ask(&show, limit).await?;
        let is_socket = |name: &&str| name.ends_with(".socket");
        let sockets = triggers.split_ascii_whitespace().filter(is_socket);
        let mut sockets: BTreeSet<String> = sockets.map(str::to_owned).collect();
        if service == SERVICE {
            let show = ["show", generator::PROPERTIES, generator::PATTERN];
            let shown = self.ask(&show, limit).await?;
            sockets.extend(Plan::new(&BTreeSet::new(), &shown).stale);
        }
        Ok(sockets)
    }

    async fn run(self, arguments: &[&str]) -> Result<String, SystemctlError> {
        let mut command = Command::new("systemctl");
        if self.user {
            command.arg("--user");
        }
        command
            .args(arguments)
            .env("LC_ALL", "C")
            .env("SYSTEMD_COLORS", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // It must not outlive its timeout.
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(SystemctlError::Run)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // Both at once: one that fills its pipe would else wait for ever.
        let (answer, said) = tokio::join!(read(stdout), read(stderr));
        let status = child.wait().await.map_err(SystemctlError::Run)?;
        if !status.success() {
            let said = said.map_err(SystemctlError::Run)?.trim().to_owned();
            return Err(SystemctlError::Failed { status, said });
        }
        answer.map_err(SystemctlError::Run)
    }
}

async fn read(pipe: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(ANSWER_LIMIT).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn refusal(status: &std::process::ExitStatus, said: &str) -> String {
    if said.is_empty() {
        format!("systemctl: {status}")
    } else {
        format!("systemctl: {said}")
    }
}
