//! Texts at random: what holds for each of them.

use super::*;

/// What a value is made of.
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

/// What a file is made of.
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

#[test]
fn any_value_can_be_written_in_quotes_and_is_read_back() {
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
    for seed in 0..2000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let text: String = (0..rng.usize(0..80))
            .map(|_| *rng.choice(PIECES).unwrap())
            .collect();
        let document = read(&text);
        let blocks = || std::iter::once(&document.head).chain(&document.sections);
        // Each line says something, says nothing, is in quotes, or is complained of.
        let lines = 1..=text.split('\n').count();
        for block in blocks() {
            let mut keys = block.entries.iter().map(|entry| &entry.key);
            assert!(keys.all(|key| is_key(key)), "seed {seed}");
            let mut at = block.problems.iter().map(|problem| problem.line);
            assert!(at.all(|line| lines.contains(&line)), "seed {seed}");
        }
        let last = text
            .strip_prefix('\u{feff}')
            .unwrap_or(&text)
            .rsplit('\n')
            .next()
            .unwrap();
        let quoted = text.contains(['"', '\'']);
        if fault(last).is_none() && last.starts_with("PORT=") && !quoted {
            let mut keys = blocks().flat_map(|block| &block.entries);
            assert!(keys.any(|entry| entry.key == "PORT"), "seed {seed}");
        }
    }
}
