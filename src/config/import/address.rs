//! Addresses as ynetd, and so Go, reads them; and how we write the same.

use std::net::{IpAddr, Ipv6Addr};

use crate::{config::lines::shorten, model::Destination};

/// Why an address is not to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unfit {
    /// ynetd would not take it.
    Refused(String),
    /// ynetd takes it, and we have nothing of the kind.
    Unknown(String),
}

/// An address to listen on: `HOST:PORT`, `:PORT`, `interface:NAME:PORT`.
pub(super) fn listener(text: &str) -> Result<String, Unfit> {
    if let ["interface", name, port] = text.split(':').collect::<Vec<_>>()[..] {
        let port = port_number(port, text)?;
        if name.is_empty() {
            return Err(refused(text, "names no interface"));
        }
        if name.contains(char::is_whitespace) || name.contains(char::is_control) {
            return Err(unknown(text, "has blanks in the name of an interface"));
        }
        return Ok(format!("interface:{name}:{port}"));
    }
    let (host, port) = host_and_port(text)?;
    let port = port_number(port, text)?;
    // Go takes the zero address of either family for all addresses of both.
    if host.is_empty() || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        return Ok(format!(":{port}"));
    }
    written(host, port, text)
}

/// A destination: `HOST:PORT`, `exec:/PATH`.
pub(super) fn destination(text: &str) -> Result<String, Unfit> {
    if let Some(path) = text.strip_prefix("exec:") {
        if !path.starts_with('/') {
            return Err(refused(
                text,
                "is not the full path of a command; it begins with a '/'",
            ));
        }
        if path.contains(|c: char| c.is_whitespace() || c.is_control() || "\"'\\".contains(c)) {
            let why = "has blanks, quotes or backslashes in the path; make a link without them";
            return Err(unknown(text, why));
        }
        return Ok(text.to_owned());
    }
    let (host, port) = host_and_port(text)?;
    let port = port_number(port, text)?;
    // Go connects to this very machine then.
    written(if host.is_empty() { "localhost" } else { host }, port, text)
}

/// Splits at the last colon; a host with colons in it is in brackets.
fn host_and_port(text: &str) -> Result<(&str, &str), Unfit> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(refused(text, "has no port; write HOST:PORT"));
    };
    let bare = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']'),
        None => Some(host).filter(|host| !host.contains(':')),
    };
    let bare = bare.filter(|host| !host.contains(['[', ']']));
    match bare {
        Some(host) => Ok((host, port)),
        None => Err(refused(
            text,
            "is no HOST:PORT; an IPv6 address is in brackets",
        )),
    }
}

fn port_number(port: &str, text: &str) -> Result<u16, Unfit> {
    let number = port.strip_prefix('+').unwrap_or(port);
    if number.is_empty() {
        return Err(unknown(
            text,
            "has no port, by which ynetd takes any that is free",
        ));
    }
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        let name = port.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && port.bytes().any(|b| b.is_ascii_alphabetic());
        return Err(if name {
            unknown(text, "has a port by name; write its number")
        } else {
            refused(text, "has no port from 1 to 65535")
        });
    }
    match number.parse() {
        Ok(0) => Err(unknown(
            text,
            "has port 0, by which ynetd takes any that is free",
        )),
        Ok(number) => Ok(number),
        Err(_) => Err(refused(text, "has no port from 1 to 65535")),
    }
}

fn written(host: &str, port: u16, text: &str) -> Result<String, Unfit> {
    if let Some((ip, zone)) = host.split_once('%') {
        let scoped = ip.parse::<Ipv6Addr>().is_ok() && !zone.is_empty();
        // Our parser knows interfaces by number here.
        return Err(if scoped && zone.bytes().all(|b| b.is_ascii_graphic()) {
            unknown(
                text,
                "names an interface in an IPv6 address; write interface:NAME:PORT",
            )
        } else {
            refused(text, "is no address")
        });
    }
    match Destination::from_host_port(host, &port.to_string()) {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(refused(
            text,
            "has no IP address and no host name before its port",
        )),
    }
}

fn refused(text: &str, why: &str) -> Unfit {
    Unfit::Refused(format!("'{}' {why}", shorten(text)))
}

fn unknown(text: &str, why: &str) -> Unfit {
    Unfit::Unknown(format!("'{}' {why}", shorten(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_on_are_written_as_we_read_them() {
        for (theirs, ours) in [
            (":5000", ":5000"),
            ("0.0.0.0:5000", ":5000"),
            ("[::]:5000", ":5000"),
            ("localhost:0080", "localhost:80"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("[::1]:65535", "[::1]:65535"),
            ("interface:eth0:5000", "interface:eth0:5000"),
            ("my.host:1", "my.host:1"),
        ] {
            assert_eq!(listener(theirs).as_deref(), Ok(ours), "{theirs}");
        }
    }

    #[test]
    fn destinations_are_written_as_we_read_them() {
        for (theirs, ours) in [
            (":5000", "localhost:5000"),
            ("remote.host:8080", "remote.host:8080"),
            ("[::1]:80", "[::1]:80"),
            ("exec:/usr/bin/where", "exec:/usr/bin/where"),
        ] {
            assert_eq!(destination(theirs).as_deref(), Ok(ours), "{theirs}");
        }
    }

    #[test]
    fn what_ynetd_refuses_and_what_we_do_not_have_are_told_apart() {
        for text in [
            "",
            "localhost",
            "5000",
            "::1:80",
            "[::1]",
            "[::1]x:80",
            "a:70000",
            "a:-1",
            "a:x y",
            "interface::80",
            "interface:a:b:80",
            "300.1.1.1:80",
            "*:80",
            "a b:80",
        ] {
            let unfit = listener(text).unwrap_err();
            assert!(matches!(unfit, Unfit::Refused(_)), "{text}: {unfit:?}");
        }
        for text in [":http", ":0", ":", "[fe80::1%eth0]:80", "interface:a b:80"] {
            let unfit = listener(text).unwrap_err();
            assert!(matches!(unfit, Unfit::Unknown(_)), "{text}: {unfit:?}");
        }
        for text in ["exec:where", "exec:", "/run/x.sock", "host"] {
            let unfit = destination(text).unwrap_err();
            assert!(matches!(unfit, Unfit::Refused(_)), "{text}: {unfit:?}");
        }
        for text in ["exec:/my where", "host:0", "host:ssh"] {
            let unfit = destination(text).unwrap_err();
            assert!(matches!(unfit, Unfit::Unknown(_)), "{text}: {unfit:?}");
        }
    }
}
