//! The binary form: a signature, what it is, a length, two addresses, and what is dropped here.

use std::net::IpAddr;

use super::{Ends, Header, Malformed, Parsed};

/// No protocol begins like this: it ends a line twice, and has a NUL in it.
pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, version and command, family, length.
const FIXED: usize = 16;

/// What follows them at the most, of the 65535 bytes that could: addresses take 216, and the TLVs
/// of real balancers (names, a certificate's subject) a few hundred.
const MAX_REST: usize = 4096;

pub(super) const MAX_LENGTH: usize = FIXED + MAX_REST;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const UNSPEC: u8 = 0x00;
const TCP4: u8 = 0x11;
const UDP4: u8 = 0x12;
const TCP6: u8 = 0x21;
const UDP6: u8 = 0x22;
const UNIX_STREAM: u8 = 0x31;
const UNIX_DATAGRAM: u8 = 0x32;

/// Two of each, and two ports.
const IPV4_ENDS: usize = 2 * 4 + 2 * 2;
const IPV6_ENDS: usize = 2 * 16 + 2 * 2;
/// Two paths.
const UNIX_ENDS: usize = 2 * 108;

/// `bytes` begin with [`SIGNATURE`].
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let Some(&command) = bytes.get(SIGNATURE.len()) else {
        return Ok(Parsed::NeedMore);
    };
    check_command(command)?;
    let Some(&family) = bytes.get(SIGNATURE.len() + 1) else {
        return Ok(Parsed::NeedMore);
    };
    // Of LOCAL everything that follows is to be ignored.
    let needed = match command {
        LOCAL => 0,
        _ => room_for(family)?,
    };
    let Some(length) = bytes.get(SIGNATURE.len() + 2..FIXED) else {
        return Ok(Parsed::NeedMore);
    };
    let length = usize::from(length[0]) << 8 | usize::from(length[1]);
    if length < needed {
        return Err(Malformed::TooShort { length, needed });
    }
    if length > MAX_REST {
        let most = MAX_REST;
        return Err(Malformed::TooLong { length, most });
    }
    let Some(rest) = bytes.get(FIXED..FIXED + length) else {
        return Ok(Parsed::NeedMore);
    };
    let ends = match (command, family) {
        (PROXY, TCP4) => ends::<4>(rest),
        (PROXY, TCP6) => ends::<16>(rest),
        _ => None,
    };
    let length = FIXED + length;
    Ok(Parsed::Whole(Header { ends, length }))
}

/// The high half is the version, the low half the command.
fn check_command(byte: u8) -> Result<(), Malformed> {
    let what = match byte {
        LOCAL | PROXY => return Ok(()),
        _ if byte >> 4 != 2 => "version",
        _ => "command",
    };
    Err(Malformed::Value { what, value: byte })
}

/// How many bytes the addresses of a family take.
fn room_for(family: u8) -> Result<usize, Malformed> {
    match family {
        UNSPEC => Ok(0),
        TCP4 | UDP4 => Ok(IPV4_ENDS),
        TCP6 | UDP6 => Ok(IPV6_ENDS),
        UNIX_STREAM | UNIX_DATAGRAM => Ok(UNIX_ENDS),
        value => Err(Malformed::Value {
            what: "family",
            value,
        }),
    }
}

/// Two addresses of `N` bytes, then two ports.
fn ends<const N: usize>(rest: &[u8]) -> Option<Ends>
where
    IpAddr: From<[u8; N]>,
{
    let (source, rest) = rest.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (from, rest) = rest.split_first_chunk()?;
    let (to, _tlvs) = rest.split_first_chunk()?;
    Some(Ends::new(
        (IpAddr::from(*source), u16::from_be_bytes(*from)),
        (IpAddr::from(*destination), u16::from_be_bytes(*to)),
    ))
}

pub(super) fn encode(ends: Option<Ends>) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    let Some(ends) = ends else {
        header.extend([LOCAL, UNSPEC, 0, 0]);
        return header;
    };
    match ends.in_one_family() {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            header.extend([PROXY, TCP4, 0, IPV4_ENDS as u8]);
            header.extend(source.octets());
            header.extend(destination.octets());
        }
        (source, destination) => {
            header.extend([PROXY, TCP6, 0, IPV6_ENDS as u8]);
            for ip in [source, destination] {
                header.extend(super::mapped(ip).octets());
            }
        }
    }
    header.extend(ends.source.port().to_be_bytes());
    header.extend(ends.destination.port().to_be_bytes());
    header
}
