//! The targets of the fuzzers: what is called with made-up bytes, and panics where something is
//! not as it must be. There for tests alone.
//!
//! `fuzz/` makes a program of each that a fuzzer drives; `cargo test corpus` calls each with
//! every entry of its corpus. The lifecycle has its own in `tests/simulation`.

use crate::{command, config, model, proxy_protocol, relay, sys};

/// Takes anything.
pub type Target = fn(&[u8]);

/// All of them, by the name of their program and of their corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("commands", command::fuzz::all),
    ("config", config::fuzz::all),
    ("import", config::import::fuzz::all),
    ("netlink", sys::diag::fuzz::all),
    ("pool", relay::pool_sim::play),
    ("proxy_header", proxy_protocol::fuzz::all),
    ("relay", relay::sim::play),
    ("values", values),
];

/// Words of files, commands and others that are no more than a word.
fn values(bytes: &[u8]) {
    model::fuzz::all(bytes);
    crate::readiness::fuzz::all(bytes);
    crate::service::fuzz::all(bytes);
    crate::systemd::fuzz::all(bytes);
}

/// Calls a target of this name.
///
/// # Panics
/// As the target does, and where there is none.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("programs are named like targets");
    target(bytes);
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// That of the lifecycle is run by its simulation.
    const ELSEWHERE: &str = "lifecycle";

    fn names(directory: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(directory).unwrap();
        let stem = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
        entries.map(|entry| stem(&entry.unwrap().path())).collect()
    }

    #[test]
    fn every_entry_of_the_corpus_is_dealt_with() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
        let mut failed = Vec::new();
        for (name, target) in TARGETS {
            let mut entries = 0;
            for entry in fs::read_dir(corpus.join(name)).unwrap() {
                let path = entry.unwrap().path();
                let bytes = fs::read(&path).unwrap();
                let outcome = std::panic::catch_unwind(|| target(&bytes));
                if outcome.is_err() {
                    failed.push(path);
                }
                entries += 1;
            }
            assert!(entries > 0, "{name} has no corpus");
        }
        assert!(failed.is_empty(), "{failed:#?}");
    }

    #[test]
    fn every_target_has_its_program_and_its_corpus() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        let targets = TARGETS.iter().map(|(name, _)| (*name).to_owned());
        let targets: BTreeSet<String> = targets.chain([ELSEWHERE.to_owned()]).collect();
        assert_eq!(names(&fuzz.join("fuzz_targets")), targets);
        assert_eq!(names(&fuzz.join("seeds")), targets);
    }
}
