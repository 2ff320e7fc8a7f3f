//! PROXY headers, written out by hand, and what the kernel knows of who has read them.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpStream},
};

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

/// Waits until what this client has sent has been read at the other end, and left no trace in the
/// kernel.
#[track_caller]
pub fn until_taken(client: &TcpStream) {
    let ours = hex(client.local_addr().unwrap());
    let theirs = hex(client.peer_addr().unwrap());
    until("what was sent is taken", || {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        // Fields of proc_net_tcp: local, remote, state, tx_queue:rx_queue.
        let line = |local: &str, remote: &str| -> String {
            let ends = format!("{local} {remote} ");
            let line = table.lines().find(|line| line.contains(&ends));
            line.unwrap_or_default().to_owned()
        };
        let queue = |line: String, at: usize| {
            let queues = line.split_whitespace().nth(4).map(str::to_owned);
            queues.and_then(|q| q.split(':').nth(at).map(str::to_owned))
        };
        let empty = Some("00000000".to_owned());
        queue(line(&ours, &theirs), 0) == empty && queue(line(&theirs, &ours), 1) == empty
    });
}

fn hex(addr: SocketAddr) -> String {
    let SocketAddr::V4(v4) = addr else {
        panic!("/proc/net/tcp has IPv4 alone");
    };
    let ip = u32::from_ne_bytes(v4.ip().octets());
    format!("{ip:08X}:{:04X}", v4.port())
}
