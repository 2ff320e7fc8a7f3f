//! The line of text: `PROXY TCP4 192.0.2.1 198.51.100.7 56324 443`, and CR LF.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use super::{Begins, Ends, Header, Malformed, Parsed, Shown, begins};

pub(super) const PREFIX: &[u8] = b"PROXY ";

/// With its CR LF; the longest that two IPv6 addresses can make.
const MAX_LINE: usize = 107;

const END: &[u8] = b"\r\n";

/// `bytes` begin with [`PREFIX`].
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, Malformed> {
    let wrong = |what| Malformed::Line {
        what,
        line: Shown::of(bytes),
    };
    let kinds: [&[u8]; 3] = [b"TCP4 ", b"TCP6 ", b"UNKNOWN"];
    let kind = &bytes[PREFIX.len()..];
    if kinds.iter().all(|k| begins(kind, k) == Begins::Otherwise) {
        return Err(wrong("another protocol than TCP4, TCP6 and UNKNOWN"));
    }
    let start = &bytes[..bytes.len().min(MAX_LINE)];
    // Of a line that goes on, nothing is its end.
    let end = start.iter().position(|byte| b"\r\n".contains(byte));
    let end = end.unwrap_or(start.len());
    match begins(&start[end..], END) {
        Begins::With => {}
        Begins::Partly if start.len() < MAX_LINE => return Ok(Parsed::NeedMore),
        Begins::Partly => return Err(wrong("no end within 107 bytes")),
        Begins::Otherwise => return Err(wrong("another end than CR LF")),
    }
    let ends = line(&start[PREFIX.len()..end]).map_err(wrong)?;
    let length = end + END.len();
    Ok(Parsed::Whole(Header { ends, length }))
}

/// What stands between `PROXY ` and the end.
fn line(text: &[u8]) -> Result<Option<Ends>, &'static str> {
    // Whatever follows the word is to be ignored, but it must be the word.
    if text == b"UNKNOWN" || text.starts_with(b"UNKNOWN ") {
        return Ok(None);
    }
    let text = std::str::from_utf8(text).map_err(|_| "bytes that are not text")?;
    let words: Vec<&str> = text.splitn(6, ' ').collect();
    match words[..] {
        ["TCP4", source, destination, from, to] => {
            ends::<Ipv4Addr>(source, destination, from, to).map(Some)
        }
        ["TCP6", source, destination, from, to] => {
            ends::<Ipv6Addr>(source, destination, from, to).map(Some)
        }
        _ => Err("another number of words than two addresses and two ports"),
    }
}

fn ends<T: FromStr + Into<IpAddr>>(
    source: &str,
    destination: &str,
    from: &str,
    to: &str,
) -> Result<Ends, &'static str> {
    let address = |text: &str| match text.parse::<T>() {
        Ok(ip) => Ok(ip.into()),
        Err(_) => Err("an address that is none of its family"),
    };
    Ok(Ends::new(
        (address(source)?, port(from)?),
        (address(destination)?, port(to)?),
    ))
}

/// Digits alone, and none that means nothing: `parse` would take `+80` and `080`.
fn port(text: &str) -> Result<u16, &'static str> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    match text.parse() {
        Ok(port) if plain => Ok(port),
        _ => Err("a port that is no number from 0 to 65535"),
    }
}

pub(super) fn encode(ends: Option<Ends>) -> Vec<u8> {
    let Some(ends) = ends else {
        return b"PROXY UNKNOWN\r\n".to_vec();
    };
    let (source, destination) = ends.in_one_family();
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (ends.source.port(), ends.destination.port());
    format!("PROXY {family} {source} {destination} {from} {to}\r\n").into_bytes()
}
