//! What holds for every line that START may print.

use super::wake::said::{self, MAX_DESTINATIONS};
use crate::model::Destination;

pub(crate) fn all(bytes: &[u8]) {
    let line = &*String::from_utf8_lossy(bytes);
    match said::destinations(line) {
        Ok(None) => assert!(line.trim().is_empty()),
        Ok(Some(found)) => {
            assert!((1..=MAX_DESTINATIONS).contains(&found.len()));
            let again = found.iter().map(printed).collect::<Vec<_>>().join(" ");
            assert_eq!(said::destinations(&again), Ok(Some(found)));
        }
        // It is a line of the log.
        Err(why) => assert!(why.len() < 1_000 + line.len()),
    }
}

fn printed(destination: &Destination) -> String {
    match destination {
        Destination::Tcp(address) => format!("{} {}", address.ip(), address.port()),
        Destination::Host { name, port } => format!("{name} {port}"),
        Destination::Unix(path) => panic!("nobody can print {path:?}"),
    }
}
