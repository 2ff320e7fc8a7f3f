//! What a generated socket unit is called.
//!
//! `sleepingd-SLUG_ADDRESS.socket`, with the address in the name: systemd closes a socket whose
//! ListenStream= has changed under the same name at the next daemon-reload, and does not open it
//! again (seen with 252 and 257). So a changed address is a new unit, and the old one is stale.
//!
//! No colon in it, though one may be: `systemd-analyze verify` takes what follows for an alias.

use std::net::SocketAddr;

use crate::model::{ListenAddr, Slug};

/// Every generated unit begins so.
const PREFIX: &str = "sleepingd-";

/// And ends so.
const SUFFIX: &str = ".socket";

/// Longer names are cut, and told apart by a hash. A unit's name may have 255 characters
/// (systemd.unit(5)).
const LONGEST: usize = 200;

/// The name of the unit for one address of a service: the same in every run and every version, and
/// no two addresses have one name.
#[must_use]
pub fn unit_name(slug: &Slug, addr: &ListenAddr) -> String {
    let address = match addr {
        ListenAddr::Any(port) => port.to_string(),
        ListenAddr::Tcp(SocketAddr::V4(addr)) => format!("{}_{}", addr.ip(), addr.port()),
        ListenAddr::Tcp(_) | ListenAddr::Unix(_) => addr.to_string(),
    };
    let exact = format!("{slug}_{address}");
    let readable: String = exact.chars().map(harmless).take(LONGEST).collect();
    // What had to be changed may look like something else now.
    let told_apart = if readable == exact {
        String::new()
    } else {
        format!("_x{:08x}", hash(&exact))
    };
    format!("{PREFIX}{readable}{told_apart}{SUFFIX}")
}

/// What needs no escape in a unit's name, nor quotes in a shell.
fn harmless(c: char) -> char {
    match c {
        '/' => '-',
        c if c.is_ascii_alphanumeric() || "-._".contains(c) => c,
        _ => '_',
    }
}

/// FNV-1a: names must not change with the version of a library.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::model::ServiceName;

    fn name(service: &str, addr: ListenAddr) -> String {
        unit_name(&ServiceName::new(service).slug().unwrap(), &addr)
    }

    fn tcp(text: &str) -> ListenAddr {
        ListenAddr::Tcp(text.parse().unwrap())
    }

    #[test]
    fn a_usual_address_is_in_the_name_as_it_is() {
        assert_eq!(name("Web", ListenAddr::Any(80)), "sleepingd-web_80.socket");
        assert_eq!(
            name("my web", tcp("127.0.0.1:8080")),
            "sleepingd-my-web_127.0.0.1_8080.socket"
        );
    }

    #[test]
    fn no_two_addresses_have_one_name() {
        let names = [
            name("web", ListenAddr::Unix("/run/a/b".into())),
            name("web", ListenAddr::Unix("/run/a-b".into())),
            name("web", ListenAddr::Unix("/run/a b".into())),
            name(
                "web",
                ListenAddr::Unix(format!("/{}a", "x".repeat(300)).into()),
            ),
            name(
                "web",
                ListenAddr::Unix(format!("/{}b", "x".repeat(300)).into()),
            ),
            name("web", tcp("[::1]:80")),
            name("web", tcp("[::]:80")),
            name("web", tcp("0.0.0.0:80")),
            name("web", ListenAddr::Any(80)),
            name("web-80", ListenAddr::Any(80)),
        ];
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
        for name in &names {
            assert!(name.len() < 256, "{name}");
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            assert!(name.chars().all(plain), "{name}");
        }
    }
}
