//! Very many clients of one source that say nothing. Some of them are refused.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use socket2::{Domain, Socket, Type};

use super::still::AT_REST;
use crate::{
    Result,
    order::{LIMIT, Order},
};

/// Nobody else comes from here.
const SOURCE: [u8; 4] = [127, 0, 0, 9];

/// So many are made at once; fewer than any backlog holds.
const BATCH: usize = 64;

/// Opens them, says so, and holds those that are not refused until it is told to end.
pub fn play(order: &Order, connections: usize, places: usize) -> Result<()> {
    let mut open = Vec::new();
    let mut left = connections;
    while left > 0 {
        let count = BATCH.min(left);
        let batch: Vec<Option<TcpStream>> = (0..count)
            .map(|_| connect(order.front))
            .collect::<Result<_>>()?;
        left -= count;
        for stream in batch.into_iter().flatten() {
            if open.len() < places || !is_refused(&stream)? {
                open.push(stream);
            }
        }
    }
    if open.len() != places {
        return Err(format!("{} have a place, and {places} may", open.len()).into());
    }
    std::io::stdout().write_all(AT_REST.as_bytes())?;
    // It says nothing: this is its end.
    let _ = std::io::stdin().read(&mut [0])?;
    Ok(())
}

/// `None`: it was refused before connect(2) had returned.
fn connect(to: SocketAddr) -> Result<Option<TcpStream>> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // A reset at the end: it must not weigh on whoever is measured next.
    socket.set_linger(Some(Duration::ZERO))?;
    socket.bind(&SocketAddr::from((SOURCE, 0)).into())?;
    match socket.connect_timeout(&to.into(), LIMIT) {
        Ok(()) => Ok(Some(socket.into())),
        Err(e) if e.kind() == ErrorKind::ConnectionReset => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Waits for the reset.
fn is_refused(mut stream: &TcpStream) -> Result<bool> {
    stream.set_read_timeout(Some(LIMIT))?;
    match stream.read(&mut [0]) {
        Err(e) if e.kind() == ErrorKind::ConnectionReset => Ok(true),
        Ok(_) => Ok(false),
        Err(e) => Err(e.into()),
    }
}
