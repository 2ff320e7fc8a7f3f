//! rust-ini: why it is not the reader, and where it is the oracle.

use ini::{EscapePolicy, Ini, ParseOption, WriteOption};

use super::{problems, read_all, value};

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
