//! PROXY headers, written out by hand.

use std::{
    net::{IpAddr, SocketAddr},
    os::unix::net::UnixStream,
};

use sleepingd::sys::net::Socket;

use super::until;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The line of text, for two IPv4 addresses.
pub fn v1(source: &str, destination: &str) -> Vec<u8> {
    let (source, destination) = (addr(source), addr(destination));
    let (ip, to) = (source.ip(), destination.ip());
    let ports = format!("{} {}", source.port(), destination.port());
    format!("PROXY TCP4 {ip} {to} {ports}\r\n").into_bytes()
}

/// The binary form, for two addresses of one family.
pub fn v2(source: &str, destination: &str) -> Vec<u8> {
    v2_with(source, destination, &[])
}

/// With something behind the addresses.
pub fn v2_with(source: &str, destination: &str, tlvs: &[u8]) -> Vec<u8> {
    let ends = [addr(source), addr(destination)];
    let mut rest = Vec::new();
    for end in ends {
        match end.ip() {
            IpAddr::V4(ip) => rest.extend(ip.octets()),
            IpAddr::V6(ip) => rest.extend(ip.octets()),
        }
    }
    for end in ends {
        rest.extend(end.port().to_be_bytes());
    }
    rest.extend(tlvs);
    let family = if ends[0].is_ipv4() { 0x11 } else { 0x21 };
    raw_v2(0x21, family, &rest)
}

/// LOCAL: the balancer itself.
pub fn v2_local() -> Vec<u8> {
    raw_v2(0x20, 0, &[])
}

pub fn raw_v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Waits until what this client has sent has been read; of a unix socket the kernel knows.
#[track_caller]
pub fn until_read(client: &UnixStream) {
    let socket = Socket::from_fd(client.try_clone().unwrap().into()).unwrap();
    until("what was sent is read", || {
        socket.unacknowledged().unwrap() == 0
    });
}
