//! What the shells are told, in files of the names under which they look for them.

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use sleepingd::cli;

/// A file for a shell.
pub struct Completion {
    /// Below the directory of completions.
    pub path: String,
    pub text: Vec<u8>,
}

/// The programs that people type. sleepingd-generator is systemd's.
pub fn all() -> Vec<Completion> {
    let programs = [
        ("sleepingd", cli::sleepingd::Cli::command()),
        ("sleepingctl", cli::sleepingctl::Cli::command()),
    ];
    let mut all = Vec::new();
    for (name, command) in programs {
        for (shell, path) in [
            (Shell::Bash, format!("bash/{name}")),
            (Shell::Zsh, format!("zsh/_{name}")),
            (Shell::Fish, format!("fish/{name}.fish")),
        ] {
            let mut text = Vec::new();
            generate(shell, &mut command.clone(), name, &mut text);
            all.push(Completion { path, text });
        }
    }
    all
}
