//! Values that are lists of addresses: where to listen, where to connect, whom to let in.

use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use super::{
    lines::{Value, shorten},
    values::strip_prefix_ignoring_case,
};
use crate::model::{Cidr, Destination, ListenAddr, TrustedSource, addr};

/// `sun_path` with its NUL, unix(7).
const MAX_SOCKET_PATH: usize = 108;

/// Reads each of several words. All errors at once.
fn words<T>(text: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let mut values = Vec::new();
    let mut errors = Vec::new();
    for word in text.split_ascii_whitespace() {
        match read(word) {
            Ok(value) => values.push(value),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(values)
    } else {
        Err(errors.join("; "))
    }
}

/// ALLOW, DENY, IGNORE: networks; `no` is none.
pub(super) fn networks(value: &Value) -> Result<Vec<Cidr>, String> {
    if value.trimmed().eq_ignore_ascii_case("no") {
        return Ok(Vec::new());
    }
    words(&value.text, |word| {
        word.parse::<Cidr>().map_err(|e| with_comma_hint(word, &e))
    })
}

/// ACCEPT_PROXY: networks, and `unix`; `no` is none.
pub(super) fn trusted_sources(value: &Value) -> Result<Vec<TrustedSource>, String> {
    let one_of = |words: [&str; 2]| {
        words
            .iter()
            .any(|word| word.eq_ignore_ascii_case(value.trimmed()))
    };
    if one_of(["no", "false"]) {
        return Ok(Vec::new());
    }
    if one_of(["yes", "true"]) {
        // Whoever is believed can pass for anybody, so this must be said in so many words.
        return Err(format!(
            "'{}' does not say whom to trust; list the addresses of those that send the header, \
             or 0.0.0.0/0 ::/0 for everybody",
            shorten(value.trimmed())
        ));
    }
    words(&value.text, |word| {
        word.parse::<TrustedSource>()
            .map_err(|e| with_comma_hint(word, &e))
    })
}

/// SOCKET: names of descriptors, sd_listen_fds_with_names(3). Names with blanks in them are
/// quoted.
pub(super) fn socket_names(value: &Value) -> Result<Vec<String>, String> {
    let names = super::words::split(&value.text)?;
    for name in &names {
        let good = !name.is_empty()
            && name.len() <= 255
            && name
                .bytes()
                .all(|b| (b' '..=b'~').contains(&b) && b != b':');
        if !good {
            return Err(format!(
                "'{}' is not a name of a socket: up to 255 ASCII characters, no ':'",
                shorten(name)
            ));
        }
    }
    Ok(names)
}

/// PORT: addresses to listen on.
pub(super) fn listeners(value: &Value) -> Result<Vec<ListenAddr>, String> {
    // Sleeping-beauty's way to have none.
    if value.trimmed() == "-" {
        return Ok(Vec::new());
    }
    words(&value.text, listener)
}

fn listener(word: &str) -> Result<ListenAddr, String> {
    if word.starts_with('/') {
        return socket_path(word).map(ListenAddr::Unix);
    }
    if strip_prefix_ignoring_case(word, "interface:").is_some() {
        return Err(format!(
            "'{}': interface: is not supported yet",
            shorten(word)
        ));
    }
    let Some((host, port)) = word.rsplit_once(':') else {
        if word.contains('.') || word.starts_with(|c: char| !c.is_ascii_digit() && c != '-') {
            return Err(no_address(word));
        }
        return port_number(word, word).map(ListenAddr::Any);
    };
    let port = port_number(port, word)?;
    if host.is_empty() || host == "*" {
        return Ok(ListenAddr::Any(port));
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Ok(ListenAddr::Tcp(SocketAddr::new(
            IpAddr::from([127, 0, 0, 1]),
            port,
        )));
    }
    // The whole, for the sake of `[fe80::1%2]:80`.
    if let Ok(address) = word.parse::<SocketAddr>() {
        return Ok(ListenAddr::Tcp(addr::canonical(address)));
    }
    match Destination::from_host_port(host, "1") {
        Ok(Destination::Host { .. }) => Err(format!(
            "'{}': listening on a host name is not supported yet; write its IP address",
            shorten(word)
        )),
        _ => Err(no_address(word)),
    }
}

fn no_address(word: &str) -> String {
    let message = format!(
        "'{}' is not an address to listen on; write PORT, IP:PORT, [IPv6]:PORT or /PATH",
        shorten(word)
    );
    with_comma_hint(word, &message)
}

fn port_number(text: &str, word: &str) -> Result<u16, String> {
    addr::parse_port(text).map_err(|e| with_comma_hint(word, &e))
}

fn socket_path(text: &str) -> Result<PathBuf, String> {
    if text.len() >= MAX_SOCKET_PATH {
        return Err(format!(
            "'{}' is longer than the {} bytes a socket's path may have",
            shorten(text),
            MAX_SOCKET_PATH - 1
        ));
    }
    if text.ends_with('/') {
        return Err(format!("'{}' is a directory, not a socket", shorten(text)));
    }
    Ok(PathBuf::from(text))
}

/// TARGET: destinations.
pub(super) fn targets(value: &Value) -> Result<Vec<Destination>, String> {
    let all: Vec<&str> = value.text.split_ascii_whitespace().collect();
    // As START prints it; an easy thing to mix up, and each word alone would be a puzzle.
    if let [host, port] = all[..] {
        if !host.contains([':', '/']) && addr::parse_port(port).is_ok() {
            return Err(format!(
                "'{host} {port}' is what START prints; here write {host}:{port}"
            ));
        }
    }
    words(&value.text, target)
}

fn target(word: &str) -> Result<Destination, String> {
    if word.starts_with('/') {
        return socket_path(word).map(Destination::Unix);
    }
    for scheme in ["exec:", "srv:"] {
        if strip_prefix_ignoring_case(word, scheme).is_some() {
            return Err(format!(
                "'{}': {scheme} is not supported yet",
                shorten(word)
            ));
        }
    }
    Destination::from_str(word).map_err(|error| with_comma_hint(word, &error))
}

fn with_comma_hint(word: &str, error: &dyn Display) -> String {
    if word.starts_with('#') {
        format!("{error} (a comment after several words needs a line of its own)")
    } else if word.contains(',') {
        format!("{error} (several are separated by spaces)")
    } else {
        error.to_string()
    }
}
