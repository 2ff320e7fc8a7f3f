//! What is wrong with a configuration, and where.

use std::{collections::HashMap, fmt, path::PathBuf};

use crate::model::{Origin, ServiceName};

/// So many errors and warnings are kept of one load; the rest is counted.
const MAX_DIAGNOSTICS: usize = 1000;

/// So many characters of one message are kept. Values of any length end up in messages, and
/// messages in the journal.
const MAX_MESSAGE: usize = 600;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// What was written is not what will happen, but what will happen is safe.
    Warning,
    /// What was written cannot be done; the service it belongs to is left out.
    Error,
}

/// One thing that is wrong. Prints as `FILE:LINE: error: MESSAGE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Where; `None` where it is not in one line of one file.
    pub origin: Option<Origin>,
    /// The service it belongs to, where it belongs to one alone.
    pub service: Option<ServiceName>,
    /// What is wrong and what is expected. One line, without control characters.
    pub message: String,
}

/// Collects what is wrong with one load.
#[derive(Debug, Default)]
pub(super) struct Report {
    kept: Vec<Diagnostic>,
    more_errors: usize,
    more_warnings: usize,
}

// === impl Severity ===

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

// === impl Diagnostic ===

impl Diagnostic {
    /// A diagnostic whose message is made fit to print.
    pub(super) fn new(
        severity: Severity,
        origin: Option<Origin>,
        service: Option<ServiceName>,
        message: &str,
    ) -> Self {
        Self {
            severity,
            origin,
            service,
            message: printable(message, MAX_MESSAGE),
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}")?;
        }
        write!(f, "{}: {}", self.severity, self.message)
    }
}

// === impl Report ===

impl Report {
    /// Adds one.
    pub(super) fn push(&mut self, diagnostic: Diagnostic) {
        if self.kept.len() < MAX_DIAGNOSTICS {
            self.kept.push(diagnostic);
        } else if diagnostic.severity == Severity::Error {
            self.more_errors += 1;
        } else {
            self.more_warnings += 1;
        }
    }

    /// All of them, in the order of the files and of their lines.
    pub(super) fn finish<'a>(
        mut self,
        files: impl Iterator<Item = &'a PathBuf>,
    ) -> Vec<Diagnostic> {
        let order: HashMap<&PathBuf, usize> = files.enumerate().map(|(i, f)| (f, i)).collect();
        self.kept.sort_by_key(|d| match &d.origin {
            Some(origin) => (
                order.get(&origin.file).copied().unwrap_or(usize::MAX),
                origin.line,
            ),
            None => (usize::MAX, usize::MAX),
        });
        if self.more_errors + self.more_warnings > 0 {
            // What was left out may have been an error, and then the whole must stay one.
            let severity = if self.more_errors > 0 {
                Severity::Error
            } else {
                Severity::Warning
            };
            let message = format!(
                "{} more errors and {} more warnings are not shown",
                self.more_errors, self.more_warnings
            );
            self.kept
                .push(Diagnostic::new(severity, None, None, &message));
        }
        self.kept
    }
}

/// The text in one line, with what a terminal would act on or an eye would miss written as an
/// escape, and at most `max` characters of it.
pub(super) fn printable(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for (i, c) in text.chars().enumerate() {
        if i == max {
            out.push('…');
            break;
        }
        let invisible = c.is_control() || (c.is_whitespace() && c != ' ') || is_format(c);
        if invisible {
            out.extend(c.escape_default())
        } else {
            out.push(c)
        }
    }
    out
}

/// Characters that turn or join what stands beside them (zero width, bidirectional, BOM).
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, severity: Severity) -> Diagnostic {
        let origin = Origin {
            file: PathBuf::from("a"),
            line,
        };
        Diagnostic::new(severity, Some(origin), None, "x")
    }

    #[test]
    fn messages_are_one_printable_line() {
        let printed = Diagnostic::new(Severity::Error, None, None, "a\n\u{1b}[31m\u{a0}é\u{202e}");
        assert_eq!(printed.to_string(), r"error: a\n\u{1b}[31m\u{a0}é\u{202e}");
        let long = Diagnostic::new(Severity::Error, None, None, &"é".repeat(5000));
        assert_eq!(long.message.chars().count(), MAX_MESSAGE + 1);
    }

    #[test]
    fn diagnostics_come_in_the_order_of_the_file() {
        let mut report = Report::default();
        report.push(at(9, Severity::Error));
        report.push(at(2, Severity::Warning));
        let lines: Vec<String> = report
            .finish([PathBuf::from("a")].iter())
            .iter()
            .map(|d| d.to_string())
            .collect();
        assert_eq!(lines, ["a:2: warning: x", "a:9: error: x"]);
    }

    #[test]
    fn a_flood_of_warnings_does_not_hide_that_there_was_an_error() {
        let mut report = Report::default();
        for line in 0..MAX_DIAGNOSTICS {
            report.push(at(line, Severity::Warning));
        }
        report.push(at(5000, Severity::Error));
        let all = report.finish([].iter());
        assert_eq!(all.len(), MAX_DIAGNOSTICS + 1);
        assert_eq!(
            all.last().unwrap().to_string(),
            "error: 1 more errors and 0 more warnings are not shown"
        );
    }
}
