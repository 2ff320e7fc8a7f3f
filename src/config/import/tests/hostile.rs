//! Files that are none, in seeded random orders, and files that cost more than they look.

use super::*;

/// What files are made of, sound and not.
const PIECES: &[&str] = &[
    "services:",
    "\n- ",
    "\n  ",
    "\n",
    " ",
    "proxy:",
    "command:",
    "stop_after:",
    "stop_signal:",
    "timeout:",
    "wait_after_start:",
    "auto_start:",
    "{",
    "}",
    "[",
    "]",
    ", ",
    ": ",
    "\"",
    "'",
    "&a",
    "*a",
    "<<: ",
    "\":80\": \"b:80\"",
    "{\":81\": \"exec:/x\"}",
    "{\":82\": \"b:1\"}",
    "{\"interface:lo:9\": \":9\"}",
    "10m",
    "1h2m3.5s",
    "-1s",
    "9999999h",
    "\u{b5}s",
    "INT",
    "yes",
    "~",
    "- x",
    "'a b'",
    "\"\\n\\u0007\"",
    "|\n    a\n",
    "#",
    "---\n",
    "!!str ",
    "!!binary ",
    "\t",
    "\u{feff}",
    "\u{fffd}",
    "/bin/sh",
    "é",
    "\n-- \n",
    "-proxy",
    "-t",
    "0",
    ":1 b:2",
];

fn made_up(seed: u64) -> String {
    let mut choices = Choices::of_seed(seed);
    // Most of what is drawn blindly is not even YAML.
    let mut text = match choices.u32(0..3) {
        0 => String::new(),
        1 => "services:\n- proxy: {\":80\": \"b:80\"}\n".to_owned(),
        _ => "services:\n- proxy: {\":80\": \"b:80\"}\n  command: [".to_owned(),
    };
    for _ in 0..choices.usize(1..20) {
        text += choices.one_of(PIECES);
    }
    if choices.bool() {
        text += "]\n";
    }
    text
}

#[test]
fn nothing_that_is_made_up_panics_and_what_is_written_parses() {
    let mut imported = 0;
    for seed in 0..20_000 {
        let text = made_up(seed);
        let outcome = std::panic::catch_unwind(|| fuzz::all(text.as_bytes()));
        assert!(outcome.is_ok(), "seed {seed}: {text:?}");
        imported += usize::from(of_file(&text).is_ok());
    }
    // Else the dice would have to be others.
    assert!(imported > 500, "{imported}");
}

#[test]
fn a_file_full_of_aliases_is_refused() {
    let mut text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (from, to) in ('a'..='h').zip('b'..='i') {
        let aliases = vec![format!("*{from}"); 10].join(", ");
        text += &format!("{to}: &{to} [{aliases}]\n");
    }
    text += "services: *i\n";
    let errors = errors(of_file(&text));
    assert!(
        errors[0].contains("with its aliases filled in"),
        "{errors:?}"
    );
    let many = format!(
        "- &s {{proxy: {{\":80\": \"b:80\"}}, command: [{}]}}\n{}",
        "x, ".repeat(1000),
        "- *s\n".repeat(2000)
    );
    let errors = self::errors(of_file(&format!("services:\n{many}")));
    assert!(
        errors[0].contains("with its aliases filled in"),
        "{errors:?}"
    );
}
