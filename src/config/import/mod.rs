//! What ynetd was told, as sections that do the same. Texts in, text out.
//!
//! ```text
//! arguments.rs  its command line -> what each option says
//! yaml.rs       a file           -> lists and mappings, each with its line
//! file.rs       these            -> services, as it reads them (service.rs)
//! wanted.rs     a service        -> what it asks for, in our words
//!                                   (address.rs, durations.rs, shell.rs)
//! sections.rs   all of them      -> the text (names.rs)
//! ```
//!
//! What ynetd would refuse is an error, for then nobody knows what it was to do. What it does and we
//! cannot is left out, with a warning, and with a comment where it would stand. The text is parsed
//! before it is handed out: what is written is never refused afterwards.

use std::fmt;

use super::{Diagnostic, Severity, SourceFile, diagnostic::Report, parse};
use crate::model::{Origin, Scope};

mod address;
mod arguments;
mod durations;
mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod names;
mod sections;
mod service;
mod shell;
#[cfg(test)]
mod tests;
mod wanted;
mod yaml;

pub use arguments::Arguments;

use sections::Sections;
use wanted::Wanted;

/// A file of that size is something else.
pub const MAX_FILE_SIZE: u64 = 1 << 20;

/// Sections, and what is to be known of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// A configuration file.
    pub text: String,
    /// What is not as it was with ynetd.
    pub warnings: Vec<Diagnostic>,
}

/// Nothing was made of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this cannot be imported: {}", Listed(.diagnostics))]
pub struct Refused {
    /// Every error, and the warnings beside them.
    pub diagnostics: Vec<Diagnostic>,
}

struct Listed<'a>(&'a [Diagnostic]);

/// Where something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In this line of the file.
    Line(usize),
    /// The value of this key, in this line of the file.
    Key(usize, &'static str),
    /// On the command line, by the name of the option.
    Argument(&'static str),
}

/// A text and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    text: String,
    place: Place,
}

/// What is wrong so far.
struct Findings<'a> {
    file: Option<&'a SourceFile>,
    report: Report,
    refused: bool,
}

/// Makes sections of ynetd's file, of its command line, or of both, as it takes both.
///
/// # Errors
/// All that ynetd would refuse, or that a daemon would refuse of what comes of it.
pub fn import(file: Option<&SourceFile>, arguments: &Arguments) -> Result<Imported, Refused> {
    let mut findings = Findings::new(file);
    let sections = sections_of(file, arguments, &mut findings);
    if !findings.refused {
        findings.check(&sections);
    }
    findings.finish(sections.text)
}

fn sections_of(
    file: Option<&SourceFile>,
    arguments: &Arguments,
    findings: &mut Findings<'_>,
) -> Sections {
    let mut services = match file {
        Some(file) => file::services(&file.text, findings),
        None => Vec::new(),
    };
    services.extend(arguments.service(file.is_some(), findings));
    if services.is_empty() && !findings.refused {
        findings.error(start(file), "there is no service to import".to_owned());
    }
    let wanted = services.into_iter();
    let wanted: Vec<Wanted> = wanted.map(|one| Wanted::of(one, findings)).collect();
    Sections::of(&wanted)
}

fn start(file: Option<&SourceFile>) -> Place {
    match file {
        Some(_) => Place::Line(1),
        None => Place::Argument("-proxy"),
    }
}

// === impl Refused ===

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.0.iter().filter(|d| d.severity == Severity::Error);
        for (i, diagnostic) in errors.enumerate() {
            let between = if i == 0 { "" } else { "; " };
            write!(f, "{between}{diagnostic}")?;
        }
        Ok(())
    }
}

// === impl Place ===

impl Place {
    fn line(self) -> Option<usize> {
        match self {
            Self::Line(line) | Self::Key(line, _) => Some(line),
            Self::Argument(_) => None,
        }
    }

    /// What is said of it, after its name.
    fn told(self, message: &str) -> String {
        match self {
            Self::Line(_) => message.to_owned(),
            Self::Key(_, name) | Self::Argument(name) => format!("{name}: {message}"),
        }
    }
}

// === impl Findings ===

impl<'a> Findings<'a> {
    fn new(file: Option<&'a SourceFile>) -> Self {
        Self {
            file,
            report: Report::default(),
            refused: false,
        }
    }

    fn error(&mut self, place: Place, message: String) {
        self.refused = true;
        self.push(Severity::Error, place, message);
    }

    fn warning(&mut self, place: Place, message: String) {
        self.push(Severity::Warning, place, message);
    }

    fn push(&mut self, severity: Severity, place: Place, message: String) {
        let origin = self.file.zip(place.line()).map(|(file, line)| Origin {
            file: file.path.clone(),
            line,
        });
        let diagnostic = Diagnostic::new(severity, origin, None, &place.told(&message));
        self.report.push(diagnostic);
    }

    /// Has the daemon's own parser read the sections. ynetd takes some things that we refuse: a
    /// service that leads to itself, for instance.
    fn check(&mut self, sections: &Sections) {
        let file = SourceFile {
            path: "imported".into(),
            text: sections.text.clone(),
        };
        let loaded = parse(&[file], &[], Scope::System);
        for diagnostic in &loaded.diagnostics {
            let line = diagnostic.origin.as_ref().map_or(0, |origin| origin.line);
            let place = sections.place_of(line).unwrap_or(start(self.file));
            let message = &diagnostic.message;
            match diagnostic.severity {
                Severity::Error => {
                    self.error(place, format!("sleepingd would refuse this: {message}"));
                }
                Severity::Warning => self.warning(place, message.clone()),
            }
        }
    }

    fn finish(self, text: String) -> Result<Imported, Refused> {
        let diagnostics = self.report.finish(self.file.iter().map(|file| &file.path));
        if self.refused {
            return Err(Refused { diagnostics });
        }
        Ok(Imported {
            text,
            warnings: diagnostics,
        })
    }
}
