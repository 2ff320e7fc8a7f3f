//! The question for a TCP address, and what is read from the answer.

use std::net::SocketAddr;

use nix::libc;

use super::{LISTEN, Listener, message::u32_at};

/// `struct inet_diag_req_v2` for a listener at this address.
pub(super) fn inet_request(address: &SocketAddr, states: u32) -> Vec<u8> {
    let (family, ip, interface) = match address {
        SocketAddr::V4(v4) => {
            let mut ip = [0; 16];
            ip[..4].copy_from_slice(&v4.ip().octets());
            (libc::AF_INET, ip, 0)
        }
        // A link-local address means something on one interface only.
        SocketAddr::V6(v6) => (libc::AF_INET6, v6.ip().octets(), v6.scope_id()),
    };
    let mut request = Vec::with_capacity(56);
    request.push(u8::try_from(family).expect("AF_INET and AF_INET6 fit"));
    request.push(u8::try_from(libc::IPPROTO_TCP).expect("it is 6"));
    request.extend([0, 0]);
    request.extend(states.to_ne_bytes());
    // struct inet_diag_sockid: our side, the peer's (none), interface, no cookie.
    request.extend(address.port().to_be_bytes());
    request.extend(0_u16.to_be_bytes());
    request.extend(ip);
    request.extend([0; 16]);
    request.extend(interface.to_ne_bytes());
    request.extend([0xff; 8]);
    request
}

/// The same for the end at `local` of a connection whose other end is `remote`. Where there is none
/// the kernel answers with a listener.
pub(super) fn connection_request(local: &SocketAddr, remote: &SocketAddr) -> Vec<u8> {
    let mut request = inet_request(local, u32::MAX);
    // struct inet_diag_sockid: behind both ports and our address.
    request[10..12].copy_from_slice(&remote.port().to_be_bytes());
    match remote {
        SocketAddr::V4(v4) => request[28..32].copy_from_slice(&v4.ip().octets()),
        SocketAddr::V6(v6) => request[28..44].copy_from_slice(&v6.ip().octets()),
    }
    request
}

/// Whether somebody has that end, and has not closed it: a socket that the kernel alone is about to
/// finish has no inode.
pub(super) fn is_held_open(reply: &[u8]) -> Option<bool> {
    const ESTABLISHED: u8 = 1;
    const CLOSE_WAIT: u8 = 8;
    let open = matches!(*reply.get(1)?, ESTABLISHED | CLOSE_WAIT);
    Some(open && u32_at(reply, 68)? != 0)
}

/// Reads `struct inet_diag_msg`.
pub(super) fn inet_listener(reply: &[u8]) -> Option<Listener> {
    if *reply.get(1)? != LISTEN {
        return None;
    }
    Some(Listener {
        uid: Some(u32_at(reply, 64)?),
        inode: u32_at(reply, 68)?,
    })
}
