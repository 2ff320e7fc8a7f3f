//! Lines of an INI file, strictly: each is a section, a key, a comment or blank, or it is an error.
//!
//! The format is sleeping-beauty's, which is not quite that of any INI library:
//!
//! - `#` and `;` begin a comment line, also an indented one.
//! - A value is the rest of its line, without the blanks around it. Nothing in it is expanded,
//!   escaped or cut: quotes, backslashes, `;`, `&` and `$(..)` reach the shell byte for byte.
//! - Quotes that enclose a whole value are taken off it. They may be followed by a `# comment`.
//!   In double quotes a backslash keeps the next quote from being the last one, and stays.
//! - A value whose opening quote does not end in its line goes on until it does; then nothing but
//!   a comment may follow. A forgotten quote is reported where it was opened.
//! - A value of one word may be followed by a `# comment`. In a longer one `#` is the shell's.

use super::{diagnostic::Severity, keys};

/// A value in quotes may go on for so many lines. What is longer belongs into a script, and a
/// forgotten quote must not eat the file.
const MAX_QUOTED_LINES: usize = 100;

/// A file, line by line.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// What stands before the first section.
    pub(super) head: Block,
    /// The sections, in order.
    pub(super) sections: Vec<Block>,
}

/// A section, or the head.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The name between the brackets, without blanks around it; empty in the head.
    pub(super) name: String,
    /// The line of the name; 1 in the head.
    pub(super) line: usize,
    /// The keys, in order.
    pub(super) entries: Vec<Entry>,
    /// What is wrong with its lines.
    pub(super) problems: Vec<Problem>,
}

/// A key and its value.
#[derive(Debug)]
pub(super) struct Entry {
    /// The key as it was written.
    pub(super) key: String,
    /// What follows the `=`.
    pub(super) value: Value,
    /// The line of the key.
    pub(super) line: usize,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Value {
    /// Without quotes that enclose the whole.
    pub(super) text: String,
    /// With them, for keys that have rules of their own about quotes.
    pub(super) written: String,
}

/// Something wrong in one line.
#[derive(Debug)]
pub(super) struct Problem {
    /// How bad it is.
    pub(super) severity: Severity,
    /// The line.
    pub(super) line: usize,
    /// What is wrong.
    pub(super) message: String,
}

/// Reads lines, and knows where it is.
struct Reader<'a> {
    lines: Vec<&'a str>,
    /// The index of the next line.
    next: usize,
    document: Document,
}

/// Reads a file. Never fails: what is wrong is in the blocks, and what is right is read anyway.
pub(super) fn read(text: &str) -> Document {
    // A byte order mark is Windows' way to say UTF-8, and part of nothing.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
        .collect();
    let mut reader = Reader {
        lines,
        next: 0,
        document: Document::default(),
    };
    reader.document.head.line = 1;
    reader.run();
    reader.document
}

// === impl Block ===

impl Block {
    /// Whether any of its lines is an error: it may say something else than was meant.
    pub(super) fn faulty(&self) -> bool {
        self.problems.iter().any(|p| p.severity == Severity::Error)
    }
}

// === impl Value ===

impl Value {
    /// A value without quotes around it.
    pub(super) fn plain(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            written: text.to_owned(),
        }
    }

    /// The text without blanks around it, which quotes may have kept.
    pub(super) fn trimmed(&self) -> &str {
        self.text.trim_ascii()
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    fn run(&mut self) {
        while let Some(line) = self.take() {
            let trimmed = trim(line);
            if let Some(fault) = fault(trimmed) {
                self.problem(Severity::Error, self.next, fault.to_owned());
            } else if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                // Says nothing.
            } else if let Some(rest) = trimmed.strip_prefix('[') {
                self.section(rest);
            } else if let Some((key, rest)) = line.split_once('=') {
                self.entry(trim(key), rest);
            } else {
                let message = format!(
                    "'{}' is neither a [section], a KEY=VALUE nor a # comment",
                    shorten(trimmed)
                );
                self.problem(Severity::Error, self.next, message);
            }
        }
    }

    /// The next line. Afterwards `next` is its number, counted from 1.
    fn take(&mut self) -> Option<&'a str> {
        let line = self.lines.get(self.next).copied()?;
        self.next += 1;
        Some(line)
    }

    fn block(&mut self) -> &mut Block {
        self.document
            .sections
            .last_mut()
            .unwrap_or(&mut self.document.head)
    }

    fn problem(&mut self, severity: Severity, line: usize, message: String) {
        self.block().problems.push(Problem {
            severity,
            line,
            message,
        });
    }

    /// `rest` is what follows the opening bracket.
    ///
    /// A header that is wrong begins a section all the same: the keys below it were not meant for
    /// the section above.
    fn section(&mut self, rest: &str) {
        let (name, after, closed) = match rest.split_once(']') {
            Some((name, after)) => (name, trim(after), true),
            None => (rest, "", false),
        };
        let name = trim(name).to_owned();
        let line = self.next;
        let wrong = if !closed {
            Some(format!("'[{}' has no closing bracket", shorten(&name)))
        } else if name.is_empty() {
            Some("a section needs a name between its brackets".to_owned())
        } else if !after.is_empty() && !after.starts_with(['#', ';']) {
            Some(format!(
                "'{}' follows the name of a section in the same line",
                shorten(after)
            ))
        } else {
            None
        };
        self.document.sections.push(Block {
            name,
            line,
            ..Block::default()
        });
        if let Some(message) = wrong {
            self.problem(Severity::Error, line, message);
        }
    }

    /// `rest` is what follows the equals sign.
    fn entry(&mut self, key: &str, rest: &str) {
        let line = self.next;
        if !is_key(key) {
            let message = format!(
                "'{}' is not a key: keys are of letters, digits and '_'",
                shorten(key)
            );
            self.problem(Severity::Error, line, message);
            return;
        }
        match self.value(rest) {
            Ok(value) => {
                let entry = Entry {
                    key: key.to_owned(),
                    value,
                    line,
                };
                self.block().entries.push(entry);
            }
            Err(message) => {
                // A value that was only half read may look like a whole one from here on, so
                // the lines after the key are read as lines again.
                self.next = line;
                self.problem(Severity::Error, line, format!("{key}: {message}"));
            }
        }
    }

    fn value(&mut self, rest: &str) -> Result<Value, String> {
        let rest = rest.trim_start_matches(BLANKS);
        let quote = match rest.chars().next() {
            Some(c @ ('"' | '\'')) => c,
            _ => return Ok(Value::plain(without_comment(trim(rest)))),
        };
        let body = &rest[1..];
        let Some(end) = closing(body, quote) else {
            return self.quoted_lines(body, quote);
        };
        let inner = &body[..end];
        let after = &body[end + 1..];
        if !is_nothing(after) {
            // A command whose first word alone is quoted; the shell will know.
            let whole = trim(rest);
            if whole.ends_with(quote) && !after.starts_with(BLANKS) {
                let message = format!(
                    "the value begins and ends with {quote}, but these two are not a pair, so \
                     both stay; to enclose a value that has {quote} in it, use the other quotes"
                );
                self.problem(Severity::Warning, self.next, message);
            }
            return Ok(Value::plain(whole));
        }
        self.warn_of_backslashes(inner, quote, self.next);
        Ok(Value {
            text: inner.to_owned(),
            written: rest[..end + 2].to_owned(),
        })
    }

    /// A value that goes on after its first line. An error leaves `next` anywhere.
    fn quoted_lines(&mut self, first: &str, quote: char) -> Result<Value, String> {
        let begin = self.next;
        let mut text = first.to_owned();
        let mut swallowed = Vec::new();
        for _ in 1..MAX_QUOTED_LINES {
            let Some(line) = self.take() else { break };
            if let Some(fault) = fault(line) {
                return Err(format!("{fault} (line {})", self.next));
            }
            text.push('\n');
            let Some(end) = closing(line, quote) else {
                text.push_str(line);
                swallowed.extend(perhaps_swallowed(line).map(|what| (self.next, what)));
                continue;
            };
            if !is_nothing(&line[end + 1..]) {
                return Err(format!(
                    "the {quote} that opens the value is closed in the middle of line {}; is one \
                     missing?",
                    self.next
                ));
            }
            text.push_str(&line[..end]);
            // A quote that was forgotten may find an end by accident; what lies between is lost.
            for (line, what) in swallowed {
                let message = format!(
                    "'{}' is taken for a part of the value whose quote opens in line {begin}",
                    shorten(what)
                );
                self.problem(Severity::Warning, line, message);
            }
            self.warn_of_backslashes(&text, quote, begin);
            let written = format!("{quote}{text}{quote}");
            return Ok(Value { text, written });
        }
        Err(format!(
            "the {quote} that opens the value is not closed within {MAX_QUOTED_LINES} lines"
        ))
    }

    /// Sleeping-beauty took the backslash off; here the shell will see it.
    fn warn_of_backslashes(&mut self, inner: &str, quote: char, line: usize) {
        if quote == '"' && inner.contains("\\\"") {
            let message = "\\\" in a value stays as it is, backslash and all; to have quotes in \
                           a quoted value, enclose it in single ones";
            self.problem(Severity::Warning, line, message.to_owned());
        }
    }
}

/// What in a line of a quoted value was perhaps meant for the file.
fn perhaps_swallowed(line: &str) -> Option<&str> {
    let key = line
        .split_once('=')
        .map(|(key, _)| trim(key))
        .filter(|k| keys::find(k).is_some());
    // `[ -f x ]` is a shell's test.
    let section = line.starts_with('[') && trim(line).ends_with(']') && !line.starts_with("[ ");
    key.or_else(|| section.then_some(line))
}

const BLANKS: [char; 2] = [' ', '\t'];

fn trim(text: &str) -> &str {
    text.trim_matches(BLANKS)
}

/// Why a line can be no line of a text file.
fn fault(line: &str) -> Option<&'static str> {
    if line.contains('\0') {
        return Some("there is a NUL byte in this line; the file is damaged, or not a text");
    }
    if line.contains('\r') {
        return Some("there is a carriage return in this line; lines end with LF or CR LF");
    }
    // Whoever reads the file puts this character for what is not UTF-8. A comment in an older
    // encoding harms nobody.
    let comment = trim(line).starts_with(['#', ';']);
    (!comment && line.contains(char::REPLACEMENT_CHARACTER))
        .then_some("this line is not valid UTF-8; save the file in that encoding")
}

/// The index of the quote that ends a value, where it does end.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (i, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote == '"' {
            escaped = true;
        } else if c == quote {
            return Some(i);
        }
    }
    None
}

/// Whether nothing follows a closing quote, but for a comment.
fn is_nothing(after: &str) -> bool {
    let trimmed = trim(after);
    trimmed.is_empty() || (after.starts_with(BLANKS) && trimmed.starts_with('#'))
}

/// A single word without the comment that follows it; anything longer as it is.
fn without_comment(value: &str) -> &str {
    match value.split_once(BLANKS) {
        Some((word, rest)) if trim(rest).starts_with('#') => word,
        _ if value.starts_with('#') => "",
        _ => value,
    }
}

fn is_key(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Enough of a text to find it by.
pub(super) fn shorten(text: &str) -> String {
    const MAX: usize = 60;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
