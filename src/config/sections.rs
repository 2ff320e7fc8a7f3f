//! From lines to keys: each entry is looked up in the table and its value judged, once, where it
//! stands. What a section does not say it has from the head.

use std::collections::BTreeSet;

use super::{
    diagnostic::Severity,
    keys::{self, Blank, Key, KeyInfo, Place, Repeat},
    lines::{Block, Entry, Problem, Value, shorten},
};

/// The keys of one section, or of the head.
#[derive(Debug)]
pub(super) struct Settings {
    /// The section's name as it stands; empty for the head.
    pub(super) name: String,
    /// The line of the name.
    pub(super) line: usize,
    /// What is wrong with it.
    pub(super) problems: Vec<Problem>,
    given: Vec<Given>,
    /// The keys that have an error.
    bad: BTreeSet<&'static str>,
    /// Some line of it is not even a key.
    faulty: bool,
}

/// A known key and its value.
#[derive(Debug)]
struct Given {
    info: &'static KeyInfo,
    value: Value,
    line: usize,
}

/// What holds for one service: its own keys, then those of the head, then the defaults.
#[derive(Clone, Copy)]
pub(super) struct Values<'a> {
    own: &'a Settings,
    head: Option<&'a Settings>,
}

// === impl Settings ===

impl Settings {
    /// Looks up the keys of a block.
    pub(super) fn new(block: Block, place: Place) -> Self {
        let faulty = block.faulty();
        let mut settings = Self {
            name: block.name,
            line: block.line,
            problems: block.problems,
            given: Vec::new(),
            bad: BTreeSet::new(),
            faulty,
        };
        for entry in block.entries {
            settings.add(entry, place);
        }
        settings
    }

    fn add(&mut self, entry: Entry, place: Place) {
        let Entry { key, value, line } = entry;
        let Some(info) = keys::find(&key) else {
            let hint = match keys::nearest(&key) {
                Some(near) => format!("; is {} meant?", near.name),
                None => String::new(),
            };
            let message = format!("unknown key '{}', ignored{hint}", shorten(&key));
            self.problem(Severity::Warning, line, message);
            return;
        };
        if let Err(error) = judge(info, &value, place) {
            self.problem(Severity::Error, line, error);
            self.bad.insert(info.name);
        }
        let first = self
            .given
            .iter()
            .find(|g| std::ptr::eq(g.info, info))
            .map(|g| g.line);
        if let (Some(first), Repeat::Last) = (first, info.repeat) {
            let message = format!(
                "{} is here for the second time, after line {first}; the last one counts",
                info.name
            );
            self.problem(Severity::Warning, line, message);
        }
        self.given.push(Given { info, value, line });
    }

    fn problem(&mut self, severity: Severity, line: usize, message: String) {
        self.problems.push(Problem {
            severity,
            line,
            message,
        });
    }

    fn all(&self, info: &KeyInfo) -> impl DoubleEndedIterator<Item = &Given> {
        self.given
            .iter()
            .filter(move |given| given.info.name == info.name)
    }

    fn has(&self, info: &KeyInfo) -> bool {
        self.all(info).next().is_some()
    }
}

/// Whether a key may stand here with this value.
fn judge(info: &KeyInfo, value: &Value, place: Place) -> Result<(), String> {
    if info.place == Place::Head && place != Place::Head {
        return Err(format!(
            "{} is about the daemon and belongs before the first section",
            info.name
        ));
    }
    if !info.asks_for_nothing(value.trimmed()) && matches!(info.support, keys::Support::NotYet(_)) {
        return Err(format!("{} is not supported yet", info.name));
    }
    if value.trimmed().is_empty() && info.blank == Blank::Default {
        return Ok(());
    }
    (info.check)(value).map_err(|error| format!("{}: {error}", info.name))
}

// === impl Values ===

impl<'a> Values<'a> {
    /// Of a section under a head.
    pub(super) fn of_section(own: &'a Settings, head: &'a Settings) -> Self {
        Self {
            own,
            head: Some(head),
        }
    }

    /// Of the head as a service.
    pub(super) fn of_head(head: &'a Settings) -> Self {
        Self {
            own: head,
            head: None,
        }
    }

    /// Who says what a key is.
    fn source(&self, info: &KeyInfo) -> &'a Settings {
        match self.head {
            Some(head) if !self.own.has(info) => head,
            _ => self.own,
        }
    }

    /// The value, `None` where the default holds. A bad value reads as none; it has been reported.
    pub(super) fn one<T>(&self, key: &Key<T>) -> Option<T> {
        let given = self.source(&key.info).all(&key.info).next_back()?;
        if given.value.trimmed().is_empty() && key.info.blank == Blank::Default {
            return None;
        }
        (key.parse)(&given.value).ok()
    }

    /// The values of all its lines; a blank one takes back those before it.
    pub(super) fn list<T>(&self, key: &Key<Vec<T>>) -> Vec<T> {
        let mut list = Vec::new();
        for given in self.source(&key.info).all(&key.info) {
            if given.value.trimmed().is_empty() {
                list.clear();
            } else {
                list.extend((key.parse)(&given.value).into_iter().flatten());
            }
        }
        list
    }

    /// Whether the key, wherever it comes from, has an error, so that nothing follows from it.
    pub(super) fn is_bad(&self, info: &KeyInfo) -> bool {
        self.source(info).bad.contains(info.name)
    }

    /// Whether a line could not be understood, so that nothing follows from what is missing.
    pub(super) fn is_faulty(&self) -> bool {
        self.own.faulty || self.head.is_some_and(|head| head.faulty)
    }

    /// Whether anything that holds for this service has an error.
    pub(super) fn is_broken(&self) -> bool {
        self.is_faulty() || keys::ALL.iter().any(|info| self.is_bad(info))
    }

    /// Whether the section itself says it.
    pub(super) fn is_own(&self, info: &KeyInfo) -> bool {
        self.own.has(info)
    }

    /// The line of the section's own key, or that of the section where it has none: what is
    /// wrong with keys taken together is no fault of the head.
    pub(super) fn line(&self, info: &KeyInfo) -> usize {
        self.own
            .all(info)
            .next_back()
            .map_or(self.own.line, |given| given.line)
    }
}
