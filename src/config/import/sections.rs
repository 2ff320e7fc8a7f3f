//! The text that is written.

use super::{
    Place, durations,
    names::Names,
    wanted::{Command, Wanted},
};
use crate::config::diagnostic::printable;

/// So many characters of a comment.
const MAX_COMMENT: usize = 300;

/// A configuration file.
#[derive(Debug, Default)]
pub(super) struct Sections {
    pub(super) text: String,
    /// The line at which each service begins, and where ynetd was told of it.
    places: Vec<(usize, Place)>,
    lines: usize,
}

impl Sections {
    pub(super) fn of(services: &[Wanted]) -> Self {
        let mut sections = Self::default();
        sections.comment("What ynetd did, by `sleepingctl import`.");
        if services.iter().any(|one| one.command.is_some()) {
            sections.comment("Commands run in / and find nothing of the environment but PATH and");
            sections.comment("LANG, unless WORKING_DIRECTORY and ENVIRONMENT say otherwise.");
        }
        let mut names = Names::default();
        for wanted in services {
            sections.add(wanted, &mut names);
        }
        sections
    }

    /// Where the service stands that a line belongs to.
    pub(super) fn place_of(&self, line: usize) -> Option<Place> {
        let before = self.places.iter().rev().find(|(begin, _)| *begin <= line);
        before.map(|(_, place)| *place)
    }

    fn add(&mut self, wanted: &Wanted, names: &mut Names) {
        self.line("");
        self.places.push((self.lines + 1, wanted.place));
        for note in &wanted.notes {
            self.comment(note);
        }
        if wanted.pairs.is_empty() {
            self.comment("Nothing is left of this service to listen on.");
            return;
        }
        let name = names.give(wanted);
        self.line(&format!("[{name}]"));
        match &wanted.pairs[..] {
            [(from, to)] => {
                self.key("PORT", from);
                self.key("TARGET", to);
            }
            pairs => {
                for (from, to) in pairs {
                    self.key("PROXY", &format!("{from} {to}"));
                }
            }
        }
        if let Some(command) = &wanted.command {
            self.command(command);
        }
        self.key("WAKE_TIMEOUT", &durations::write(wanted.wake));
    }

    /// What ynetd does by default is written as well: the file in which this ends up may have
    /// other defaults.
    fn command(&mut self, command: &Command) {
        self.key("COMMAND", &command.written.text);
        if command.written.needs_bash {
            self.key("SHELL", "/bin/bash");
        }
        if command.auto_start {
            self.key("AUTO_START", "yes");
        }
        let idle = command.idle.map(durations::write);
        self.key("IDLE_TIME", idle.as_deref().unwrap_or("infinity"));
        self.key("STOP_SIGNAL", command.signal);
        if !command.pause.is_zero() {
            self.key("WAIT_AFTER_START", &durations::write(command.pause));
        }
    }

    fn key(&mut self, key: &str, value: &str) {
        self.line(&format!("{key}={value}"));
    }

    fn comment(&mut self, text: &str) {
        self.line(&format!("# {}", printable(text, MAX_COMMENT)));
    }

    fn line(&mut self, line: &str) {
        self.text += line;
        self.text.push('\n');
        self.lines += 1;
    }
}
