//! What holds for the first bytes of every connection.

use super::{MAX_LENGTH, Parsed, ProxyVersion, encode, parse};

/// Whether it takes a header or not must not depend on how its bytes came.
pub(crate) fn all(bytes: &[u8]) {
    let all = parse(bytes);
    match &all {
        Ok(Parsed::NeedMore) => {
            assert!(
                bytes.len() < MAX_LENGTH,
                "it waits for more than any header is"
            );
        }
        Ok(Parsed::Whole(header)) => {
            assert!((1..=bytes.len().min(MAX_LENGTH)).contains(&header.length));
            assert_eq!(
                parse(&bytes[..header.length]),
                all,
                "it read beyond the header"
            );
            for version in [ProxyVersion::V1, ProxyVersion::V2] {
                let written = encode(version, header.ends);
                let Ok(Parsed::Whole(again)) = parse(&written) else {
                    panic!("what is written for {header:?} is no header: {written:?}");
                };
                assert_eq!((again.ends, again.length), (header.ends, written.len()));
            }
        }
        // It is a line of the log.
        Err(why) => assert!(!why.to_string().contains(char::is_control)),
    }
    for cut in 0..bytes.len().min(MAX_LENGTH) {
        match parse(&bytes[..cut]) {
            Ok(Parsed::NeedMore) => {}
            // Once it is said, it stays so.
            said => return assert_eq!(said.is_ok(), all.is_ok(), "more bytes changed it"),
        }
    }
}
