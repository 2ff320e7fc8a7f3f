//! Where the backend is, read from what a command printed.

use crate::model::{CommandOutcome, Destination};

/// How many destinations one line may name.
pub(in crate::service) const MAX_DESTINATIONS: usize = 64;

/// The destinations that a command's first line names: `IP PORT`, or several pairs.
/// `None` where it printed nothing.
pub(super) fn said(outcome: &CommandOutcome) -> Result<Option<Vec<Destination>>, String> {
    destinations(outcome.first_line.as_deref().unwrap_or(""))
}

/// The same of the line alone.
pub(in crate::service) fn destinations(line: &str) -> Result<Option<Vec<Destination>>, String> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(None);
    }
    let words: Vec<&str> = line
        .split_ascii_whitespace()
        .take(2 * MAX_DESTINATIONS)
        .collect();
    let bad = |why: String| {
        let shown: String = line.chars().take(80).collect();
        Err(format!(
            "printed '{shown}', which is not a destination (IP PORT): {why}"
        ))
    };
    if words.len() % 2 != 0 {
        return bad("a port is missing".to_owned());
    }
    let mut destinations = Vec::with_capacity(words.len() / 2);
    for pair in words.chunks_exact(2) {
        match Destination::from_host_port(pair[0], pair[1]) {
            Ok(destination) => destinations.push(destination),
            Err(why) => return bad(why.to_string()),
        }
    }
    Ok(Some(destinations))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::CommandExit;

    fn line(text: &str) -> Result<Option<Vec<Destination>>, String> {
        said(&CommandOutcome {
            exit: CommandExit::Exited(0),
            first_line: Some(text.to_owned()),
            stderr_tail: Vec::new(),
            took: Duration::ZERO,
        })
    }

    #[test]
    fn a_line_names_one_destination_or_several() {
        let shown = |text: &str| -> Vec<String> {
            line(text)
                .unwrap()
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(shown("127.0.0.1 8080"), ["127.0.0.1:8080"]);
        assert_eq!(shown(" ::1 80\t web 81 "), ["[::1]:80", "web:81"]);
        assert_eq!(line("  "), Ok(None));
    }

    #[test]
    fn rubbish_is_named() {
        let why = |text: &str| line(text).unwrap_err();
        assert!(why("127.0.0.1 70000").contains("'70000' is not a port"));
        assert!(why("hello").contains("printed 'hello'"));
        assert!(why("127.0.0.1 80 x").contains("a port is missing"));
        assert!(why("!! 80").contains("neither an IP address nor a host name"));
    }
}
