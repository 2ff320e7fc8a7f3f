use std::{collections::BTreeSet, fs};

use clap::{Command, CommandFactory};
use sleepingd::{cli, config::keys};

use crate::{Written, files, project};

#[test]
fn every_key_is_in_the_page_with_what_it_takes_means_and_defaults_to() {
    let page = Written::new().read("sleepingd.conf.5");
    for key in keys::ALL {
        let takes = key.takes.trim_start_matches("a ").trim_start_matches("an ");
        let begins = format!("{}={takes}", key.name);
        let at = page.find(&format!("       {begins}\n"));
        let rest = &page[at.unwrap_or_else(|| panic!("no '{begins}'"))..];
        let end = rest.find("Default: ").unwrap();
        let default = rest[end..].lines().next().unwrap();
        let expected = format!("Default: {}.", key.default);
        assert!(default.starts_with(&expected), "{}: {default}", key.name);
        let own = rest[..end].replace('\n', " ").to_lowercase();
        // That default is its own: no other key's heading stands before it.
        let headings = keys::ALL.iter().filter(|other| {
            let heading = format!("       {}=", other.name);
            rest[..end].lines().any(|line| line.starts_with(&heading))
        });
        assert_eq!(headings.count(), 1, "{}: {own}", key.name);
        for word in plain_words(key.meaning).chain(plain_words(key.doc)) {
            assert!(own.contains(word), "{} lacks '{word}'", key.name);
        }
    }
}

/// Those that look the same in a page.
fn plain_words(text: &str) -> impl Iterator<Item = &str> {
    let is_plain = |word: &&str| word.len() > 3 && word.bytes().all(|b| b.is_ascii_lowercase());
    text.split_whitespace().filter(is_plain)
}

#[test]
fn what_must_be_said_is_in_no_brackets_and_a_choice_says_of_what() {
    let page = Written::new().read("sleepingd.8");
    let wanted = "sleepingd container [--address] start|stop|check CONTAINER";
    assert!(page.contains(wanted), "{page}");
    assert!(page.contains("sleepingd status [--user] [SECTION]..."));
}

#[test]
fn every_chapter_of_the_table_is_a_chapter_of_the_page() {
    let page = Written::new().page("sleepingd.conf.5");
    for group in keys::GROUPS {
        assert!(page.contains(&format!("\n.SS {}\n", group.title)));
    }
}

#[test]
fn every_option_and_every_command_is_in_its_page() {
    let written = Written::new();
    for (page, program) in [
        ("sleepingd.8", cli::sleepingd::Cli::command()),
        ("sleepingctl.1", cli::sleepingctl::Cli::command()),
    ] {
        let page = written.read(page);
        has_options(&page, &program);
        // What systemd alone runs is hidden.
        let commands = program.get_subcommands().filter(|one| !one.is_hide_set());
        for command in commands {
            let name = command.get_name();
            let heading = |line: &&str| {
                let line = line.trim_start();
                line == name || line.starts_with(&format!("{name} "))
            };
            // In the synopsis, and above what it does.
            let synopsis = format!("{} {name}", program.get_name());
            assert!(page.contains(&synopsis), "{synopsis}");
            let at = page.lines().position(|line| heading(&line));
            let rest: Vec<&str> = page.lines().skip(at.unwrap() + 1).collect();
            let rest = rest.join("\n");
            let about = command.get_about().unwrap().to_string();
            assert!(rest.trim_start().starts_with(&about), "{name}: {about}");
            has_options(&rest, command);
        }
    }
}

fn has_options(page: &str, command: &Command) {
    for arg in command.get_arguments() {
        let name = match (arg.get_short(), arg.get_long()) {
            (Some(short), Some(long)) => format!("-{short}, --{long}"),
            (None, Some(long)) => format!("--{long}"),
            _ if !arg.get_possible_values().is_empty() => {
                let words = arg.get_possible_values();
                let words: Vec<&str> = words.iter().map(|word| word.get_name()).collect();
                words.join("|")
            }
            _ => arg.get_value_names().unwrap()[0].to_string(),
        };
        let help = arg.get_help().unwrap().to_string();
        let (_, rest) = page
            .split_once(&format!("       {name}"))
            .unwrap_or_else(|| panic!("no {name} of {}", command.get_name()));
        let rest = rest.split_whitespace().collect::<Vec<_>>().join(" ");
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(rest.contains(&help), "{name}: {help}");
    }
}

#[test]
fn the_options_of_the_generator_are_those_of_its_help() {
    let page = Written::new().read("sleepingd-generator.8");
    let options = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let is_option = |word: &&str| word.starts_with("--") && word.len() > 2;
        words.filter(is_option).map(str::to_owned).collect()
    };
    let (_, own) = page.split_once("OPTIONS").unwrap();
    let (own, _) = own.split_once("WHO STARTS WHOM").unwrap();
    assert_eq!(options(own), options(cli::generator::HELP));
    for line in cli::generator::HELP
        .lines()
        .filter(|line| line.contains(" -"))
    {
        let (names, what) = line.trim().split_once("  ").unwrap_or(("", ""));
        if names.starts_with('-') {
            let own: String = own.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(own.contains(&format!("{names} {}.", what.trim())), "{line}");
        }
    }
    let synopsis = page.split_once("DESCRIPTION").unwrap().0;
    for words in ["NORMAL-DIR [EARLY-DIR [LATE-DIR]]", "--dry-run [--user]"] {
        assert!(synopsis.contains(words) && cli::generator::HELP.contains(words));
    }
}

#[test]
fn the_same_sources_make_the_same_bytes_and_the_day_is_the_builders() {
    let (one, two) = (Written::new(), Written::new());
    let names = |written: &Written| files(written.directory.path()).len();
    assert_eq!(names(&one), names(&two));
    for path in files(one.directory.path()) {
        let same = two.path(
            path.strip_prefix(one.directory.path())
                .unwrap()
                .to_str()
                .unwrap(),
        );
        assert_eq!(
            fs::read(&path).unwrap(),
            fs::read(same).unwrap(),
            "{path:?}"
        );
    }
    let day = |written: &Written| {
        written
            .page("sleepingd.8")
            .lines()
            .next()
            .map(str::to_owned)
    };
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        version, "0.0.0",
        "the version is the program's, not that of this crate"
    );
    let title = day(&one).unwrap();
    assert!(
        title.starts_with(".TH SLEEPINGD 8 \"2026-06-21\" \"sleepingd 2"),
        "{title}"
    );
    let other = day(&Written::of_day("0")).unwrap();
    assert!(other.contains("\"1970-01-01\""), "{other}");
}

#[test]
fn every_page_that_a_unit_points_to_is_there() {
    let written = Written::new();
    let ours: BTreeSet<String> = written
        .pages()
        .iter()
        .map(|page| page.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let mut seen = 0;
    for unit in files(&project("systemd")) {
        let text = fs::read_to_string(&unit).unwrap();
        let is_main = unit
            .extension()
            .is_some_and(|e| e == "service" || e == "target");
        let pages = text.split_whitespace().filter_map(|word| {
            word.trim_start_matches("Documentation=")
                .trim_start_matches("Documentation:")
                .strip_prefix("man:")
        });
        let mut of_unit = 0;
        for page in pages {
            let file = page.replace('(', ".").replace(')', "");
            assert!(ours.contains(&file), "{}: {page}", unit.display());
            of_unit += 1;
        }
        assert!(
            !is_main || of_unit > 1,
            "{} points to no page",
            unit.display()
        );
        seen += of_unit;
    }
    assert!(seen > 8, "{seen}");
}
