//! Words as the value of COMMAND, such that the same words come out: executed directly where our
//! parser takes them so, else by a shell.

use std::fmt::Write as _;

use crate::model::{CommandLine, Execution};

/// The value of COMMAND.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// In one line.
    pub(super) text: String,
    /// Not every shell knows `$'..'`.
    pub(super) needs_bash: bool,
}

/// Writes words.
///
/// # Errors
/// Where they are no command.
pub(super) fn write(words: &[String]) -> Result<Written, &'static str> {
    if words.first().is_none_or(String::is_empty) {
        return Err("the command has no program");
    }
    if words.iter().any(|word| word.contains('\0')) {
        return Err("there is a NUL character in it, which no argument of a command can have");
    }
    if let Some(text) = plain(words) {
        return Ok(Written {
            text,
            needs_bash: false,
        });
    }
    // The shell makes way for the program, and takes none of its builtins for it.
    let mut text = "exec".to_owned();
    if words[0].starts_with('-') {
        text += " --";
    }
    for word in words {
        text.push(' ');
        text += &quoted(word);
    }
    Ok(Written {
        text,
        needs_bash: words.iter().any(|word| word.contains(is_unwritable)),
    })
}

/// The words side by side, if they are read as these words and run without a shell.
fn plain(words: &[String]) -> Option<String> {
    let text = words.join(" ");
    let command = CommandLine::new(&text)?;
    let same = match command.execution() {
        Execution::Program(program) => program == words,
        Execution::Shell(_) | Execution::Ourselves(_) => false,
    };
    // sleeping-beauty's way to have no command.
    let none = text.ends_with("/false");
    (same && !none && !text.contains(is_unwritable)).then_some(text)
}

/// What no line of our files can have in it.
fn is_unwritable(c: char) -> bool {
    c.is_control() || c == char::REPLACEMENT_CHARACTER
}

fn quoted(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_@+:,./-".contains(c);
    if !word.is_empty() && word.chars().all(harmless) {
        word.to_owned()
    } else if word.contains(is_unwritable) {
        escaped(word)
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// As bash alone reads it.
fn escaped(word: &str) -> String {
    let mut text = "$'".to_owned();
    for c in word.chars() {
        match c {
            '\n' => text += "\\n",
            '\t' => text += "\\t",
            '\'' | '\\' => text.extend(['\\', c]),
            c if is_unwritable(c) => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "\\x{byte:02x}");
                }
            }
            c => text.push(c),
        }
    }
    text.push('\'');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(words: &[&str]) -> Written {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        write(&words).unwrap()
    }

    #[test]
    fn words_are_plain_where_they_can_be_and_quoted_elsewhere() {
        for (words, text) in [
            (&["/bin/x", "-a", "b"][..], "/bin/x -a b"),
            (&["run", "some", "service"], "exec run some service"),
            (&["/bin/x", "a b"], "exec /bin/x 'a b'"),
            (&["/bin/x", ""], "exec /bin/x ''"),
            (
                &["/bin/x", "it's", "$HOME"],
                r"exec /bin/x 'it'\''s' '$HOME'",
            ),
            (&["/bin/x", "#"], "exec /bin/x '#'"),
            (&["/bin/false"], "exec /bin/false"),
            (&["-x"], "exec -- -x"),
            (&["A=1"], "exec 'A=1'"),
        ] {
            let expected = Written {
                text: text.to_owned(),
                needs_bash: false,
            };
            assert_eq!(written(words), expected);
        }
        let odd = written(&["/bin/x", "a\nb\r\u{fffd}'\\"]);
        assert_eq!(odd.text, r"exec /bin/x $'a\nb\x0d\xef\xbf\xbd\'\\'");
        assert!(odd.needs_bash);
    }

    #[test]
    fn what_is_no_command_is_refused() {
        assert!(write(&[]).is_err());
        assert!(write(&[String::new()]).is_err());
        assert!(write(&["a\0".to_owned()]).is_err());
    }
}
