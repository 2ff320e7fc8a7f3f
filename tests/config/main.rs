//! The configuration through its public face: what files mean, and what is said of those that
//! mean nothing.
//!
//! | file | the question |
//! | --- | --- |
//! | `values` | what does a key take? |
//! | `bad_values` | what is said of a value that it does not take? |
//! | `odd_keys` | and of keys that are unknown, not supported yet, misplaced, or there twice? |
//! | `sections` | what must a section have, and where may it lead? |
//! | `several` | how do sections, files and the head go together? |
//! | `files` | which files are read, and how? |
//! | `hostile` | what comes of nonsense? |
//! | `ready_made` | what do UNIT and CONTAINER stand for? |
//! | `command` | what is COMMAND, and what cannot stand beside it? |
//! | `words` | how is a service explained? |
//! | `sleeping_beauty` | what becomes of the files of sleeping-beauty? |

// Helpers of tests may unwrap as tests may; clippy knows only the latter.
#![allow(clippy::unwrap_used)]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use sleepingd::{
    config::{self, Loaded, Severity, SourceFile, keys},
    model::{
        Balance, Definition, Destination, Execution, IdleOn, Mode, ProxyVersion, Scope, WakeOn,
    },
};

mod bad_values;
mod command;
mod files;
mod hostile;
mod odd_keys;
mod ready_made;
mod sections;
mod several;
mod sleeping_beauty;
mod values;
mod words;

/// Enough for a service that is sound.
const SOUND: &str = "PORT=1000\nSTART_CMD=/bin/start\n";

fn file(name: &str, text: &str) -> SourceFile {
    SourceFile {
        path: name.into(),
        text: text.to_owned(),
    }
}

fn load(text: &str) -> Loaded {
    config::parse(&[file("x.conf", text)], &[], Scope::System)
}

fn said(loaded: &Loaded) -> Vec<String> {
    loaded.diagnostics.iter().map(ToString::to_string).collect()
}

/// What is said of a text.
fn complaints(text: &str) -> Vec<String> {
    said(&load(text))
}

/// The one service of a text that nothing is wrong with.
fn only(text: &str) -> Definition {
    let mut loaded = load(text);
    assert_eq!(said(&loaded), [""; 0], "{text}");
    assert_eq!(loaded.definitions.len(), 1, "{text}");
    loaded.definitions.remove(0)
}

/// A sound service with these lines too.
fn with(lines: &str) -> Definition {
    only(&format!("[s]\n{SOUND}{lines}\n"))
}

fn names(loaded: &Loaded) -> Vec<&str> {
    loaded.definitions.iter().map(|d| d.name.as_str()).collect()
}

fn secs(n: u64) -> Option<Duration> {
    Some(Duration::from_secs(n))
}
