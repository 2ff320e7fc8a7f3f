//! The load: a process of its own, so that its processor time is told apart, with one thread.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`line`] | opens a connection, and waits until the whole way is open |
//! | [`window`] | when to measure; the clocks at both ends of it |
//! | [`pingpong`] | a message there and back, in a closed loop |
//! | [`bulk`] | as many bytes as will go |
//! | [`connects`] | connections, one after the other |
//! | [`steady`] | messages at fixed moments |
//! | [`still`] | connections at rest |
//! | [`silent`] | very many of one source that say nothing |

use std::{
    env,
    io::{Read, Write},
    process::Stdio,
};

use crate::{
    Result,
    order::{Order, Report, Work},
    roles,
};

mod bulk;
mod connects;
mod line;
mod pingpong;
mod silent;
mod steady;
mod still;
mod window;

/// The first argument of this role; the second is the order.
const ROLE: &str = "play-load";

/// A load at work, in a process of its own.
pub struct Load {
    process: std::process::Child,
}

// === impl Load ===

impl Load {
    /// Starts it.
    pub fn start(order: &Order) -> Result<Self> {
        let process = roles::command(ROLE)?
            .arg(serde_json::to_string(order)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        Ok(Self { process })
    }

    /// Waits for what it has seen. It has deadlines of its own for all that it waits for.
    pub fn report(mut self) -> Result<Report> {
        let mut said = String::new();
        let mut stdout = self.process.stdout.take().ok_or("no pipe")?;
        stdout.read_to_string(&mut said)?;
        let status = self.process.wait()?;
        if !status.success() {
            return Err(format!("the load has failed ({status})").into());
        }
        Ok(serde_json::from_str(&said)?)
    }

    /// Waits until all its connections rest.
    pub fn at_rest(mut self) -> Result<Self> {
        let mut said = [0; still::AT_REST.len()];
        let stdout = self.process.stdout.as_mut().ok_or("no pipe")?;
        stdout
            .read_exact(&mut said)
            .map_err(|e| format!("the connections do not come to rest: {e}"))?;
        Ok(self)
    }

    /// Ends one that rests.
    pub fn end(mut self) -> Result<()> {
        drop(self.process.stdin.take());
        let status = self.process.wait()?;
        if !status.success() {
            return Err(format!("the load has failed ({status})").into());
        }
        Ok(())
    }
}

/// Plays it, if this process has this role.
pub fn play() -> Option<Result<()>> {
    let mut arguments = env::args().skip(1);
    (arguments.next()? == ROLE).then(|| {
        roles::end_with_parent()?;
        let order: Order = serde_json::from_str(&arguments.next().ok_or("no order")?)?;
        let Some(report) = carry_out(&order)? else {
            return Ok(());
        };
        let text = serde_json::to_string(&report)?;
        Ok(std::io::stdout().write_all(text.as_bytes())?)
    })
}

fn carry_out(order: &Order) -> Result<Option<Report>> {
    let report = match order.work {
        Work::PingPong { size, connections } => pingpong::play(order, size, connections)?,
        Work::Bulk {
            direction,
            connections,
        } => bulk::play(order, direction, connections)?,
        Work::Connect { lanes } => connects::play(order, lanes)?,
        Work::Steady { size, rate } => steady::play(order, size, rate)?,
        Work::Silent {
            connections,
            places,
        } => {
            silent::play(order, connections, places)?;
            return Ok(None);
        }
        Work::Still { connections } => {
            still::play(order, connections)?;
            return Ok(None);
        }
    };
    Ok(Some(report))
}
