//! What holds for every text that is given for ynetd's, and for every command in it.

use super::{Arguments, durations, import, shell};
use crate::{
    config::{Loaded, SourceFile, parse},
    model::{CommandLine, Definition, Execution, IdleOn, Scope, duration},
};

/// Between the file and the words of the command line, each in a line.
const BETWEEN: &str = "\n-- \n";

pub(crate) fn all(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (file, words) = match text.split_once(BETWEEN) {
        Some((file, words)) => (file, words.split('\n').map(str::to_owned).collect()),
        None => (&*text, Vec::new()),
    };
    imports(file, &words);
    if !words.is_empty() {
        comes_out_again(&words);
    }
    for word in text.split_ascii_whitespace() {
        if let Ok(Some(read)) = durations::read(word) {
            let written = durations::write(read);
            assert_eq!(duration::parse(&written), Ok(Some(read)), "{written}");
        }
    }
}

fn imports(text: &str, words: &[String]) {
    let lines = text.split('\n').count();
    let file = SourceFile {
        path: "ynetd.yml".into(),
        text: text.to_owned(),
    };
    let Ok(arguments) = Arguments::read(words) else {
        return;
    };
    for file in [None, Some(&file)] {
        let diagnostics = match import(file, &arguments) {
            Ok(imported) => {
                for definition in &sound(&imported.text).definitions {
                    does_the_same(definition);
                }
                imported.warnings
            }
            Err(refused) => {
                assert!(
                    refused.to_string().contains("error: "),
                    "refused without a word"
                );
                refused.diagnostics
            }
        };
        for diagnostic in diagnostics {
            assert!(!diagnostic.to_string().contains(char::is_control));
            if let Some(origin) = diagnostic.origin {
                assert!((1..=lines).contains(&origin.line), "{origin:?} of {lines}");
            }
        }
    }
}

/// What is written is never refused.
fn sound(text: &str) -> Loaded {
    let file = SourceFile {
        path: "imported".into(),
        text: text.to_owned(),
    };
    let loaded = parse(&[file], &[], Scope::System);
    assert_eq!(loaded.diagnostics, [], "{text}");
    loaded
}

/// No section does what ynetd never does.
fn does_the_same(definition: &Definition) {
    assert!(!definition.listen.is_empty() && !definition.targets.is_empty());
    assert_eq!(definition.policy.idle.on, IdleOn::Connections);
    let recipe = &definition.recipe;
    assert_eq!(
        (&recipe.start, &recipe.stop, &recipe.check),
        (&None, &None, &None)
    );
}

/// The words of a command are the same when they have been written and read.
fn comes_out_again(words: &[String]) {
    let Ok(written) = shell::write(words) else {
        return;
    };
    assert!(!written.text.contains(char::is_control));
    let command = CommandLine::new(&written.text).expect("a command that is not blank");
    match command.execution() {
        Execution::Program(program) => assert_eq!(program, words),
        Execution::Shell(text) => assert_eq!(unquoted(text), words, "{text}"),
        Execution::Ourselves(_) => panic!("{command:?}"),
    }
}

/// The words that a shell makes of this, as far as it goes here. That bash agrees is in
/// `tests/daemon/importing.rs`.
fn unquoted(text: &str) -> Vec<String> {
    let text = text.strip_prefix("exec ").expect("exec");
    let text = text.strip_prefix("-- ").unwrap_or(text);
    let mut words = vec![Vec::new()];
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let word = words.last_mut().expect("there is one to begin with");
        match byte {
            b' ' => words.push(Vec::new()),
            b'\\' => word.extend(bytes.next()),
            b'\'' => word.extend(bytes.by_ref().take_while(|b| *b != b'\'')),
            b'$' => {
                assert_eq!(bytes.next(), Some(b'\''));
                escapes(&mut bytes, word);
            }
            plain => {
                assert!(plain.is_ascii_alphanumeric() || b"_@+:,./-".contains(&plain));
                word.push(plain);
            }
        }
    }
    let text = |word| String::from_utf8(word).expect("what was UTF-8");
    words.into_iter().map(text).collect()
}

fn escapes(bytes: &mut std::str::Bytes<'_>, word: &mut Vec<u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\'' => return,
            b'\\' => match bytes.next().expect("an escape") {
                b'n' => word.push(b'\n'),
                b't' => word.push(b'\t'),
                b'x' => {
                    let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                    let digits = std::str::from_utf8(&digits).expect("digits");
                    word.push(u8::from_str_radix(digits, 16).expect("two digits"));
                }
                other => word.push(other),
            },
            plain => word.push(plain),
        }
    }
    panic!("the quote is not closed");
}
