//! A client, and what it may see.

use std::{
    io::{self, ErrorKind, Write},
    net::SocketAddr,
    thread,
};

use fastrand::Rng;

use crate::{
    backend::End,
    harness,
    talk::{Manner, Plan, Talk},
};

/// How a client fared; anything else is wrong, and told in words.
#[derive(Debug)]
pub enum Fared {
    /// It has got what was planned, a planned reset among it.
    Well,
    /// It saw a reset that was not planned; what it was about.
    Reset(String),
}

/// One connection. `resets`: whether the way knows resets, which a unix socket does not.
pub fn connect_once(front: SocketAddr, resets: bool, rng: &mut Rng) -> Result<Fared, String> {
    let stream = harness::connect(front);
    let from = stream.local_addr().unwrap();
    match rng.u32(0..20) {
        // It leaves without a word, in either way.
        0 => {
            drop(stream);
            return Ok(Fared::Well);
        }
        1 => {
            harness::reset(stream);
            return Ok(Fared::Well);
        }
        _ => {}
    }
    let talk = plan(resets, rng);
    let end = End::Tcp(stream);
    end.set_patience();
    match carry_out(&talk, &end) {
        Ok(()) => Ok(Fared::Well),
        Err(e) if is_reset(&e) => Ok(Fared::Reset(format!("client {from}: {talk:?}: {e}"))),
        Err(e) => Err(format!("client {from}: {talk:?}: {e}")),
    }
}

/// What a call says of a connection that was reset: recv(2), send(2) and shutdown(2) in turn.
fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected
    )
}

fn plan(resets: bool, rng: &mut Rng) -> Talk {
    let plans = if resets {
        &Plan::ALL[..]
    } else {
        &Plan::ALL[..3]
    };
    let mut size = || match rng.u32(0..20) {
        0..=1 => 0,
        2..=4 => 1,
        5..=9 => rng.u64(2..3_000),
        10..=15 => rng.u64(3_000..100_000),
        16..=18 => rng.u64(100_000..1_000_000),
        _ => rng.u64(1_000_000..6_000_000),
    };
    let (up, down) = (size(), size());
    let plan = *rng.choice(plans).unwrap();
    Talk {
        id: rng.u64(..) >> 2,
        plan,
        up: if plan == Plan::BackendResets { 0 } else { up },
        down: if plan == Plan::ClientResets { 0 } else { down },
    }
}

fn carry_out(talk: &Talk, end: &End) -> io::Result<()> {
    let (mut from, mut to) = (end, end);
    let (mut up, mut down) = (talk.up(), talk.down());
    let (mut reading, mut writing) = (Manner::new(talk.id + 21), Manner::new(talk.id + 22));
    let mut send = || {
        up.send(&mut to, talk.up, &mut writing)?;
        end.finish()
    };
    (&mut &*end).write_all(&talk.encode())?;
    match talk.plan {
        Plan::Exchange => thread::scope(|threads| {
            let sending = threads.spawn(send);
            let heard = down.hear(&mut from, &mut reading);
            let sent = sending.join().unwrap();
            heard.and(sent)
        })?,
        Plan::Ask => {
            send()?;
            down.hear(&mut from, &mut reading)?;
        }
        Plan::Serve => {
            down.hear(&mut from, &mut reading)?;
            whole(down.at(), talk)?;
            send()?;
        }
        Plan::ClientResets => {
            up.send(&mut to, talk.up, &mut writing)?;
            return end.reset_behind_all();
        }
        Plan::BackendResets => {
            return match down.hear(&mut from, &mut reading) {
                Ok(()) => Err(io::Error::other("a reset came as a clean end")),
                Err(e) if e.kind() != ErrorKind::ConnectionReset => Err(e),
                // Cut short, it may be another one than was planned.
                Err(e) if down.at() != talk.down => Err(e),
                Err(_) => Ok(()),
            };
        }
    }
    whole(down.at(), talk)
}

/// A clean end says that it was all.
fn whole(got: u64, talk: &Talk) -> io::Result<()> {
    if got == talk.down {
        return Ok(());
    }
    Err(io::Error::other(format!("a clean end after {got} bytes")))
}
