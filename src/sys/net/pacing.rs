//! Connections that never leave the machine are not paced.
//!
//! BBR sends by a timer, at the rate that it believes the path to have. Over the loopback there is
//! no path to learn about, and the timers cost more than the sending: measured on two cores, a
//! direct connection moves 25 Gbit/s with BBR and 60 with Reno, and a small message takes a
//! quarter less CPU time. So where BBR is the machine's choice, which is meant for the world
//! outside, the ends of ours that face the loopback have Reno, which every kernel has and every
//! user may choose (tcp(7)). Other choices are left alone.

use std::{net::IpAddr, os::fd::BorrowedFd, sync::OnceLock};

use socket2::SockRef;

const UNPACED: &[u8] = b"reno";

/// Whether the machine's choice paces. Asked once: it changes with the machine's set-up, if ever,
/// and a wrong answer costs nothing but speed.
static PACED: OnceLock<bool> = OnceLock::new();

/// Takes pacing from a TCP socket whose other end is `peer`, if that is the loopback.
pub(super) fn unpace_loopback(fd: BorrowedFd<'_>, peer: IpAddr) {
    if !peer.to_canonical().is_loopback() {
        return;
    }
    let sock = SockRef::from(&fd);
    let paced = *PACED.get_or_init(|| {
        let choice = sock.tcp_congestion();
        choice.is_ok_and(|name| is_paced(&name))
    });
    if paced {
        // It is only slower without: nobody need know.
        let _ = sock.set_tcp_congestion(UNPACED);
    }
}

/// BBR of any version.
fn is_paced(name: &[u8]) -> bool {
    name.starts_with(b"bbr")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bbr_is_paced_and_nothing_else() {
        // As the kernel fills its field: up to sixteen bytes, the rest zeros.
        assert!(is_paced(b"bbr\0\0\0\0\0\0\0\0\0\0\0\0\0"));
        assert!(is_paced(b"bbr3"));
        assert!(!is_paced(b"cubic"));
        assert!(!is_paced(b"reno"));
    }
}
