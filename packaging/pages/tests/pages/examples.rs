//! What an example shows is what the program reads.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::{CommandFactory, Parser};
use sleepingd::{
    cli,
    config::{self, SourceFile},
    model::Scope,
};

use crate::{Written, files};

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn examples(extension: &str) -> Vec<PathBuf> {
    let mut all = files(&here("examples"));
    all.retain(|path| path.extension().is_some_and(|e| e == extension));
    assert!(!all.is_empty());
    all
}

#[test]
fn every_configuration_is_sound_and_gives_no_warning() {
    for path in examples("conf") {
        let text = fs::read_to_string(&path).unwrap();
        let files = [SourceFile {
            path: path.clone(),
            text,
        }];
        let loaded = config::parse(&files, &["api".to_owned()], Scope::System);
        let wrong: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
        assert_eq!(wrong, [""; 0], "{}", path.display());
        assert!(!loaded.definitions.is_empty(), "{}", path.display());
    }
}

#[test]
fn every_line_that_is_typed_is_a_command_line_of_ours_or_of_systemd() {
    let mut ours = 0;
    for path in examples("console") {
        let text = fs::read_to_string(&path).unwrap();
        for line in text.lines() {
            let Some(typed) = line.strip_prefix("$ ").or(line.strip_prefix("# ")) else {
                continue;
            };
            // Up to the shell's own business.
            let words = typed
                .split_whitespace()
                .take_while(|word| !["|", "&&"].contains(word));
            let words: Vec<&str> = words.collect();
            let wrong = match words[0] {
                "sleepingd" => cli::sleepingd::Cli::try_parse_from(&words).err(),
                "sleepingctl" => cli::sleepingctl::Cli::try_parse_from(&words).err(),
                path if path.ends_with("/sleepingd-generator") => {
                    assert!(
                        words[1..]
                            .iter()
                            .all(|word| cli::generator::HELP.contains(word))
                    );
                    None
                }
                "systemctl" | "journalctl" | "loginctl" => continue,
                other => panic!("{}: {other}?", path.display()),
            };
            assert!(wrong.is_none(), "{}: {line}: {wrong:?}", path.display());
            ours += 1;
        }
    }
    assert!(ours > 8, "{ours}");
}

#[test]
fn a_page_has_no_example_that_is_not_one_of_these_and_each_is_in_a_page() {
    let mut used = BTreeSet::new();
    for page in files(&here("prose")) {
        let text = fs::read_to_string(&page).unwrap();
        assert!(
            !text.contains(".EX") && !text.contains(".nf"),
            "{}",
            page.display()
        );
        used.extend(
            text.lines()
                .filter_map(|line| line.strip_prefix("@@example "))
                .map(str::to_owned),
        );
    }
    let all = files(&here("examples"));
    let there = all
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    assert_eq!(there.collect::<BTreeSet<_>>(), used);
}

#[test]
fn an_example_is_read_in_the_page_as_it_was_written() {
    let written = Written::new();
    for page in files(&here("prose")) {
        let name = page.file_name().unwrap().to_str().unwrap();
        let shown = written.read(name);
        let text = fs::read_to_string(&page).unwrap();
        for example in text
            .lines()
            .filter_map(|line| line.strip_prefix("@@example "))
        {
            let wanted = fs::read_to_string(here("examples").join(example)).unwrap();
            let indented: String = wanted
                .lines()
                .map(|line| match line {
                    "" => "\n".to_owned(),
                    line => format!("           {line}\n"),
                })
                .collect();
            assert!(shown.contains(&indented), "{example} in {name}:\n{shown}");
        }
    }
}

/// The picture and the drop-in name a unit of the section [Wiki] of another example.
#[test]
fn the_units_that_are_named_are_those_that_the_generator_makes() {
    let text = fs::read_to_string(here("examples/container.conf")).unwrap();
    let path = PathBuf::from("container.conf");
    let loaded = config::parse(&[SourceFile { path, text }], &[], Scope::System);
    let units = sleepingd::systemd::generator::units(&loaded.definitions);
    assert_eq!(units.len(), 1);
    for example in ["who-starts-whom.txt", "drop-in.txt"] {
        let text = fs::read_to_string(here("examples").join(example)).unwrap();
        assert!(
            text.contains(&units[0].name),
            "{} in {example}",
            units[0].name
        );
    }
    let page = Written::new().read("sleepingd-generator.8");
    assert!(page.contains(&units[0].name));
}

#[test]
fn programs_are_called_as_they_are_installed() {
    assert_eq!(cli::sleepingd::Cli::command().get_name(), "sleepingd");
    assert_eq!(cli::sleepingctl::Cli::command().get_name(), "sleepingctl");
}
