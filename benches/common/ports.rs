//! Addresses to listen on.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

use super::Result;

/// Addresses that nobody has: loopback ones that no outgoing connection comes from, so that the
/// ports cannot be taken, and nobody connects to itself.
pub fn free_addresses(count: usize) -> Result<Vec<SocketAddr>> {
    let any: SocketAddr = ([127, 77, 0, 1], 0).into();
    // All are held until the last one is known: none comes twice.
    let mut held = Vec::new();
    for _ in 0..count {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&any.into())?;
        held.push(socket);
    }
    let address = |socket: &Socket| Ok(socket.local_addr()?.as_socket().ok_or("no address")?);
    held.iter().map(address).collect()
}
