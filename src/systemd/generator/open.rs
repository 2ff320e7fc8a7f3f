//! Whether somebody listens where a unit is to.

use crate::{model::ListenAddr, sys::diag::Diag};

/// Whether somebody listens at this address. systemd takes a socket for open whose unit was away
/// at one daemon-reload and is there at the next, but has closed it (seen with 252 and 257).
///
/// `None` where the kernel cannot be asked.
#[must_use]
pub fn is_open(addr: &ListenAddr) -> Option<bool> {
    let listener = Diag::open().and_then(|mut diag| diag.listening_at(addr));
    listener.ok().map(|listener| listener.is_some())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::sys::net::ListenSocket;

    #[test]
    fn a_listener_is_seen_by_any_of_its_addresses_and_its_end_too() {
        let all = |port| ListenAddr::Tcp((Ipv4Addr::UNSPECIFIED, port).into());
        let listener = ListenSocket::bind(&all(0)).unwrap();
        let Ok(ListenAddr::Tcp(at)) = listener.listen_addr() else {
            panic!("it is no TCP socket")
        };
        let there = [
            ListenAddr::Any(at.port()),
            all(at.port()),
            ListenAddr::Tcp((Ipv4Addr::LOCALHOST, at.port()).into()),
        ];
        for addr in &there {
            assert_eq!(is_open(addr), Some(true), "{addr}");
        }
        drop(listener);
        for addr in &there {
            assert_eq!(is_open(addr), Some(false), "{addr}");
        }
    }
}
