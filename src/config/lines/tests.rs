//! Texts and what is read in them.

mod any_text;
mod rust_ini;

use super::*;

/// Sections with their keys and values, and the problems, as `LINE MESSAGE`.
fn read_all(text: &str) -> (Vec<(String, String, String)>, Vec<String>) {
    let document = read(text);
    let mut entries = Vec::new();
    let mut problems = Vec::new();
    for block in std::iter::once(document.head).chain(document.sections) {
        for entry in block.entries {
            entries.push((block.name.clone(), entry.key, entry.value.text));
        }
        problems.extend(
            block
                .problems
                .iter()
                .map(|p| format!("{} {}", p.line, p.message)),
        );
    }
    (entries, problems)
}

/// The value of the one key of a text that has nothing wrong with it.
fn value(line: &str) -> String {
    let (entries, problems) = read_all(line);
    assert_eq!(problems, [""; 0], "{line}");
    assert_eq!(entries.len(), 1, "{line}");
    entries[0].2.clone()
}

fn problems(text: &str) -> Vec<String> {
    read_all(text).1
}

#[test]
fn a_value_reaches_the_shell_byte_for_byte() {
    for text in [
        r#"'/opt/x y/run' --a="b""#,
        r#"grep "x" file"#,
        r#"grep -E '^\s+\d' /x && printf "\x1b[0m\n" ; echo $(date) & # not ours"#,
        r#""/opt/x y/run" ; echo '127.0.0.1 80'"#,
        "a=b=c:d",
        r"C:\dir\",
        "http://x/#anchor",
        "echo 'it is",
        "[not a section]",
    ] {
        assert_eq!(value(&format!("A={text}")), text);
        assert_eq!(value(&format!(" \tA \t= \t{text} \t\r\n")), text);
    }
}

#[test]
fn quotes_around_a_whole_value_are_taken_off() {
    let table = [
        (r#"A="""#, ""),
        ("A=''", ""),
        (r#"A="  blanks  ""#, "  blanks  "),
        (r#"A='a "b" c'"#, r#"a "b" c"#),
        (r#"A="it's # ; & \n $(x)""#, r"it's # ; & \n $(x)"),
        (r#"A="x" # a comment's quote"#, "x"),
        ("A='x'\t#", "x"),
        (r"A='\'", r"\"),
        (r#"A="\\""#, r"\\"),
    ];
    for (line, expected) in table {
        assert_eq!(value(line), expected, "{line}");
    }
}

#[test]
fn a_value_of_one_word_may_have_a_comment() {
    assert_eq!(value("A=80 # web"), "80");
    assert_eq!(value("A=80\t#"), "80");
    assert_eq!(value("A= # nothing"), "");
    assert_eq!(value("A=80#web"), "80#web");
    assert_eq!(value("A=80 443 # web"), "80 443 # web");
    assert_eq!(value("A=80 ; web"), "80 ; web");
}

#[test]
fn a_quoted_value_goes_on_over_lines() {
    assert_eq!(
        value("A=\"one  \n  two\n# three\n[four]\" # five\n"),
        "one  \n  two\n# three\n[four]"
    );
    assert_eq!(value("A='one\r\ntwo'\r\n"), "one\ntwo");
    assert_eq!(value("A=\"one \\\ntwo\""), "one \\\ntwo");
    let long = format!("A='{}'", "x\n".repeat(MAX_QUOTED_LINES - 1));
    assert_eq!(value(&long).lines().count(), MAX_QUOTED_LINES - 1);
}

#[test]
fn a_forgotten_quote_is_reported_where_it_was_opened_and_eats_nothing() {
    let expected = "2 A: the \" that opens the value is not closed within 100 lines";
    let (entries, problems) = read_all("[s]\nA=\"x\nB=1\n[t]\nC=2\n");
    assert_eq!(problems, [expected]);
    assert_eq!(
        entries,
        [("s", "B", "1"), ("t", "C", "2")].map(|(a, b, c)| (a.into(), b.into(), c.into()))
    );

    let far = format!("A='{}'", "x=1\n".repeat(MAX_QUOTED_LINES));
    assert_eq!(
        self::problems(&far)[0],
        "1 A: the ' that opens the value is not closed within 100 lines"
    );

    // The next value's opening quote ends this one, which must not pass for an end.
    let (entries, problems) = read_all("A=\"x\nB=\"y\"\n");
    assert_eq!(
        problems,
        ["1 A: the \" that opens the value is closed in the middle of line 2; is one missing?"]
    );
    assert_eq!(entries, [(String::new(), "B".to_owned(), "y".to_owned())]);
}

#[test]
fn what_a_quote_may_have_swallowed_by_accident_is_a_warning() {
    assert_eq!(
        problems("START_CMD='x\n STOP_CMD=y\n[web]\n[ -f x ]\n # the users'\n"),
        [
            "2 'STOP_CMD' is taken for a part of the value whose quote opens in line 1",
            "3 '[web]' is taken for a part of the value whose quote opens in line 1",
        ]
    );
}

#[test]
fn quotes_that_will_surprise_are_a_warning() {
    let (entries, problems) = read_all(r#"A="echo "a" b""#);
    assert_eq!(entries[0].2, r#""echo "a" b""#);
    assert!(
        problems[0].starts_with("1 the value begins and ends with \""),
        "{problems:?}"
    );
    let (entries, problems) = read_all("A=\"x\n\\\"y\\\"\"");
    assert_eq!(entries[0].2, "x\n\\\"y\\\"");
    assert!(
        problems[0].starts_with("1 \\\" in a value stays"),
        "{problems:?}"
    );
}

#[test]
fn every_line_is_a_section_a_key_or_a_comment() {
    let nothing =
        |text: &str| format!("'{text}' is neither a [section], a KEY=VALUE nor a # comment");
    let no_key = |key: &str| format!("'{key}' is not a key: keys are of letters, digits and '_'");
    let no_name = || "a section needs a name between its brackets".to_owned();
    let follows = |rest: &str| format!("'{rest}' follows the name of a section in the same line");
    let nul = || "there is a NUL byte in this line; the file is damaged, or not a text".to_owned();
    let end = || "there is a carriage return in this line; lines end with LF or CR LF".to_owned();
    let utf8 = "this line is not valid UTF-8; save the file in that encoding";
    let table = [
        ("foo bar", nothing("foo bar")),
        ("PORT: 80", nothing("PORT: 80")),
        ("export PORT=80", no_key("export PORT")),
        ("=80", no_key("")),
        ("1A=80", no_key("1A")),
        ("START-CMD=x", no_key("START-CMD")),
        ("\u{a0}PORT=80", no_key("\u{a0}PORT")),
        ("[web", "'[web' has no closing bracket".to_owned()),
        ("[]", no_name()),
        ("[ \t]", no_name()),
        ("[a] junk", follows("junk")),
        ("[a[b]c]", follows("c]")),
        ("A=\0", nul()),
        ("# \0", nul()),
        ("A=1\rB=2", end()),
        ("# A\rB=2\r", end()),
        ("A=\u{fffd}", utf8.to_owned()),
        ("A='\n\u{fffd}'", format!("A: {utf8} (line 2)")),
    ];
    for (text, expected) in table {
        assert_eq!(problems(text)[0], format!("1 {expected}"), "{text:?}");
    }
}

#[test]
fn the_shapes_of_a_file_are_all_read() {
    let same = [
        "PORT=80\n[a b]\nX=1",
        "\u{feff}PORT=80\r\n [ a b ] # c\r\n\r\n X = 1 \r\n",
    ];
    for text in same {
        let (entries, problems) = read_all(text);
        assert_eq!(problems, [""; 0]);
        let expected = [("", "PORT", "80"), ("a b", "X", "1")];
        assert_eq!(
            entries,
            expected.map(|(a, b, c)| (a.into(), b.into(), c.into()))
        );
    }
    // A comment in an old encoding, and comments of either kind, indented too.
    assert_eq!(
        problems("# caf\u{fffd}\n\t; x y\n  # A=1\n\n \t\n"),
        [""; 0]
    );
    assert_eq!(read_all("").0, []);
}

#[test]
fn keys_below_a_broken_header_are_not_those_of_the_section_above() {
    let (entries, _) = read_all("[a]\nX=1\n[b\nY=2\n");
    assert_eq!(entries[1].0, "b");
}
