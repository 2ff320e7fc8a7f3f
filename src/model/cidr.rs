//! Lists of networks: who may connect, who is not counted.

use std::{fmt, net::IpAddr, str::FromStr};

/// A network, `10.0.0.0/8` or `fd00::/8`; a bare address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

/// Some networks. Matches IPv4-mapped IPv6 addresses as IPv4.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CidrList(Vec<Cidr>);

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// The part before the slash is not an address.
    #[error("'{0}' is not an IP address or network; write 10.0.0.0/8 or 2001:db8::/32")]
    Address(String),
    /// The part after the slash is not a prefix length of that family.
    #[error("'{0}' has no prefix length from 0 to {1}")]
    Prefix(String, u8),
}

impl Cidr {
    /// Whether the address is in this network.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.network, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                leading(u128::from(net.to_bits()) << 96, self.prefix)
                    == leading(u128::from(ip.to_bits()) << 96, self.prefix)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                leading(net.to_bits(), self.prefix) == leading(ip.to_bits(), self.prefix)
            }
            _ => false,
        }
    }
}

/// The first `prefix` bits; a shift by 128 would be an overflow, so no bits is its own case.
fn leading(bits: u128, prefix: u8) -> u128 {
    if prefix == 0 {
        0
    } else {
        bits >> (128 - u32::from(prefix))
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let network: IpAddr = address
            .parse()
            .map_err(|_| CidrError::Address(text.to_owned()))?;
        let (written_max, mapped) = match network {
            IpAddr::V4(_) => (32, 0),
            IpAddr::V6(v6) => (128, if v6.to_ipv4_mapped().is_some() { 96 } else { 0 }),
        };
        let prefix = match prefix {
            None => written_max,
            Some(prefix) => match prefix.parse::<u8>() {
                Ok(p) if p <= written_max && p >= mapped => p,
                _ => return Err(CidrError::Prefix(text.to_owned(), written_max)),
            },
        };
        Ok(Self {
            network: network.to_canonical(),
            prefix: prefix - mapped,
        })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl CidrList {
    /// The networks given.
    #[must_use]
    pub fn new(networks: Vec<Cidr>) -> Self {
        Self(networks)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any of them has this address.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|cidr| cidr.contains(ip))
    }
}

impl fmt::Display for CidrList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, cidr) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            cidr.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_match_their_addresses_and_no_others() {
        let has = |net: &str, ip: &str| {
            net.parse::<Cidr>()
                .unwrap()
                .contains(ip.parse::<IpAddr>().unwrap())
        };
        assert!(has("10.0.0.0/8", "10.255.1.2"));
        assert!(!has("10.0.0.0/8", "11.0.0.0"));
        assert!(has("10.0.0.0/8", "::ffff:10.1.1.1"));
        assert!(has("::ffff:10.0.0.0/104", "10.1.1.1"));
        assert!(has("0.0.0.0/0", "192.0.2.1"));
        assert!(!has("0.0.0.0/0", "2001:db8::1"));
        assert!(has("192.0.2.1", "192.0.2.1"));
        assert!(!has("192.0.2.1", "192.0.2.2"));
        assert!(has("fd00::/8", "fdff::1"));
        assert!(has("::/0", "fdff::1"));
    }

    #[test]
    fn bad_networks_are_refused() {
        for text in ["10.0.0.0/33", "x", "10.0.0.0/", "::/129", ""] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
