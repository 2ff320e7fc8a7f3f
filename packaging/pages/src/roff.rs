//! Text in the language of manual pages (man(7)).

/// Lines are filled up to here, so that the pages can be read as they are.
const WIDTH: usize = 78;

/// A paragraph: what stands in backticks is bold, so are other pages; nothing in it is taken for a
/// request.
pub fn paragraph(text: &str) -> String {
    let marked: Vec<String> = text
        .split('`')
        .enumerate()
        .map(|(at, part)| match at % 2 {
            1 => bold(part),
            _ => prose(part),
        })
        .collect();
    fill(&marked.concat())
}

/// Bold, character by character as it is typed.
pub fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", literal(text))
}

/// What somebody has to put in.
pub fn italic(text: &str) -> String {
    format!("\\fI{}\\fR", literal(text))
}

/// A block that is shown as it is.
pub fn example(text: &str) -> String {
    let mut block = String::from(".PP\n.RS 4\n.EX\n");
    for line in text.trim_end().lines() {
        block += &guarded(&literal(line));
        block.push('\n');
    }
    block + ".EE\n.RE\n"
}

/// A term and what it means, in paragraphs that are roff already.
pub fn tagged(term: &str, paragraphs: &[String]) -> String {
    let meaning = paragraphs.join(".IP\n");
    format!(".TP\n{term}\n{meaning}")
}

fn literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => literal.push_str("\\e"),
            // A hyphen would be typeset, and could not be copied out.
            '-' => literal.push_str("\\-"),
            '\'' => literal.push_str("\\(aq"),
            '`' => literal.push_str("\\(ga"),
            '^' => literal.push_str("\\(ha"),
            '~' => literal.push_str("\\(ti"),
            c => literal.push(c),
        }
    }
    literal
}

fn prose(text: &str) -> String {
    let words: Vec<String> = text.split(' ').map(word).collect();
    words.join(" ")
}

/// `tcp(7)` is another page, `--user` an option.
fn word(word: &str) -> String {
    if let Some((name, rest)) = word.split_once('(') {
        let section = rest.bytes().next().is_some_and(|b| b.is_ascii_digit());
        if section && rest[1..].starts_with(')') && !name.is_empty() {
            return format!("{}({}", bold(name), prose(rest));
        }
    }
    if word.starts_with('-') && word.len() > 1 {
        return literal(word);
    }
    word.replace('\\', "\\e")
}

fn fill(text: &str) -> String {
    let mut filled = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
            filled += &guarded(&line);
            filled.push('\n');
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    filled + &guarded(&line) + "\n"
}

/// A line that begins with a dot or an apostrophe would be a request.
fn guarded(line: &str) -> String {
    match line.chars().next() {
        Some('.' | '\'') => format!("\\&{line}"),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_taken_for_roff() {
        assert_eq!(paragraph(".so /etc/shadow"), "\\&.so /etc/shadow\n");
        assert_eq!(paragraph("'a' \\fB"), "\\&'a' \\efB\n");
        assert_eq!(
            paragraph("see `a-b` and tcp(7), or --user"),
            "see \\fBa\\-b\\fR and \\fBtcp\\fR(7), or \\-\\-user\n"
        );
        assert_eq!(
            example(".TH\n\\x 'y'\n"),
            ".PP\n.RS 4\n.EX\n\\&.TH\n\\ex \\(aqy\\(aq\n.EE\n.RE\n"
        );
    }

    #[test]
    fn long_lines_are_filled_and_no_line_becomes_a_request() {
        let text = format!("{} .TH x", "words ".repeat(13).trim_end());
        let filled = paragraph(&text);
        assert_eq!(filled.lines().count(), 2, "{filled}");
        assert_eq!(filled.lines().nth(1), Some("\\&.TH x"));
    }
}
