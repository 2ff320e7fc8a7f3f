use std::time::Duration;

use super::*;
use crate::{
    choices::Choices,
    config::Loaded,
    model::{Definition, Execution},
};

mod examples;
mod hostile;
mod told;

fn words(words: &[&str]) -> Arguments {
    let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    Arguments::read(&words).unwrap()
}

fn file(text: &str) -> SourceFile {
    SourceFile {
        path: "ynetd.yml".into(),
        text: text.to_owned(),
    }
}

fn of_file(text: &str) -> Result<Imported, Refused> {
    import(Some(&file(text)), &Arguments::default())
}

fn load(text: &str) -> Loaded {
    let file = SourceFile {
        path: "imported".into(),
        text: text.to_owned(),
    };
    parse(&[file], &[], Scope::System)
}

/// What comes of it, read again; it must give no warning either.
fn definitions(imported: Result<Imported, Refused>) -> Vec<Definition> {
    let imported = imported.unwrap();
    assert_eq!(imported.warnings, [], "{}", imported.text);
    let loaded = load(&imported.text);
    assert_eq!(loaded.diagnostics, [], "{}", imported.text);
    loaded.definitions
}

/// The errors, without the name of the file.
fn errors(imported: Result<Imported, Refused>) -> Vec<String> {
    let refused = imported.unwrap_err();
    let errors = refused.diagnostics.iter();
    errors
        .filter(|one| one.severity == Severity::Error)
        .map(ToString::to_string)
        .map(|error| error.replace("ynetd.yml:", ""))
        .collect()
}

fn warnings(imported: &Imported) -> Vec<String> {
    let warnings = imported.warnings.iter().map(ToString::to_string);
    warnings
        .map(|warning| warning.replace("ynetd.yml:", ""))
        .collect()
}
