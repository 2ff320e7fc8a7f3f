//! The header that a load balancer puts before a connection: where the client really comes from.
//!
//! Pure: bytes in, addresses out, and back. `v1` is the line of text, `v2` the binary form; both
//! are read as strictly as their specification has it ("The PROXY protocol", HAProxy), for what
//! stands here decides who is let in.
//!
//! Nothing is kept of a header but the two addresses. What else it may carry (TLVs) is dropped
//! unread, its checksum included: TCP has one.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::model::{ProxyVersion, addr::canonical};

/// No header is longer.
pub const MAX_LENGTH: usize = v2::MAX_LENGTH;

/// The two ends of a client's connection, as the header names them. IPv4 is shown as IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Where the client comes from.
    pub source: SocketAddr,
    /// What it connected to.
    pub destination: SocketAddr,
}

/// A header that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// `None`: the connection's own ends are the client's. The sender speaks for itself (LOCAL: a
    /// health check), does not know (UNKNOWN, UNSPEC), or names what no TCP client has: the path
    /// of a unix socket, the addresses of a datagram.
    pub ends: Option<Ends>,
    /// So many bytes are the header's; what follows is the client's.
    pub length: usize,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// All of them belong to a header, and there is more of it to come.
    NeedMore,
    /// They begin with this header.
    Whole(Header),
}

/// Why bytes are no header, and will not become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// They begin like neither form.
    #[error("sent no PROXY header, it begins with {0}")]
    NoHeader(Shown),
    /// The line of v1 is not as it must be.
    #[error("sent a PROXY header (v1) with {what}: {line}")]
    Line {
        /// What is wrong with it.
        what: &'static str,
        /// How it begins.
        line: Shown,
    },
    /// A byte of v2 has a value that means nothing.
    #[error("sent a PROXY header (v2) with a {what} that does not exist: {value:#04x}")]
    Value {
        /// Which byte.
        what: &'static str,
        /// Its value.
        value: u8,
    },
    /// The addresses of v2 do not fit into the length that it states.
    #[error("sent a PROXY header (v2) of {length} bytes, where its addresses alone take {needed}")]
    TooShort {
        /// What it says.
        length: usize,
        /// What it needs.
        needed: usize,
    },
    /// v2 could be longer than anybody's is.
    #[error("sent a PROXY header (v2) of {length} bytes, and {most} is the most that is read")]
    TooLong {
        /// What it says.
        length: usize,
        /// Our limit.
        most: usize,
    },
}

/// The beginning of what a peer sent, in quotes and fit for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown(String);

/// How much of a word is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    With,
    Partly,
    Otherwise,
}

/// Reads the header at the beginning of `bytes`. Says so as soon as they cannot become one.
///
/// # Errors
/// What is wrong with them. More bytes never cure it.
pub fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    match (begins(bytes, v1::PREFIX), begins(bytes, v2::SIGNATURE)) {
        (Begins::With, _) => v1::parse(bytes),
        (_, Begins::With) => v2::parse(bytes),
        (Begins::Partly, _) | (_, Begins::Partly) => Ok(Parsed::NeedMore),
        (Begins::Otherwise, Begins::Otherwise) => Err(Malformed::NoHeader(Shown::of(bytes))),
    }
}

/// A header for a client with these ends; `None` where it has no addresses (a unix socket).
#[must_use]
pub fn encode(version: ProxyVersion, ends: Option<Ends>) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => v1::encode(ends),
        ProxyVersion::V2 => v2::encode(ends),
    }
}

fn begins(bytes: &[u8], with: &[u8]) -> Begins {
    if bytes.starts_with(with) {
        Begins::With
    } else if with.starts_with(bytes) {
        Begins::Partly
    } else {
        Begins::Otherwise
    }
}

// === impl Ends ===

impl Ends {
    fn new(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Self {
        Self {
            source: canonical(source.into()),
            destination: canonical(destination.into()),
        }
    }

    /// Both in one family, as a header has them: one IPv6 address makes both IPv6.
    fn in_one_family(self) -> (IpAddr, IpAddr) {
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => (source.into(), destination.into()),
            (source, destination) => (mapped(source).into(), mapped(destination).into()),
        }
    }
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

// === impl Shown ===

impl Shown {
    fn of(bytes: &[u8]) -> Self {
        const LONGEST: usize = 24;
        let some = &bytes[..bytes.len().min(LONGEST)];
        let more = if some.len() < bytes.len() { "..." } else { "" };
        Self(format!("\"{}\"{more}", some.escape_ascii()))
    }
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
