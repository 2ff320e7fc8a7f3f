//! Words in quotes, as systemd splits the values of Environment= (systemd.syntax(7), "Quoting").

use std::{iter::Peekable, str::Chars};

/// Splits at blanks and newlines. Quotes of either kind keep a word together and are taken off;
/// a backslash begins an escape as in C, and stays where it begins none.
///
/// # Errors
/// A quote that is not closed, and an escape that would be a NUL byte or no character at all.
pub(super) fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => escape(&mut chars, word.get_or_insert_default())?,
            _ if quote == Some(c) => quote = None,
            '"' | '\'' if quote.is_none() => {
                quote = Some(c);
                // Also where nothing is in the quotes there is a word.
                word.get_or_insert_default();
            }
            _ if c.is_ascii_whitespace() && quote.is_none() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        return Err(format!("a {open} is not closed"));
    }
    words.extend(word);
    Ok(words)
}

fn escape(chars: &mut Peekable<Chars<'_>>, word: &mut String) -> Result<(), String> {
    let Some(c) = chars.next() else {
        return Err("there is nothing after the last backslash".to_owned());
    };
    let plain = match c {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        's' => ' ',
        '\\' | '"' | '\'' => c,
        'x' => coded(chars, 2, 16)?,
        'u' => coded(chars, 4, 16)?,
        'U' => coded(chars, 8, 16)?,
        _ => {
            word.push('\\');
            c
        }
    };
    word.push(plain);
    Ok(())
}

fn coded(chars: &mut Peekable<Chars<'_>>, length: usize, radix: u32) -> Result<char, String> {
    let mut digits = String::new();
    while digits.len() < length {
        match chars.next_if(|c| c.is_digit(radix)) {
            Some(c) => digits.push(c),
            None => break,
        }
    }
    let code = u32::from_str_radix(&digits, radix).unwrap_or(0);
    // Above 0x7f \x would be a byte of its own, which need not be UTF-8.
    let good = digits.len() == length && code != 0 && (length > 2 || code < 0x80);
    good.then(|| char::from_u32(code))
        .flatten()
        .ok_or_else(|| format!("the escape with '{digits}' is no character"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_split_as_systemd_splits_them() {
        let table: &[(&str, &[&str])] = &[
            ("", &[]),
            ("  ", &[]),
            ("A=1 B=2", &["A=1", "B=2"]),
            (
                r#""A=one two" B='three four'"#,
                &["A=one two", "B=three four"],
            ),
            (r#"A="one two""#, &["A=one two"]),
            (r#""A=it's""#, &["A=it's"]),
            (
                r"A=one\stwo B=\n C=\x41 D=\u00e9",
                &["A=one two", "B=\n", "C=A", "D=é"],
            ),
            (r#"A=\"q\" B=\$x"#, &["A=\"q\"", r"B=\$x"]),
            ("'' x", &["", "x"]),
        ];
        for (text, words) in table {
            assert_eq!(split(text).unwrap(), *words, "{text}");
        }
    }

    #[test]
    fn what_is_no_word_is_refused() {
        assert_eq!(split("A='x").unwrap_err(), "a ' is not closed");
        assert_eq!(
            split("A=\\").unwrap_err(),
            "there is nothing after the last backslash"
        );
        for text in [r"\x00", r"\x4", r"\xff", r"\ud800", r"\U00000000"] {
            assert!(
                split(text).unwrap_err().contains("is no character"),
                "{text}"
            );
        }
    }
}
