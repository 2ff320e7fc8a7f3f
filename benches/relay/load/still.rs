//! Connections that have moved a few messages, and then rest.

use std::{
    io::{Read, Write},
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

/// Opens them one by one, says so, and holds them until it is told to end.
pub fn play(order: &Order, connections: usize) -> Result<()> {
    let mut open = Vec::new();
    let message = [0x55; SIZE];
    for _ in 0..connections {
        let mut stream = line::open(order.front, Purpose::EchoTraceless)?;
        // A reset at the end: it must not weigh on whoever is measured next.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        for _ in 0..MESSAGES {
            stream.write_all(&message)?;
            stream.read_exact(&mut [0; SIZE])?;
        }
        open.push(stream);
    }
    std::io::stdout().write_all(AT_REST.as_bytes())?;
    // It says nothing: this is its end.
    let _ = std::io::stdin().read(&mut [0])?;
    Ok(())
}
