use ini::{EscapePolicy, Ini, ParseOption, WriteOption};

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
    let table = [
        (
            "foo bar",
            "1 'foo bar' is neither a [section], a KEY=VALUE nor a # comment",
        ),
        (
            "PORT: 80",
            "1 'PORT: 80' is neither a [section], a KEY=VALUE nor a # comment",
        ),
        (
            "export PORT=80",
            "1 'export PORT' is not a key: keys are of letters, digits and '_'",
        ),
        (
            "=80",
            "1 '' is not a key: keys are of letters, digits and '_'",
        ),
        (
            "1A=80",
            "1 '1A' is not a key: keys are of letters, digits and '_'",
        ),
        (
            "START-CMD=x",
            "1 'START-CMD' is not a key: keys are of letters, digits and '_'",
        ),
        (
            "\u{a0}PORT=80",
            "1 '\u{a0}PORT' is not a key: keys are of letters, digits and '_'",
        ),
        ("[web", "1 '[web' has no closing bracket"),
        ("[]", "1 a section needs a name between its brackets"),
        ("[ \t]", "1 a section needs a name between its brackets"),
        (
            "[a] junk",
            "1 'junk' follows the name of a section in the same line",
        ),
        (
            "[a[b]c]",
            "1 'c]' follows the name of a section in the same line",
        ),
        (
            "A=\0",
            "1 there is a NUL byte in this line; the file is damaged, or not a text",
        ),
        (
            "# \0",
            "1 there is a NUL byte in this line; the file is damaged, or not a text",
        ),
        (
            "A=1\rB=2",
            "1 there is a carriage return in this line; lines end with LF or CR LF",
        ),
        (
            "# A\rB=2\r",
            "1 there is a carriage return in this line; lines end with LF or CR LF",
        ),
        (
            "A=\u{fffd}",
            "1 this line is not valid UTF-8; save the file in that encoding",
        ),
        (
            "A='\n\u{fffd}'",
            "1 A: this line is not valid UTF-8; save the file in that encoding (line 2)",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(problems(text)[0], expected, "{text:?}");
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

/// What the trial of rust-ini found: why it cannot be the reader. If one of these fails because
/// rust-ini has learnt better, look again.
#[test]
fn rust_ini_misreads_what_this_reader_must_read() {
    let theirs = |text: &str| Ini::load_from_str(text).map(|ini| ini.general_section().clone());
    let get = |text: &str, key: &str| theirs(text).unwrap().get(key).map(str::to_owned);

    // An indented comment swallows the key below it.
    assert_eq!(get("  # comment\nA=1\n", "A"), None);
    assert_eq!(value("  # comment\nA=1\n"), "1");
    // So does a line without `=`, without an error.
    assert_eq!(get("foo bar\nA=1\n", "A"), None);
    assert_eq!(problems("foo bar\nA=1\n").len(), 1);
    // Backslashes are eaten, and some are errors.
    assert_eq!(
        get(r"A=grep '^\s+\d' x", "A").as_deref(),
        Some("grep '^s+d' x")
    );
    assert_eq!(value(r"A=grep '^\s+\d' x"), r"grep '^\s+\d' x");
    assert!(theirs(r#"A=printf "\x1b[0m""#).is_err());
    // Quotes around the first word alone are dropped, which makes another command of it.
    assert_eq!(
        get(r#"A='/opt/x y/run' --a="b""#, "A").as_deref(),
        Some(r#"/opt/x y/run --a="b""#)
    );
    // A colon separates keys, so that text that is no key becomes one.
    assert_eq!(get("http://x=1", "http").as_deref(), Some("//x=1"));
    assert_eq!(problems("http://x=1").len(), 1);
    // A byte order mark is taken for a part of the key.
    assert_eq!(get("\u{feff}A=1", "A"), None);
    assert_eq!(value("\u{feff}A=1"), "1");
}

/// A text of words that both read alike: no backslash, no quote but around the whole.
fn safe_text(rng: &mut fastrand::Rng) -> String {
    const ALPHABET: &[char] = &[
        'a', 'Z', '0', '_', '-', '.', '/', '$', '(', ')', '|', '&', '<', '>', '%', '+', 'é', ' ',
    ];
    let text: String = (0..rng.usize(1..30))
        .map(|_| *rng.choice(ALPHABET).unwrap())
        .collect();
    format!("x{}", text.trim())
}

#[test]
fn rust_ini_agrees_on_the_plain_part_of_the_format() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut ini = Ini::new();
        let mut expected = Vec::new();
        for section in 0..rng.usize(1..5) {
            let name = format!("section {section}");
            for key in 0..rng.usize(1..6) {
                let (key, text) = (format!("KEY_{key}"), safe_text(&mut rng));
                ini.with_section(Some(name.as_str()))
                    .set(key.as_str(), text.as_str());
                expected.push((name.clone(), key, text));
            }
        }
        let mut written = Vec::new();
        let options = WriteOption {
            escape_policy: EscapePolicy::Nothing,
            ..WriteOption::default()
        };
        ini.write_to_opt(&mut written, options).unwrap();
        let text = String::from_utf8(written).unwrap();
        // Ours reads what theirs wrote, and theirs reads what ours reads.
        let (ours, problems) = read_all(&text);
        assert_eq!(
            (&ours, problems),
            (&expected, vec![]),
            "seed {seed}:\n{text}"
        );
        let options = ParseOption {
            enabled_quote: false,
            enabled_escape: false,
            ..ParseOption::default()
        };
        let theirs = Ini::load_from_str_opt(&text, options).unwrap();
        for (section, key, value) in &ours {
            assert_eq!(
                theirs.get_from(Some(section.as_str()), key),
                Some(value.as_str()),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn any_value_can_be_written_in_quotes_and_is_read_back() {
    const ALPHABET: &[char] = &[
        'a',
        ' ',
        '\t',
        '\n',
        '"',
        '\\',
        '#',
        ';',
        '=',
        '[',
        ']',
        '$',
        '`',
        'é',
        '\u{1f600}',
    ];
    for seed in 0..500 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let text: String = (0..rng.usize(0..60))
            .map(|_| *rng.choice(ALPHABET).unwrap())
            .collect();
        if text.lines().count() > MAX_QUOTED_LINES {
            continue;
        }
        let (entries, _) = read_all(&format!("A='{text}' # end\nB=1\n"));
        assert_eq!(entries[0].2, text, "seed {seed}");
        assert_eq!(entries[1].1, "B", "seed {seed}");
    }
}

#[test]
fn no_text_makes_it_panic_or_lose_a_line() {
    const PIECES: &[&str] = &[
        "[",
        "]",
        "=",
        "\"",
        "'",
        "\\",
        "#",
        ";",
        "\n",
        "\n",
        "\r\n",
        "\r",
        "\0",
        " ",
        "\t",
        "A",
        "PORT=",
        "[x]\n",
        "é",
        "\u{feff}",
        "\u{fffd}",
        "START_CMD=\"",
    ];
    for seed in 0..2000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let text: String = (0..rng.usize(0..80))
            .map(|_| *rng.choice(PIECES).unwrap())
            .collect();
        let document = read(&text);
        let blocks = || std::iter::once(&document.head).chain(&document.sections);
        // Each line says something, says nothing, is in quotes, or is complained of.
        for block in blocks() {
            for entry in &block.entries {
                assert!(is_key(&entry.key), "seed {seed}");
            }
            for problem in &block.problems {
                assert!(
                    (1..=text.split('\n').count()).contains(&problem.line),
                    "seed {seed}"
                );
            }
        }
        let last = text
            .strip_prefix('\u{feff}')
            .unwrap_or(&text)
            .rsplit('\n')
            .next()
            .unwrap();
        let says =
            fault(last).is_none() && last.starts_with("PORT=") && !last.contains(['"', '\'']);
        let quoted = text.contains(['"', '\'']);
        if says && !quoted {
            assert!(
                blocks().any(|b| b.entries.iter().any(|e| e.key == "PORT")),
                "seed {seed}"
            );
        }
    }
}
