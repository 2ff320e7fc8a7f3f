//! PROXY protocol: whose header is believed, and which one is sent.

use std::{fmt, str::FromStr};

use super::{Cidr, CidrError, CidrList, ClientAddr};

/// SEND_PROXY and ACCEPT_PROXY.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyProtocol {
    /// SEND_PROXY: what each connection to a destination begins with.
    pub send: Option<ProxyVersion>,
    /// ACCEPT_PROXY: whose connections begin with a header.
    pub accept: TrustedSources,
}

/// How a header is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Those whose word is taken for where a client comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustedSources {
    networks: CidrList,
    unix: bool,
}

/// One word of ACCEPT_PROXY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedSource {
    /// Whoever connects from there.
    Network(Cidr),
    /// Whoever connects to a unix socket: the permissions of its path say who that is.
    Unix,
}

// === impl TrustedSources ===

impl TrustedSources {
    /// Those given.
    #[must_use]
    pub fn new(sources: Vec<TrustedSource>) -> Self {
        let unix = sources.contains(&TrustedSource::Unix);
        let networks = sources.into_iter().filter_map(|source| match source {
            TrustedSource::Network(network) => Some(network),
            TrustedSource::Unix => None,
        });
        Self {
            networks: CidrList::new(networks.collect()),
            unix,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// Whether whoever connects from there is one of them.
    #[must_use]
    pub fn trusts(&self, source: &ClientAddr) -> bool {
        source
            .ip()
            .map_or(self.unix, |ip| self.networks.contains(ip))
    }
}

impl fmt::Display for TrustedSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.networks.is_empty(), self.unix) {
            (true, true) => f.write_str("unix"),
            (_, false) => self.networks.fmt(f),
            (false, true) => write!(f, "{} unix", self.networks),
        }
    }
}

impl FromStr for TrustedSource {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.eq_ignore_ascii_case("unix") {
            return Ok(Self::Unix);
        }
        text.parse().map(Self::Network)
    }
}

impl fmt::Display for ProxyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(text: &str) -> TrustedSources {
        TrustedSources::new(text.split(' ').map(|w| w.parse().unwrap()).collect())
    }

    #[test]
    fn only_those_that_are_named_are_trusted() {
        let tcp = |text: &str| ClientAddr::tcp(text.parse().unwrap());
        let some = sources("10.0.0.0/8 2001:db8::1");
        assert!(some.trusts(&tcp("10.1.2.3:4")));
        assert!(some.trusts(&tcp("[::ffff:10.1.2.3]:4")));
        assert!(some.trusts(&tcp("[2001:db8::1]:4")));
        assert!(!some.trusts(&tcp("11.0.0.1:4")));
        assert!(!some.trusts(&ClientAddr::Unix));
        let unix = sources("UNIX");
        assert!(unix.trusts(&ClientAddr::Unix));
        assert!(!unix.trusts(&tcp("127.0.0.1:1")));
        assert!(!TrustedSources::default().trusts(&ClientAddr::Unix));
        assert!(!TrustedSources::default().trusts(&tcp("127.0.0.1:1")));
    }

    #[test]
    fn they_are_shown_as_they_are_written() {
        assert!(TrustedSources::default().is_empty());
        for text in ["10.0.0.0/8 ::1/128", "unix", "10.0.0.0/8 unix"] {
            assert_eq!(sources(text).to_string(), text);
            assert!(!sources(text).is_empty());
        }
    }
}
