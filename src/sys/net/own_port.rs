//! No connection from the port that it goes to.
//!
//! With nobody listening at a port that the kernel gives to clients, whoever connects there may be
//! given that very port, and finds itself (RFC 9293, 3.5). It can notice and close, but until then
//! it holds the port, and a backend that binds it in this moment fails. So the kernel is asked to
//! give another one.

use std::{
    fs, io,
    net::SocketAddr,
    ops::RangeInclusive,
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::{errno::Errno, libc};

/// Which ports clients get, of IPv6 as well.
const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// linux/in.h; the libc crate does not have it.
const IP_LOCAL_PORT_RANGE: libc::c_int = 51;

/// Makes sure that this socket, which is not connected yet, will not get the port of `to` for its
/// own.
///
/// # Errors
/// It may get it: the range cannot be read, there is no other port, or the kernel is older than
/// 6.3 (ENOPROTOOPT).
pub fn never_own_port(fd: BorrowedFd<'_>, to: SocketAddr) -> io::Result<()> {
    let range = range()?;
    if !range.contains(&to.port()) {
        return Ok(());
    }
    let rest = without(&range, to.port()).ok_or(io::ErrorKind::AddrNotAvailable)?;
    limit(fd, &rest)
}

fn range() -> io::Result<RangeInclusive<u16>> {
    let text = fs::read_to_string(RANGE)?;
    let mut ports = text.split_ascii_whitespace().map(str::parse);
    match (ports.next(), ports.next()) {
        (Some(Ok(first)), Some(Ok(last))) => Ok(first..=last),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{RANGE} has no range: {text}"),
        )),
    }
}

/// The larger part of the range beside this port of it; `None` where that is all there is.
fn without(range: &RangeInclusive<u16>, port: u16) -> Option<RangeInclusive<u16>> {
    let (below, above) = (port - range.start(), range.end() - port);
    match (below, above) {
        (0, 0) => None,
        _ if below >= above => Some(*range.start()..=port - 1),
        _ => Some(port + 1..=*range.end()),
    }
}

/// The last port in the upper half, the first in the lower: ip(7).
fn limit(fd: BorrowedFd<'_>, range: &RangeInclusive<u16>) -> io::Result<()> {
    let value = u32::from(*range.end()) << 16 | u32::from(*range.start());
    let length = libc::socklen_t::try_from(size_of_val(&value)).expect("four");
    // SAFETY: the kernel reads one u32, and the length says so.
    Errno::result(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_IP,
            IP_LOCAL_PORT_RANGE,
            (&raw const value).cast(),
            length,
        )
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_part_beside_a_port_is_left() {
        assert_eq!(without(&(10..=20), 10), Some(11..=20));
        assert_eq!(without(&(10..=20), 12), Some(13..=20));
        assert_eq!(without(&(10..=20), 15), Some(10..=14));
        assert_eq!(without(&(10..=20), 20), Some(10..=19));
        assert_eq!(without(&(10..=11), 11), Some(10..=10));
        assert_eq!(without(&(10..=10), 10), None);
        assert_eq!(without(&(1..=u16::MAX), u16::MAX), Some(1..=u16::MAX - 1));
    }
}
