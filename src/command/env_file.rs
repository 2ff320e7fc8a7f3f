//! ENVIRONMENT_FILE, in the syntax of EnvironmentFile= (systemd.exec(5)).
//!
//! `NAME=VALUE` lines; `#` and `;` begin comment lines; values may be quoted with `'` (nothing is
//! special) or `"` (a backslash takes the meaning from `"`, `\`, `` ` `` and `$`), over several
//! lines; outside quotes a backslash takes the meaning from the next character, and at the end of
//! a line joins the next. Blanks around an unquoted value do not belong to it. Nothing is
//! expanded.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStringExt,
    path::Path,
};

/// How long a file may be.
const FILE_MAX: u64 = 1024 * 1024;

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Variables {
    /// The variables, in its order.
    pub(super) set: Vec<(String, OsString)>,
    /// The names that are not names of variables; they are left out.
    pub(super) refused: Vec<String>,
}

/// Where the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    LineStart,
    Comment,
    CommentEscape,
    Name,
    ValueStart,
    Value,
    ValueEscape,
    Single,
    Double,
    DoubleEscape,
}

#[derive(Debug)]
struct Reader {
    state: State,
    name: Vec<u8>,
    value: Vec<u8>,
    /// How much of the value is to stay: blanks after it fall at the end of an unquoted one.
    solid: usize,
    found: Variables,
}

/// Reads a file.
///
/// # Errors
/// As open(2) and read(2), and for a file of more than 1 MiB.
pub(super) fn read(path: &Path) -> io::Result<Variables> {
    let mut text = Vec::new();
    File::open(path)?
        .take(FILE_MAX + 1)
        .read_to_end(&mut text)?;
    if text.len() as u64 > FILE_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is longer than 1 MiB",
        ));
    }
    Ok(parse(&text))
}

pub(super) fn parse(text: &[u8]) -> Variables {
    let mut reader = Reader {
        state: State::LineStart,
        name: Vec::new(),
        value: Vec::new(),
        solid: 0,
        found: Variables::default(),
    };
    for byte in text {
        reader.state = reader.step(*byte);
    }
    if !matches!(
        reader.state,
        State::LineStart | State::Comment | State::CommentEscape | State::Name
    ) {
        reader.store();
    }
    reader.found
}

// === impl Reader ===

impl Reader {
    /// Takes one byte; gives the state after it.
    fn step(&mut self, byte: u8) -> State {
        match self.state {
            State::LineStart => self.line_start(byte),
            State::Comment if byte == b'\\' => State::CommentEscape,
            State::Comment | State::CommentEscape if byte == b'\n' => State::LineStart,
            State::Comment | State::CommentEscape => State::Comment,
            State::Name => self.name(byte),
            State::ValueStart | State::Value => self.value(byte),
            State::ValueEscape => {
                if byte != b'\n' {
                    self.keep(byte);
                }
                State::Value
            }
            State::Single if byte == b'\'' => State::ValueStart,
            State::Double if byte == b'"' => State::ValueStart,
            State::Double if byte == b'\\' => State::DoubleEscape,
            State::Single | State::Double => {
                self.keep(byte);
                self.state
            }
            State::DoubleEscape => {
                if !matches!(byte, b'"' | b'\\' | b'`' | b'$' | b'\n') {
                    self.keep(b'\\');
                }
                if byte != b'\n' {
                    self.keep(byte);
                }
                State::Double
            }
        }
    }

    fn line_start(&mut self, byte: u8) -> State {
        match byte {
            b'#' | b';' => State::Comment,
            _ if is_blank(byte) => State::LineStart,
            _ => {
                self.name.push(byte);
                State::Name
            }
        }
    }

    fn name(&mut self, byte: u8) -> State {
        match byte {
            // A line without `=` says nothing.
            b'\n' => {
                let line = std::mem::take(&mut self.name);
                self.found
                    .refused
                    .push(String::from_utf8_lossy(&line).trim_end().to_owned());
                State::LineStart
            }
            b'=' => State::ValueStart,
            _ => {
                self.name.push(byte);
                State::Name
            }
        }
    }

    /// Unquoted: before the value, in it, or after a part of it in quotes.
    fn value(&mut self, byte: u8) -> State {
        match (self.state, byte) {
            (_, b'\n') => {
                self.store();
                State::LineStart
            }
            (_, b'\\') => State::ValueEscape,
            (State::ValueStart, b'\'') => State::Single,
            (State::ValueStart, b'"') => State::Double,
            (State::ValueStart, _) if is_blank(byte) => State::ValueStart,
            (_, _) if is_blank(byte) => {
                self.value.push(byte);
                State::Value
            }
            _ => {
                self.keep(byte);
                State::Value
            }
        }
    }

    fn keep(&mut self, byte: u8) {
        self.value.push(byte);
        self.solid = self.value.len();
    }

    fn store(&mut self) {
        let mut value = std::mem::take(&mut self.value);
        value.truncate(std::mem::take(&mut self.solid));
        let name = std::mem::take(&mut self.name);
        let name = String::from_utf8_lossy(name.trim_ascii_end()).into_owned();
        if is_variable(&name) && !value.contains(&0) {
            self.found.set.push((name, OsString::from_vec(value)));
        } else {
            self.found.refused.push(name);
        }
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Letters, digits and `_`, no digit first.
fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> Vec<(String, String)> {
        parse(text.as_bytes())
            .set
            .into_iter()
            .map(|(name, value)| (name, value.into_string().unwrap()))
            .collect()
    }

    fn value(text: &str) -> String {
        set(&format!("A={text}")).remove(0).1
    }

    #[test]
    fn lines_set_variables_and_comments_do_not() {
        let text = "# c\n; c\n\n  A=1\nB = two words \nC=\n#x\\\nD=d";
        let expected = [("A", "1"), ("B", "two words"), ("C", ""), ("D", "d")];
        assert_eq!(
            set(text),
            expected.map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
    }

    #[test]
    fn quotes_and_backslashes_are_those_of_systemd() {
        assert_eq!(value("'a # \"b\" \\n $x'\n"), "a # \"b\" \\n $x");
        assert_eq!(value("\"a \\\"b\\\" \\$x \\n\"\n"), "a \"b\" $x \\n");
        assert_eq!(value("'one\ntwo'\n"), "one\ntwo");
        assert_eq!(value("\"one\\\ntwo\"\n"), "onetwo");
        assert_eq!(value("one\\\n two\n"), "one two");
        assert_eq!(value("a\\ b\\'c\\  \n"), "a b'c ");
        assert_eq!(value("'a' \"b\"c\n"), "abc");
        assert_eq!(value("a'b'\n"), "a'b'");
        assert_eq!(value("a#b;c\n"), "a#b;c");
        assert_eq!(value("x\r\n"), "x");
        assert_eq!(value("'unfinished "), "unfinished ");
    }

    #[test]
    fn what_is_no_variable_is_named_and_left_out() {
        let read = parse(b"1A=x\nexport B=y\nnothing\nC=z\n");
        assert_eq!(read.refused, ["1A", "export B", "nothing"]);
        assert_eq!(read.set.len(), 1);
    }

    #[test]
    fn a_file_without_end_is_refused() {
        let why = read(Path::new("/dev/zero")).unwrap_err();
        assert!(why.to_string().contains("1 MiB"));
    }
}
