//! What the shells make of the completions: each is asked what it would offer.

use std::process::Command;

use crate::{Written, run};

#[test]
fn bash_offers_commands_and_options() {
    let written = Written::new();
    let offers = |program: &str, words: &[&str]| {
        let file = written.path(&format!("completions/bash/{program}"));
        let script = format!(
            "set -e\nsource '{}'\nCOMP_WORDS=({program} {})\nCOMP_CWORD={}\n\
             [[ $(complete -p {program}) == *' -F _{program} '* ]]\n\
             _{program} {program} \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            file.display(),
            words.join(" "),
            words.len(),
        );
        let mut bash = Command::new("bash");
        String::from_utf8(run(bash.args(["--norc", "-c", &script])).stdout).unwrap()
    };
    assert_eq!(offers("sleepingd", &["che"]), "check\n");
    assert_eq!(
        offers("sleepingd", &["run", "--run"]),
        "--runtime-directory\n"
    );
    assert_eq!(offers("sleepingctl", &["status", "--js"]), "--json\n");
    assert_eq!(offers("sleepingctl", &["rel"]), "reload\n");
}

#[test]
fn fish_offers_commands_and_options() {
    let written = Written::new();
    let offers = |program: &str, line: &str| {
        let file = written.path(&format!("completions/fish/{program}.fish"));
        let script = format!(
            "source '{}'; complete -C '{program} {line}'",
            file.display()
        );
        let mut fish = Command::new("fish");
        fish.env("HOME", written.path(""))
            .args(["--no-config", "-c", &script]);
        let said = String::from_utf8(run(&mut fish).stdout).unwrap();
        let words = said.lines().filter_map(|line| line.split('\t').next());
        words.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(offers("sleepingd", "che"), ["check"]);
    assert_eq!(offers("sleepingd", "run --run"), ["--runtime-directory"]);
    assert_eq!(offers("sleepingctl", "status --js"), ["--json"]);
    assert_eq!(offers("sleepingctl", "rel"), ["reload"]);
}

/// What zsh offers needs a terminal to be seen; here it must take the file as that of the program.
#[test]
fn zsh_takes_the_files_as_those_of_the_programs() {
    let written = Written::new();
    let directory = written.path("completions/zsh");
    for program in ["sleepingd", "sleepingctl"] {
        let script = format!(
            "emulate -R zsh; setopt err_exit\nfpath=('{}' $fpath)\n\
             autoload -Uz compinit; compinit -u -D\n\
             [[ $_comps[{program}] == _{program} ]]\n\
             autoload +X _{program}\n\
             print -r -- $functions[_{program}]",
            directory.display()
        );
        let mut zsh = Command::new("zsh");
        zsh.env("HOME", written.path(""))
            .args(["-f", "-c", &script]);
        let output = run(&mut zsh);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("status"), "{said}");
    }
}
