//! This program runs itself again: as the backend, as a load, and as what a relay is started by.
//! Whatever happens to the bench, none of them stays behind.

use std::{
    env,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use nix::{
    fcntl::{FcntlArg, fcntl},
    sys::{
        prctl::set_pdeathsig,
        signal::{SigSet, Signal},
    },
    unistd::getppid,
};

use crate::Result;

/// The first argument of the role that becomes a relay: the rest is its command.
pub const RELAY: &str = "play-relay";

/// The same, but for a relay that is given its listening socket, as by systemd: it is our standard
/// input here.
pub const ACTIVATED: &str = "play-activated";

/// The variable that says whose child a role is.
const PARENT: &str = "RELAY_BENCH";

/// This program, in a role.
pub fn command(role: &str) -> Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command
        .arg(role)
        .env(PARENT, std::process::id().to_string())
        .stdin(Stdio::null());
    Ok(command)
}

/// Asks the kernel to end this process with the one that started it. Survives exec.
pub fn end_with_parent() -> Result<()> {
    // Our parent hears its signals in a thread, and blocks them elsewhere; that is inherited.
    SigSet::empty().thread_set_mask()?;
    set_pdeathsig(Signal::SIGTERM)?;
    // It may have ended before the kernel was asked.
    if env::var(PARENT).ok() != Some(getppid().to_string()) {
        return Err("the bench has ended".into());
    }
    Ok(())
}

/// Becomes a relay, if this process has such a role.
pub fn play() -> Option<Result<()>> {
    let mut arguments = env::args_os().skip(1);
    let role = arguments.next()?;
    let activated = role == ACTIVATED;
    if !activated && role != RELAY {
        return None;
    }
    let mut command = Command::new(arguments.next()?);
    command.args(arguments);
    Some(become_it(command, activated))
}

fn become_it(mut command: Command, activated: bool) -> Result<()> {
    end_with_parent()?;
    if activated {
        // The lowest free one from 3 on; nothing else is open here. It stays open in exec.
        let given = fcntl(std::io::stdin(), FcntlArg::F_DUPFD(3))?;
        if given != 3 {
            return Err(format!("the socket became descriptor {given}, not 3").into());
        }
        // exec keeps the process id.
        command.env("LISTEN_PID", std::process::id().to_string());
        command.env("LISTEN_FDS", "1");
    }
    Err(command.stdin(Stdio::null()).exec().into())
}
