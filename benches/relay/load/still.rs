//! Connections that have moved a few messages, and then rest.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use socket2::SockRef;

use super::line;
use crate::{Result, backend::Purpose, order::Order};

/// What is said once all of them rest.
pub const AT_REST: &str = "at rest\n";

/// Messages on each connection, and their size.
const MESSAGES: usize = 4;
const SIZE: usize = 1024;

/// Opened together, so that it does not take thousands of turns; fewer than any backlog holds.
const BATCH: usize = 64;

/// Opens them, says so, and holds them until it is told to end.
pub fn play(order: &Order, connections: usize) -> Result<()> {
    let mut open = Vec::new();
    while open.len() < connections {
        let count = BATCH.min(connections - open.len());
        open.extend(batch(order, count)?);
    }
    std::io::stdout().write_all(AT_REST.as_bytes())?;
    // It says nothing: this is its end.
    let _ = std::io::stdin().read(&mut [0])?;
    Ok(())
}

fn batch(order: &Order, count: usize) -> Result<Vec<TcpStream>> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let stream = line::connect(order.front)?;
        // A reset at the end: it must not weigh on whoever is measured next.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        streams.push(stream);
    }
    exchange(&mut streams, &[Purpose::EchoTraceless as u8])?;
    for _ in 0..MESSAGES {
        exchange(&mut streams, &[0x55; SIZE])?;
    }
    Ok(streams)
}

/// The same message on all, and the answers.
fn exchange(streams: &mut [TcpStream], message: &[u8]) -> Result<()> {
    for stream in &mut *streams {
        stream.write_all(message)?;
    }
    let mut answer = vec![0; message.len()];
    for stream in streams {
        stream.read_exact(&mut answer)?;
        if answer != message {
            return Err("a connection got another's answer".into());
        }
    }
    Ok(())
}
