//! What those say who read the pages for others.

use std::{collections::BTreeSet, process::Command};

use crate::{Written, files, run};

#[test]
fn man_and_groff_have_nothing_to_warn_of() {
    let written = Written::new();
    for page in written.pages() {
        let mut man = Command::new("man");
        man.args(["--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]);
        let output = run(man.env("LC_ALL", "C.UTF-8").arg(&page));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{page:?}");
        let mut groff = Command::new("groff");
        let output = run(groff.args(["-ww", "-man", "-Tutf8", "-z"]).arg(&page));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{page:?}");
    }
}

#[test]
fn mandoc_has_nothing_to_warn_of() {
    let written = Written::new();
    let mut mandoc = Command::new("mandoc");
    let output = run(mandoc
        .args(["-T", "lint", "-W", "style"])
        .args(written.pages()));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

#[test]
fn whatis_knows_each_page_by_its_name() {
    let written = Written::new();
    for page in written.pages() {
        let name = page.file_stem().unwrap().to_str().unwrap();
        let output = run(Command::new("lexgrog").arg(&page));
        let said = String::from_utf8(output.stdout).unwrap();
        let begins = format!("{}: \"{name} - ", page.display());
        assert!(said.starts_with(&begins), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn the_pages_are_these_four() {
    let written = Written::new();
    let names = files(&written.path("man"));
    let names: BTreeSet<&str> = names
        .iter()
        .map(|page| page.file_name().unwrap().to_str().unwrap())
        .collect();
    let four = [
        "sleepingctl.1",
        "sleepingd.conf.5",
        "sleepingd.8",
        "sleepingd-generator.8",
    ];
    assert_eq!(names, four.into());
}
