//! Good headers, bad ones, and every way to cut one.

use std::net::SocketAddr;

use super::*;

const DATA: &[u8] = b"GET / HTTP/1.1\r\n";

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [v2::SIGNATURE, &[command, family], &length, rest].concat()
}

const IPV4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 1, 0xbb];

fn ipv6() -> Vec<u8> {
    let addr = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
    let ports = [0xdc, 0x04, 1, 0xbb];
    [
        &addr("2001:db8::1")[..],
        &addr("::ffff:10.0.0.1")[..],
        &ports,
    ]
    .concat()
}

fn with_tlvs(addresses: &[u8], length: usize) -> Vec<u8> {
    let mut rest = addresses.to_vec();
    rest.resize(length, 0xee);
    rest
}

/// `192.0.2.1:56324 198.51.100.7:443`, or `-`.
fn shown(ends: Option<Ends>) -> String {
    ends.map_or("-".to_owned(), |e| {
        format!("{} {}", e.source, e.destination)
    })
}

/// Headers, and what they say.
fn good() -> Vec<(Vec<u8>, &'static str)> {
    let text = |line: &str| line.as_bytes().to_vec();
    let ipv4 = "192.0.2.1:56324 198.51.100.7:443";
    let ipv6_ends = "[2001:db8::1]:56324 10.0.0.1:443";
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    vec![
        (
            text("PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"),
            ipv4,
        ),
        (
            text("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n"),
            "0.0.0.0:0 255.255.255.255:65535",
        ),
        (
            text("PROXY TCP6 2001:DB8::1 ::ffff:10.0.0.1 56324 443\r\n"),
            ipv6_ends,
        ),
        (
            text(&format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n")),
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535 [ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
        ),
        (text("PROXY UNKNOWN\r\n"), "-"),
        (text("PROXY UNKNOWN what ever  it is\r\n"), "-"),
        (
            text(&format!(
                "PROXY UNKNOWN {longest} {longest} 65535 65535\r\n"
            )),
            "-",
        ),
        (v2(0x21, 0x11, IPV4), ipv4),
        (v2(0x21, 0x11, &with_tlvs(IPV4, 300)), ipv4),
        (v2(0x21, 0x11, &with_tlvs(IPV4, 4096)), ipv4),
        (v2(0x21, 0x21, &ipv6()), ipv6_ends),
        (v2(0x21, 0x21, &with_tlvs(&ipv6(), 40)), ipv6_ends),
        // A datagram's, a unix socket's, nobody's.
        (v2(0x21, 0x12, IPV4), "-"),
        (v2(0x21, 0x22, &ipv6()), "-"),
        (v2(0x21, 0x31, &[b'/'; 216]), "-"),
        (v2(0x21, 0x32, &[0; 220]), "-"),
        (v2(0x21, 0x00, &[]), "-"),
        (v2(0x21, 0x00, IPV4), "-"),
        // LOCAL, whatever else it says.
        (v2(0x20, 0x00, &[]), "-"),
        (v2(0x20, 0x11, IPV4), "-"),
        (v2(0x20, 0x11, &[1, 2]), "-"),
        (v2(0x20, 0xff, &[0; 20]), "-"),
    ]
}

#[test]
fn good_headers_are_read_and_what_follows_them_is_not() {
    for (header, expected) in good() {
        let length = header.len();
        for bytes in [header.clone(), [&header, DATA].concat()] {
            let shown_bytes = bytes.escape_ascii();
            match parse(&bytes) {
                Ok(Parsed::Whole(read)) => {
                    assert_eq!(shown(read.ends), expected, "{shown_bytes}");
                    assert_eq!(read.length, length, "{shown_bytes}");
                    assert!(read.length <= MAX_LENGTH);
                }
                other => panic!("{shown_bytes}: {other:?}"),
            }
        }
    }
}

#[test]
fn of_every_good_header_that_is_cut_short_more_is_wanted() {
    for (header, _) in good() {
        for length in 0..header.len() {
            let cut = &header[..length];
            assert_eq!(parse(cut), Ok(Parsed::NeedMore), "{}", cut.escape_ascii());
        }
    }
}

/// What is sent, how much of it is enough to know, and what is said of it.
fn bad() -> Vec<(Vec<u8>, usize, &'static str)> {
    let text = |line: &str| line.as_bytes().to_vec();
    let tcp4 = |rest: &str| format!("PROXY TCP4 {rest}").into_bytes();
    let endless = |length: usize| {
        let mut line = b"PROXY UNKNOWN ".to_vec();
        line.resize(length, b'x');
        line
    };
    let address = "sent a PROXY header (v1) with an address that is none of its family: ";
    let port = "sent a PROXY header (v1) with a port that is no number from 0 to 65535: ";
    let words =
        "sent a PROXY header (v1) with another number of words than two addresses and two ports: ";
    let protocol = "sent a PROXY header (v1) with another protocol than TCP4, TCP6 and UNKNOWN: ";
    let end = "sent a PROXY header (v1) with another end than CR LF: ";
    vec![
        (
            text("GET / HTTP/1.1\r\n"),
            1,
            "sent no PROXY header, it begins with \"G\"",
        ),
        (
            text("PROXX"),
            5,
            "sent no PROXY header, it begins with \"PROXX\"",
        ),
        (
            text("proxy TCP4 "),
            1,
            "sent no PROXY header, it begins with \"p\"",
        ),
        (
            text("\r\n\r\nQ"),
            5,
            "sent no PROXY header, it begins with \"\\r\\n\\r\\nQ\"",
        ),
        (
            text("PROXYTCP4 1.2.3.4 1.2.3.4 1 1\r\n"),
            6,
            "sent no PROXY header, it begins with \"PROXYT\"",
        ),
        (text("PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n"), 10, protocol),
        (text("PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n"), 7, protocol),
        (text("PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n"), 8, protocol),
        (text("PROXY \r\n"), 7, protocol),
        (text("PROXY UNKNOWNX\r\n"), 16, words),
        (tcp4("1.2.3.4 1.2.3.4 1 1\n"), 31, end),
        (tcp4("1.2.3.4 1.2.3.4 1 1\rX"), 32, end),
        (tcp4("\r\r\n"), 13, end),
        (tcp4("1.2.3.4 1.2.3.4 1 1 \r\n"), 33, words),
        (tcp4("1.2.3.4 1.2.3.4 1 1 1 1 1 1\r\n"), 40, words),
        (tcp4("1.2.3.4  1.2.3.4 1 1\r\n"), 33, words),
        (tcp4("1.2.3.4 1.2.3.4 1\r\n"), 30, words),
        (tcp4("\r\n"), 13, words),
        (tcp4("1.2.3.4 1.2.3.04 1 1\r\n"), 33, address),
        (tcp4("1.2.3.4 1.2.3.256 1 1\r\n"), 34, address),
        (tcp4("1.2.3 1.2.3.4 1 1\r\n"), 30, address),
        (tcp4("::1 ::1 1 1\r\n"), 24, address),
        (tcp4("a.example 1.2.3.4 1 1\r\n"), 34, address),
        (text("PROXY TCP6 1.2.3.4 1.2.3.4 1 1\r\n"), 32, address),
        (text("PROXY TCP6 [::1] [::1] 1 1\r\n"), 28, address),
        (text("PROXY TCP6 fe80::1%2 ::1 1 1\r\n"), 30, address),
        (tcp4("1.2.3.4 1.2.3.4 65536 1\r\n"), 36, port),
        (tcp4("1.2.3.4 1.2.3.4 1 080\r\n"), 34, port),
        (tcp4("1.2.3.4 1.2.3.4 1 00\r\n"), 33, port),
        (tcp4("1.2.3.4 1.2.3.4 +1 1\r\n"), 33, port),
        (tcp4("1.2.3.4 1.2.3.4 -1 1\r\n"), 33, port),
        (tcp4("1.2.3.4 1.2.3.4 1 http\r\n"), 35, port),
        (
            [&tcp4("1.2.3.4 1.2.3.4 1 1")[..], b"\xff\r\n"].concat(),
            33,
            "sent a PROXY header (v1) with bytes that are not text: ",
        ),
        (
            endless(200),
            107,
            "sent a PROXY header (v1) with no end within 107 bytes: ",
        ),
        (
            [endless(106), b"\r\n".to_vec()].concat(),
            107,
            "sent a PROXY header (v1) with no end within 107 bytes: ",
        ),
        (
            v2(0x11, 0x11, IPV4),
            13,
            "sent a PROXY header (v2) with a version that does not exist: 0x11",
        ),
        (
            v2(0x22, 0x11, IPV4),
            13,
            "sent a PROXY header (v2) with a command that does not exist: 0x22",
        ),
        (
            v2(0x21, 0x41, IPV4),
            14,
            "sent a PROXY header (v2) with a family that does not exist: 0x41",
        ),
        (
            v2(0x21, 0x13, IPV4),
            14,
            "sent a PROXY header (v2) with a family that does not exist: 0x13",
        ),
        (
            v2(0x21, 0x01, IPV4),
            14,
            "sent a PROXY header (v2) with a family that does not exist: 0x01",
        ),
        (
            v2(0x21, 0x10, IPV4),
            14,
            "sent a PROXY header (v2) with a family that does not exist: 0x10",
        ),
        (
            v2(0x21, 0x11, &IPV4[..11]),
            16,
            "sent a PROXY header (v2) of 11 bytes, where its addresses alone take 12",
        ),
        (
            v2(0x21, 0x21, IPV4),
            16,
            "sent a PROXY header (v2) of 12 bytes, where its addresses alone take 36",
        ),
        (
            v2(0x21, 0x31, &[0; 215]),
            16,
            "sent a PROXY header (v2) of 215 bytes, where its addresses alone take 216",
        ),
        (
            v2(0x21, 0x11, &with_tlvs(IPV4, 4097)),
            16,
            "sent a PROXY header (v2) of 4097 bytes, and 4096 is the most that is read",
        ),
        (
            v2(0x20, 0x00, &[0; 65_535]),
            16,
            "sent a PROXY header (v2) of 65535 bytes, and 4096 is the most that is read",
        ),
    ]
}

#[test]
fn bad_headers_are_refused_as_soon_as_they_can_be_known() {
    for (bytes, enough, expected) in bad() {
        let shown = bytes[..bytes.len().min(60)].escape_ascii().to_string();
        for length in 0..enough {
            assert_eq!(
                parse(&bytes[..length]),
                Ok(Parsed::NeedMore),
                "{length} of {shown}"
            );
        }
        let error = parse(&bytes[..enough]).expect_err(&shown).to_string();
        assert!(error.starts_with(expected), "{shown}: {error}");
        // More never cures it.
        for length in enough..bytes.len().min(300) {
            assert!(parse(&bytes[..length]).is_err(), "{length} of {shown}");
        }
        assert!(parse(&[&bytes, DATA].concat()).is_err(), "{shown}");
    }
}

#[test]
fn what_a_stranger_sent_is_fit_for_a_log() {
    let said = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
    assert_eq!(
        said(b"\x1b[2J\n\xff and so on, and so on, and so on"),
        "sent no PROXY header, it begins with \"\\x1b[2J\\n\\xff and so on, and so\"..."
    );
}

#[test]
fn what_is_written_reads_the_same() {
    let mut rng = fastrand::Rng::with_seed(7);
    let ip = |rng: &mut fastrand::Rng| -> IpAddr {
        match rng.u8(0..3) {
            0 => Ipv6Addr::from(rng.u128(..)).into(),
            1 => std::net::Ipv4Addr::from(rng.u32(..))
                .to_ipv6_mapped()
                .into(),
            _ => std::net::Ipv4Addr::from(rng.u32(..)).into(),
        }
    };
    for _ in 0..20_000 {
        let ends = Ends::new((ip(&mut rng), rng.u16(..)), (ip(&mut rng), rng.u16(..)));
        let ends = rng.u8(0..20).ne(&0).then_some(ends);
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let bytes = encode(version, ends);
            let length = bytes.len();
            let whole = Ok(Parsed::Whole(Header { ends, length }));
            assert_eq!(parse(&bytes), whole, "{}", bytes.escape_ascii());
            assert_eq!(parse(&[&bytes, DATA].concat()), whole);
            let cut = rng.usize(..length);
            assert_eq!(parse(&bytes[..cut]), Ok(Parsed::NeedMore));
        }
    }
}

#[test]
fn headers_are_written_as_the_specification_has_them() {
    let ends = |source: &str, destination: &str| {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        Some(Ends {
            source: addr(source),
            destination: addr(destination),
        })
    };
    let v1 = |ends| String::from_utf8(encode(ProxyVersion::V1, ends)).unwrap();
    let both4 = ends("192.0.2.1:56324", "198.51.100.7:443");
    let both6 = ends("[2001:db8::1]:1", "[fe80::1%3]:2");
    let mixed = ends("192.0.2.1:1", "[2001:db8::1]:2");
    assert_eq!(v1(both4), "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n");
    assert_eq!(v1(both6), "PROXY TCP6 2001:db8::1 fe80::1 1 2\r\n");
    assert_eq!(v1(mixed), "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::1 1 2\r\n");
    assert_eq!(v1(None), "PROXY UNKNOWN\r\n");
    assert_eq!(encode(ProxyVersion::V2, both4), v2(0x21, 0x11, IPV4));
    assert_eq!(encode(ProxyVersion::V2, None), v2(0x20, 0, &[]));
    let mixed = encode(ProxyVersion::V2, mixed);
    let expected = [
        &[0; 10][..],
        &[0xff, 0xff, 192, 0, 2, 1],
        &"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets(),
        &[0, 1, 0, 2],
    ]
    .concat();
    assert_eq!(mixed, v2(0x21, 0x21, &expected));
}

/// No bytes make it panic, claim more than there is, or change its mind.
#[test]
fn any_bytes_are_answered_and_an_answer_holds() {
    let mut rng = fastrand::Rng::with_seed(11);
    let seeds: Vec<Vec<u8>> = good()
        .into_iter()
        .map(|(bytes, _)| bytes)
        .chain(bad().into_iter().map(|(bytes, ..)| bytes))
        .map(|mut bytes| {
            bytes.truncate(400);
            bytes
        })
        .collect();
    for _ in 0..100_000 {
        let mut bytes = rng.choice(&seeds).unwrap().clone();
        for _ in 0..rng.u8(0..4) {
            let at = rng.usize(..=bytes.len());
            match rng.u8(0..3) {
                0 if at < bytes.len() => bytes[at] = rng.u8(..),
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.insert(at, *rng.choice(b" \r\n0:.\xff").unwrap()),
            }
        }
        let cut = rng.usize(..=bytes.len());
        let (early, late) = (parse(&bytes[..cut]), parse(&bytes));
        match (early, late) {
            (Ok(Parsed::NeedMore), Ok(Parsed::Whole(header))) => {
                assert!(cut < header.length && header.length <= bytes.len());
            }
            (Ok(Parsed::NeedMore), _) => {}
            (Ok(Parsed::Whole(header)), late) => {
                assert!(header.length <= cut);
                assert_eq!(late, Ok(Parsed::Whole(header)));
            }
            (Err(_), late) => assert!(late.is_err(), "{}", bytes.escape_ascii()),
        }
    }
}
