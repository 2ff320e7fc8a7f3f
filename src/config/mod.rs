//! The configuration: INI lines to one table of keys to a validated model, every error at once.
//!
//! [`read_files`] finds the files, [`parse`] makes definitions of them. Between the two nothing
//! but text passes, so that a daemon can keep the last good files and parse them again. What
//! comes of it:
//!
//! ```text
//! lines.rs      text      -> blocks of entries, each with its line
//! sections.rs   entries   -> known keys with sound values (keys.rs, values.rs, addresses.rs)
//! validate.rs   keys      -> a definition, and what is wrong with the whole of it
//! ready_made.rs UNIT and CONTAINER -> the commands that they stand for
//! supervised.rs COMMAND   -> a backend of ours, and what cannot stand beside it
//! clashes.rs    services  -> what no two of them can have
//! circles.rs    services  -> those that lead to one another for ever
//! import/       ynetd's   -> a file of ours, as text
//! ```
//!
//! `forward.rs` makes a service of a command line's options instead.
//!
//! Nothing here logs, and nothing but [`read_files`] touches the system: whether users, commands
//! and directories exist is found out when they are used.

use std::{num::NonZeroUsize, time::Duration};

use crate::model::{Definition, Origin, Scope, ServiceName};

mod addresses;
mod circles;
mod clashes;
mod diagnostic;
mod explain;
mod files;
mod forward;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod import;
pub mod keys;
mod lines;
mod ready_made;
mod sections;
mod supervised;
mod validate;
mod values;
mod words;

pub use diagnostic::{Diagnostic, Severity};
pub use explain::explain;
pub use files::{BASE_DIRECTORY, ReadError, SourceFile, read_files, read_files_under};
pub use forward::{Forward, Said};

use diagnostic::Report;
use keys::Place;
use sections::{Settings, Values};
use validate::Draft;

/// More services than any machine has; the rest is refused, for a file that is no configuration.
const MAX_SERVICES: usize = 10_000;

/// What became of the files.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// The sound services that take part, in the order of the files.
    pub definitions: Vec<Definition>,
    /// The services that were meant to take part and have an error. Of two services that clash,
    /// the later is here: its name may be that of a sound one too.
    pub broken: Vec<ServiceName>,
    /// The services with ACTIVE=no.
    pub inactive: Vec<ServiceName>,
    /// THREADS: relay threads, where a file says how many.
    pub threads: Option<NonZeroUsize>,
    /// EXIT_IDLE_TIME: how long the daemon stays when everything sleeps. `None` is for ever.
    pub exit_idle: Option<Duration>,
    /// Every error and every warning, in the order of the files and lines.
    pub diagnostics: Vec<Diagnostic>,
}

/// A service on its way to the definitions.
#[derive(Debug)]
struct Candidate {
    name: ServiceName,
    /// Where its section begins.
    origin: Origin,
    /// The line of PORT, or that of the section.
    port_line: usize,
    /// The same of SOCKET.
    socket_line: usize,
    /// The same of TARGET.
    target_line: usize,
    active: bool,
    /// An error was found.
    broken: bool,
    /// As far as it could be said.
    definition: Option<Definition>,
}

/// What a file says of the daemon, and not of a service.
#[derive(Debug, Default)]
struct AboutDaemon {
    /// THREADS.
    threads: Option<NonZeroUsize>,
    /// EXIT_IDLE_TIME, which may say that there is none.
    exit_idle: Option<Option<Duration>>,
}

/// Reads the services out of files. `inherited` are the names of the sockets that systemd handed
/// over: a section may have these alone to listen on. `scope` says whose units UNIT means.
///
/// It never fails: what is wrong is in the diagnostics, and a broken section never takes a sound
/// one with it.
#[must_use]
pub fn parse(files: &[SourceFile], inherited: &[String], scope: Scope) -> Loaded {
    let mut report = Report::default();
    let mut candidates = Vec::new();
    let mut about_daemon = AboutDaemon::default();
    for file in files {
        let source = Source {
            file,
            inherited,
            scope,
        };
        let said = parse_file(&source, &mut candidates, &mut report);
        // As with a key that is there twice in one file.
        about_daemon = said.or(about_daemon);
    }
    finish(candidates, about_daemon, report, files)
}

/// What no two of them can have, and what becomes of each.
fn finish(
    mut candidates: Vec<Candidate>,
    about_daemon: AboutDaemon,
    mut report: Report,
    files: &[SourceFile],
) -> Loaded {
    clashes::check(&mut candidates, &mut report);
    circles::check(&mut candidates, &mut report);
    let mut loaded = Loaded {
        threads: about_daemon.threads,
        exit_idle: about_daemon.exit_idle.flatten(),
        ..Loaded::default()
    };
    for candidate in candidates {
        match candidate {
            Candidate {
                active: false,
                name,
                ..
            } => loaded.inactive.push(name),
            Candidate {
                broken: false,
                definition: Some(definition),
                ..
            } => {
                loaded.definitions.push(definition);
            }
            Candidate { name, .. } => loaded.broken.push(name),
        }
    }
    loaded.diagnostics = report.finish(files.iter().map(|file| &file.path));
    loaded
}

/// Reads one file's services. Returns what it says of the daemon.
fn parse_file(
    source: &Source<'_>,
    candidates: &mut Vec<Candidate>,
    report: &mut Report,
) -> AboutDaemon {
    let document = lines::read(&source.file.text);
    let head = Settings::new(document.head, Place::Head);
    let about_daemon = AboutDaemon::of(Values::of_head(&head));
    candidates.extend(source.head(&head, report));
    for block in document.sections {
        let line = block.line;
        if candidates.len() == MAX_SERVICES {
            let message = format!("more than {MAX_SERVICES} services; the rest is left out");
            let origin = Some(source.origin(line));
            report.push(Diagnostic::new(Severity::Error, origin, None, &message));
            break;
        }
        let settings = Settings::new(block, Place::Anywhere);
        candidates.push(source.section(&settings, &head, report));
    }
    about_daemon
}

/// A file whose services are being made.
struct Source<'a> {
    file: &'a SourceFile,
    inherited: &'a [String],
    scope: Scope,
}

// === impl Loaded ===

impl Loaded {
    /// What keeps services from taking part.
    pub fn errors(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics
            .iter()
            .filter(|d| d.severity == Severity::Error)
    }

    /// What is probably not as it was meant.
    pub fn warnings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.diagnostics
            .iter()
            .filter(|d| d.severity == Severity::Warning)
    }
}

// === impl AboutDaemon ===

impl AboutDaemon {
    fn of(head: Values<'_>) -> Self {
        Self {
            threads: head.one(&keys::THREADS),
            exit_idle: head.one(&keys::EXIT_IDLE_TIME),
        }
    }

    /// With what an earlier file says, where this one is silent.
    fn or(self, earlier: Self) -> Self {
        Self {
            threads: self.threads.or(earlier.threads),
            exit_idle: self.exit_idle.or(earlier.exit_idle),
        }
    }
}

// === impl Candidate ===

impl Candidate {
    /// Whether it is going to be served.
    fn serves(&self) -> bool {
        self.active && !self.broken
    }
}

// === impl Source ===

impl Source<'_> {
    fn origin(&self, line: usize) -> Origin {
        Origin {
            file: self.file.path.clone(),
            line,
        }
    }

    /// The service that the head is, if it is one. What is wrong with it as a default is an error
    /// in any case.
    fn head(&self, head: &Settings, report: &mut Report) -> Option<Candidate> {
        let stem = self
            .file
            .path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy();
        let name = ServiceName::new(stem);
        let values = Values::of_head(head);
        let asked = values.one(&keys::ACTIVE).unwrap_or(false);
        // Sleeping-beauty took such a head for defaults without a word.
        let unsaid = !values.is_faulty()
            && !values.is_bad(&keys::PORT.info)
            && !values.is_bad(&keys::SOCKET.info)
            && !validate::listens(values, &name, self.inherited);
        if asked && unsaid {
            let message = "ACTIVE=yes before the first section makes no service of it without \
                           PORT or SOCKET; these keys are defaults only";
            let origin = Some(self.origin(values.line(&keys::ACTIVE.info)));
            report.push(Diagnostic::new(Severity::Warning, origin, None, message));
        }
        if !asked || unsaid {
            for problem in &head.problems {
                let origin = Some(self.origin(problem.line));
                let diagnostic = Diagnostic::new(problem.severity, origin, None, &problem.message);
                report.push(diagnostic);
            }
            return None;
        }
        Some(self.service(name, head, values, true, report))
    }

    fn section(&self, own: &Settings, head: &Settings, report: &mut Report) -> Candidate {
        let values = Values::of_section(own, head);
        let active = values.one(&keys::ACTIVE).unwrap_or(true);
        self.service(
            ServiceName::new(own.name.as_str()),
            own,
            values,
            active,
            report,
        )
    }

    fn service(
        &self,
        name: ServiceName,
        own: &Settings,
        values: Values<'_>,
        active: bool,
        report: &mut Report,
    ) -> Candidate {
        let origin = self.origin(own.line);
        let (definition, found) = self.define(&name, own, values, active);
        let mut broken = values.is_broken();
        for problem in own.problems.iter().chain(&found) {
            broken |= problem.severity == Severity::Error;
            // What takes no part cannot keep the others from theirs.
            let severity = if active {
                problem.severity
            } else {
                Severity::Warning
            };
            let at = Some(self.origin(problem.line));
            report.push(Diagnostic::new(
                severity,
                at,
                Some(name.clone()),
                &problem.message,
            ));
        }
        Candidate {
            port_line: values.line(&keys::PORT.info),
            socket_line: values.line(&keys::SOCKET.info),
            target_line: values.line(&keys::TARGET.info),
            name,
            origin,
            active,
            broken,
            definition,
        }
    }

    /// As far as it can be said, and what is wrong with the whole of it.
    fn define(
        &self,
        name: &ServiceName,
        own: &Settings,
        values: Values<'_>,
        active: bool,
    ) -> (Option<Definition>, Vec<lines::Problem>) {
        let slug = match validate::slug(name) {
            Ok(slug) => slug,
            // A header without a name has been reported already.
            Err(_) if name.as_str().is_empty() => return (None, Vec::new()),
            Err(message) => {
                let problem = lines::Problem {
                    severity: Severity::Error,
                    line: own.line,
                    message,
                };
                return (None, vec![problem]);
            }
        };
        let draft = Draft {
            name,
            slug,
            origin: self.origin(own.line),
            values,
            scope: self.scope,
        };
        let (definition, mut problems) = draft.finish(self.inherited);
        if !active {
            // A section that takes no part need not be complete.
            problems.clear();
        }
        (Some(definition), problems)
    }
}
