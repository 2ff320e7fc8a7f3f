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
