//! Addresses, each with its role: who connects, where we listen, where a backend is.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// Where a client connected from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientAddr {
    /// Over TCP. An IPv4 client of a dual-stack listener is shown as IPv4.
    Tcp(SocketAddr),
    /// Over a unix socket: clients have no address there.
    Unix,
}

/// Our end of a client's connection: the address it connected to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LocalAddr {
    /// Over TCP. IPv4 is shown as IPv4.
    Tcp(SocketAddr),
    /// Over the unix socket of this path.
    Unix(PathBuf),
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenAddr {
    /// Every address of the machine, IPv6 and IPv4 by one socket; IPv4 alone where there is no
    /// IPv6.
    Any(u16),
    /// One address.
    Tcp(SocketAddr),
    /// A unix stream socket.
    Unix(PathBuf),
}

/// One address of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Destination {
    /// An address.
    Tcp(SocketAddr),
    /// A host name, looked up at each connect.
    Host {
        /// The name, as it was written.
        name: String,
        /// The TCP port.
        port: u16,
    },
    /// A unix stream socket.
    Unix(PathBuf),
}

/// Why a text is not a destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
    /// A port is missing.
    #[error("'{0}' has no port; write HOST:PORT")]
    NoPort(String),
    /// The port is not a number from 1 to 65535.
    #[error("'{0}' is not a port from 1 to 65535")]
    BadPort(String),
    /// The host is not an address, and not a host name either.
    #[error("'{0}' is neither an IP address nor a host name")]
    BadHost(String),
}

// === impl ClientAddr ===

impl ClientAddr {
    /// A client's socket address; IPv4 in IPv6 is unwrapped.
    #[must_use]
    pub fn tcp(addr: SocketAddr) -> Self {
        Self::Tcp(canonical(addr))
    }

    /// The IP address, where there is one.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(addr) => Some(addr.ip()),
            Self::Unix => None,
        }
    }

    /// The TCP port, where there is one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(addr) => Some(addr.port()),
            Self::Unix => None,
        }
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

// === impl LocalAddr ===

impl LocalAddr {
    /// Our end of a TCP connection; IPv4 in IPv6 is unwrapped.
    #[must_use]
    pub fn tcp(addr: SocketAddr) -> Self {
        Self::Tcp(canonical(addr))
    }
}

impl fmt::Display for LocalAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

// === impl ListenAddr ===

impl ListenAddr {
    /// The TCP port, where there is one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Any(port) => Some(*port),
            Self::Tcp(addr) => Some(addr.port()),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(port) => write!(f, "*:{port}"),
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

// === impl Destination ===

impl Destination {
    /// Reads `HOST` and `PORT`, as START prints them. A host is an IP address or a host name.
    ///
    /// # Errors
    /// Says which of the two is wrong.
    pub fn from_host_port(host: &str, port: &str) -> Result<Self, DestinationError> {
        let number = parse_port(port)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|h| h.strip_suffix(']'))
            .unwrap_or(host);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(Self::Tcp(canonical(SocketAddr::new(ip, number))));
        }
        if !is_host_name(host) {
            return Err(DestinationError::BadHost(host.to_owned()));
        }
        Ok(Self::Host {
            name: host.to_owned(),
            port: number,
        })
    }
}

impl FromStr for Destination {
    type Err = DestinationError;

    /// Reads `host:port`, `[ipv6]:port` or `/path.sock`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(DestinationError::Empty);
        }
        if text.starts_with('/') {
            return Ok(Self::Unix(PathBuf::from(text)));
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or_else(|| DestinationError::NoPort(text.to_owned()))?;
        // An unbracketed IPv6 address would lose its last group to the port.
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(DestinationError::BadHost(text.to_owned()));
        }
        Self::from_host_port(host, port)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Host { name, port } => write!(f, "{name}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A socket address with IPv4 unwrapped from its IPv6 form (`::ffff:a.b.c.d`, RFC 4291 2.5.5.2).
#[must_use]
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), v6.port()),
            None => addr,
        },
        SocketAddr::V4(_) => addr,
    }
}

/// A port from 1 to 65535.
///
/// # Errors
/// [`DestinationError::BadPort`] with the text.
pub fn parse_port(text: &str) -> Result<u16, DestinationError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(DestinationError::BadPort(text.to_owned())),
    }
}

/// Letters, digits, `-`, `_` and dots, up to 253 bytes (RFC 1123, and `_` as found in practice).
fn is_host_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 253
        && !text.starts_with(['-', '.'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        // All digits and dots would be a mistyped address, not a name.
        && text.bytes().any(|b| b.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_read_and_print_alike() {
        for text in [
            "127.0.0.1:80",
            "[::1]:80",
            "/run/x.sock",
            "web.example:8080",
        ] {
            let read: Destination = text.parse().unwrap();
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn bad_destinations_say_why() {
        let err = |text: &str| text.parse::<Destination>().unwrap_err().to_string();
        assert_eq!(
            err("127.0.0.1:70000"),
            "'70000' is not a port from 1 to 65535"
        );
        assert_eq!(err("127.0.0.1"), "'127.0.0.1' has no port; write HOST:PORT");
        assert!(err("300.1.1.1:80").contains("neither an IP address nor a host name"));
        assert!(err("::1:80").contains("neither"));
    }

    #[test]
    fn mapped_clients_are_ipv4() {
        let addr: SocketAddr = "[::ffff:10.0.0.1]:5".parse().unwrap();
        assert_eq!(ClientAddr::tcp(addr).to_string(), "10.0.0.1:5");
    }
}
