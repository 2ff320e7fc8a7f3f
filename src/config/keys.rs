//! The one table of keys. The parser, the tables of the manual and the tests all come from it.

use std::fmt::Write as _;

use super::lines::Value;

/// What there is to know about a key.
#[derive(Debug)]
pub struct KeyInfo {
    /// Its name, in capitals; in a file its case does not matter.
    pub name: &'static str,
    /// What its value is, in a word or two.
    pub takes: &'static str,
    /// What holds where it is not written.
    pub default: &'static str,
    /// What it does, in a line.
    pub meaning: &'static str,
    /// What else there is to know: paragraphs for the manual.
    pub doc: &'static str,
    /// Where it may be written.
    pub place: Place,
    /// What becomes of several.
    pub repeat: Repeat,
    /// Whether it does anything yet.
    pub support: Support,
    /// What a blank value means.
    pub blank: Blank,
    /// Whether a value is sound; if not, what is expected.
    pub(super) check: fn(&Value) -> Result<(), String>,
}

/// Where a key may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a section, and before the first one as a default of all sections of the file.
    Anywhere,
    /// Before the first section only: it is about the daemon.
    Head,
}

/// What becomes of a key that is written several times in one section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// The last one counts, with a warning.
    Last,
    /// All count, as one list. A blank one empties the list so far.
    List,
}

/// Whether a key does anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It does.
    Now,
    /// It is an error, but for these values, which ask for nothing. Blank and the default are
    /// among them.
    NotYet(&'static [&'static str]),
    /// It does nothing, and that is all right.
    Ignored,
}

/// What a blank value means: never the default of the head, so that it can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blank {
    /// The key's own default.
    Default,
    /// A value of its own: none, no limit.
    Value,
}

/// A key and the type of its value.
pub(super) struct Key<T: 'static> {
    /// What is known of it.
    pub(super) info: KeyInfo,
    /// Reads a value.
    pub(super) parse: fn(&Value) -> Result<T, String>,
}

/// What most keys are.
const USUAL: KeyInfo = KeyInfo {
    name: "",
    takes: "",
    default: "none",
    meaning: "",
    doc: "",
    place: Place::Anywhere,
    repeat: Repeat::Last,
    support: Support::Now,
    blank: Blank::Default,
    check: values_are_sound,
};

fn values_are_sound(_: &Value) -> Result<(), String> {
    Ok(())
}

/// Each entry makes a typed key and a line of its file's `KEYS`, of which [`ALL`] is made; the doc
/// comment is the manual's text.
macro_rules! keys {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: $type:ty = $parse:path { $($field:ident: $value:expr),* $(,)? }
    )+) => {
        $(
            $(#[doc = $doc])+
            pub(in crate::config) static $name: Key<$type> = Key {
                info: KeyInfo {
                    name: stringify!($name),
                    doc: concat!($($doc, "\n"),+),
                    check: |value| $parse(value).map(drop),
                    $($field: $value,)*
                    ..USUAL
                },
                parse: $parse,
            };
        )+

        /// Those of this file, in the order of the manual.
        pub(super) const KEYS: &[&KeyInfo] = &[$(&$name.info),+];
    };
}

mod table;

pub(super) use table::*;
pub use table::{ALL, GROUPS, Group};

// === impl KeyInfo ===

impl KeyInfo {
    /// Whether a key that is not supported yet asks for nothing with this value.
    pub(super) fn asks_for_nothing(&self, value: &str) -> bool {
        let harmless = match self.support {
            Support::NotYet(values) => values,
            Support::Now | Support::Ignored => return true,
        };
        value.is_empty()
            || harmless
                .iter()
                .chain([&self.default])
                .any(|h| h.eq_ignore_ascii_case(value))
    }
}

/// The key of this name, in any case.
#[must_use]
pub fn find(name: &str) -> Option<&'static KeyInfo> {
    ALL.iter()
        .copied()
        .find(|key| key.name.eq_ignore_ascii_case(name))
}

/// The key that was probably meant by this name.
#[must_use]
pub fn nearest(name: &str) -> Option<&'static KeyInfo> {
    // No name of a key is longer, and the work grows with the length.
    if name.len() > 40 {
        return None;
    }
    let name = name.to_ascii_uppercase().replace('-', "_");
    let allowed = (name.len() / 3).max(1);
    ALL.iter()
        .map(|key| (distance(name.as_bytes(), key.name.as_bytes()), *key))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, key)| key)
}

/// How many letters must be added, removed, changed or swapped with their neighbour (optimal
/// string alignment).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + changed);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// The table of the README: key, meaning, default.
#[must_use]
pub fn markdown_table() -> String {
    let mut table = String::from("| key | meaning | default |\n| --- | --- | --- |\n");
    for key in ALL {
        let place = match key.place {
            Place::Head => "before the first section: ",
            Place::Anywhere => "",
        };
        let support = match key.support {
            Support::NotYet(_) => " (not supported yet)",
            Support::Now | Support::Ignored => "",
        };
        let meaning = key.meaning.replace('|', "\\|");
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "| {} | {place}{meaning}{support} | {} |",
            key.name, key.default
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{Balance, IdleOn, Limits, ProxyProtocol, Timeouts, WakeOn};

    /// The keys of the design's table, with those of later issues.
    const KNOWN: &str = "ACTIVE PORT SOCKET TARGET PROXY BALANCE CHECK_CMD START_CMD STOP_CMD \
        COMMAND STOP_SIGNAL STOP_TIMEOUT IDLE_CMD IDLE_TIME IDLE_CHECK_INTERVAL IDLE_ON \
        MIN_UPTIME EXEC_CMD_TIMEOUT START_CMD_TIMEOUT STOP_CMD_TIMEOUT CHECK_CMD_TIMEOUT \
        IDLE_CMD_TIMEOUT USER GROUP SHELL WORKING_DIRECTORY ENVIRONMENT ENVIRONMENT_FILE \
        WAKE_TIMEOUT CONNECT_TIMEOUT WAIT_AFTER_START SETTLE_TIME READY_CMD READY_URL AUTO_START \
        WAKE_ON MAX_CONNECTIONS MAX_WAITING MAX_CONNECTIONS_PER_SOURCE ALLOW DENY IGNORE \
        SEND_PROXY ACCEPT_PROXY CLIENT_TIMEOUT HALF_CLOSE_TIMEOUT USER_TIMEOUT PROXY_TIMEOUT \
        DRAIN_TIMEOUT EXIT_IDLE_TIME THREADS VARRUN_PATH UNIT CONTAINER PASS_LISTENER";

    #[test]
    fn every_key_is_known_once_and_explained() {
        let names: Vec<&str> = ALL.iter().map(|key| key.name).collect();
        let set: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(names.len(), set.len(), "a key is there twice");
        assert_eq!(set, KNOWN.split_whitespace().collect::<BTreeSet<_>>());
        for key in ALL {
            assert_eq!(key.name, key.name.to_ascii_uppercase());
            for text in [key.takes, key.default, key.meaning, key.doc.trim()] {
                assert!(!text.is_empty(), "{} lacks a text", key.name);
            }
            assert!(
                !key.meaning.ends_with('.'),
                "{}: a cell is no sentence",
                key.name
            );
        }
    }

    #[test]
    fn the_defaults_that_are_shown_are_those_of_the_model() {
        fn shown<T>(key: &Key<T>) -> T {
            let usual = key.info.default.split(';').next().unwrap();
            (key.parse)(&Value::plain(usual)).unwrap()
        }
        let timeouts = Timeouts::default();
        assert_eq!(shown(&WAKE_TIMEOUT), timeouts.wake);
        assert_eq!(shown(&CONNECT_TIMEOUT), timeouts.connect);
        assert_eq!(shown(&WAIT_AFTER_START), timeouts.after_start);
        assert_eq!(shown(&SETTLE_TIME), timeouts.settle);
        assert_eq!(shown(&STOP_TIMEOUT), timeouts.stop);
        assert_eq!(shown(&HALF_CLOSE_TIMEOUT), timeouts.half_close);
        assert_eq!(shown(&DRAIN_TIMEOUT), timeouts.drain);
        assert_eq!(shown(&PROXY_TIMEOUT), timeouts.proxy);
        assert_eq!(
            (CLIENT_TIMEOUT.info.default, timeouts.client),
            ("none", None)
        );
        assert_eq!((USER_TIMEOUT.info.default, timeouts.user), ("none", None));
        assert_eq!(shown(&MAX_WAITING), Limits::default().waiting);
        assert_eq!(shown(&BALANCE), Balance::default());
        assert_eq!(shown(&IDLE_ON), IdleOn::default());
        assert_eq!(shown(&WAKE_ON), WakeOn::default());
        assert_eq!(shown(&SEND_PROXY), ProxyProtocol::default().send);
        assert_eq!(shown(&ACCEPT_PROXY), []);
    }

    #[test]
    fn a_mistyped_key_is_recognised() {
        let meant = |name: &str| nearest(name).map(|key| key.name);
        assert_eq!(meant("PROT"), Some("PORT"));
        assert_eq!(meant("start-cmd"), Some("START_CMD"));
        assert_eq!(meant("IDLETIME"), Some("IDLE_TIME"));
        assert_eq!(meant("XYZZY"), None);
        assert_eq!(meant(&"PORT".repeat(100)), None);
    }

    #[test]
    fn the_table_has_a_line_for_each_key() {
        let table = markdown_table();
        assert_eq!(table.lines().count(), ALL.len() + 2);
        for line in table.lines() {
            let cells = line.replace("\\|", "").matches('|').count();
            assert_eq!(cells, 4, "{line}");
        }
        assert!(table.contains("| IDLE_TIME | how long the service must be idle"));
    }
}
