//! More streams than an unprivileged user has pipes for, beside as many of a user who has none
//! left, and for whom everything is copied.

use std::{
    env,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::{Child, Stdio},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::{Gid, Uid, geteuid, pipe2, setgid, setgroups, setuid},
};
use serde_json::{Value, json};

use super::{Compared, Plan, Side, in_turn};
use crate::{
    Result,
    order::{Direction, Report, Work},
    roles,
};

/// How many side by side.
const STREAMS: usize = 1500;

/// Two users whom nobody is, so that nobody else's pipes count.
const SPLICES: u32 = 64_001;
const COPIES: u32 = 64_002;

/// The first argument of the role that takes all the pipes of a user; the second is the user.
const ROLE: &str = "play-eater";

/// What it says when it has them.
const FULL: &[u8] = b"full\n";

/// More than any user gets.
const MOST_PIPES: usize = 4096;

/// Holds all the pipes of a user.
struct Eater(Child);

pub(super) fn measure(plan: &Plan<'_>) -> Result<Value> {
    if !geteuid().is_root() {
        return Err("only root can be two other users".into());
    }
    let splices = Side::start(plan, Some(SPLICES), &[])?;
    let _eater = Eater::start(COPIES)?;
    let copies = Side::start(plan, Some(COPIES), &[])?;
    println!("\n{:<34} {:>10} {:>10}   ratio", "", "spliced", "copied");
    let work = Work::Bulk {
        direction: Direction::Down,
        connections: STREAMS,
    };
    let rounds = in_turn([&splices, &copies], plan, work)?;
    let rate = |report: &Report| Some(report.count as f64 * 8.0 / 1e9 / report.seconds);
    let cpu = |report: &Report| Some(report.cpu?.relay / gib(report));
    let figures = [
        Compared::of("bulk down x1500, Gbit/s", &rounds, rate)?.print(),
        Compared::of("CPU of the relay, s/GiB", &rounds, cpu)?.print(),
    ];
    Ok(json!({ "figures": figures }))
}

fn gib(report: &Report) -> f64 {
    report.count as f64 / (1u64 << 30) as f64
}

/// Plays the eater, if this process has this role.
pub fn play() -> Option<Result<()>> {
    let mut arguments = env::args().skip(1);
    (arguments.next()? == ROLE).then(|| {
        roles::end_with_parent()?;
        let user = arguments.next().ok_or("no user")?.parse()?;
        setgroups(&[])?;
        setgid(Gid::from_raw(user))?;
        setuid(Uid::from_raw(user))?;
        let _pipes = all_pipes()?;
        std::io::stdout().write_all(FULL)?;
        // It says nothing: this is our end.
        let _ = std::io::stdin().read(&mut [0])?;
        Ok(())
    })
}

/// As many large ones as there are.
fn all_pipes() -> Result<Vec<(OwnedFd, OwnedFd)>> {
    let mut pipes = Vec::new();
    while pipes.len() < MOST_PIPES {
        let pipe = pipe2(OFlag::O_CLOEXEC)?;
        let grown = fcntl(&pipe.0, FcntlArg::F_SETPIPE_SZ(1 << 20));
        pipes.push(pipe);
        match grown {
            Err(Errno::EPERM) => return Ok(pipes),
            grown => grown?,
        };
    }
    Err("a user may have pipes without end here".into())
}

// === impl Eater ===

impl Eater {
    fn start(user: u32) -> Result<Self> {
        let child = roles::command(ROLE)?
            .arg(user.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut eater = Self(child);
        let mut said = [0; FULL.len()];
        let stdout = eater.0.stdout.as_mut().ok_or("no pipe")?;
        stdout
            .read_exact(&mut said)
            .map_err(|e| format!("the pipes of a user cannot be used up: {e}"))?;
        Ok(eater)
    }
}

impl Drop for Eater {
    fn drop(&mut self) {
        // Its end is its standard input's.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
