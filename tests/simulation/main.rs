//! The eight promises of the lifecycle, in many thousands of random orders of events.
//!
//! One seed is one life of a service: a random definition, and a random interleaving of clients
//! that come, speak and leave, commands that succeed, fail and hang, backends that crash, the
//! clock, reloads, crashes and restarts of the daemon, and its end. `world/` plays everybody
//! around the service, `promises.rs` watches what the service does about it.
//!
//! A promise that breaks is told with its seed and what led to it. `SIMULATION_SEED=n` runs one
//! seed, `SIMULATION_SEEDS=n` so many.

#[path = "../../src/choices.rs"]
#[allow(dead_code, reason = "the relay's simulation has them too")]
mod choices;
mod promises;
mod world;

use choices::Choices;
use sleepingd::service::lifecycle::{Arrow, State, Table};
use world::{Broken, World};

/// Lives that have broken a promise once, beyond those that are tried each time: a client that
/// spoke while it was being connected.
const FOUND: [u64; 1] = [191_800];

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn live(seed: u64, table: &Table, tell: bool) -> Result<(), Broken> {
    World::new(Choices::of_seed(seed), table.clone(), tell).live()
}

#[test]
fn the_promises_hold_in_every_order_of_events() {
    let table = Table::sound();
    if let Some(seed) = environment("SIMULATION_SEED") {
        if let Err(broken) = live(seed, &table, true) {
            panic!("seed {seed}: {broken}");
        }
        return;
    }
    let seeds = environment("SIMULATION_SEEDS").unwrap_or(20_000);
    for seed in FOUND.into_iter().chain(0..seeds) {
        if let Err(broken) = live(seed, &table, false) {
            let broken = live(seed, &table, true).err().unwrap_or(broken);
            panic!("SIMULATION_SEED={seed}: {broken}");
        }
    }
}

/// The lives that a fuzzer has found worth keeping: see fuzz/.
#[test]
fn every_entry_of_the_corpus_keeps_the_promises() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/lifecycle");
    let mut entries = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        let path = entry.unwrap().path();
        let choices = Choices::of_bytes(&std::fs::read(&path).unwrap());
        if let Err(broken) = World::new(choices, Table::sound(), true).live() {
            panic!("{}: {broken}", path.display());
        }
        entries += 1;
    }
    assert!(entries > 0, "there is no corpus");
}

/// Every arrow matters: a table in which one is missing, or leads elsewhere, breaks a promise.
#[test]
fn no_arrow_can_be_removed_or_redirected_unseen() {
    let sound = Table::sound();
    let mut unseen = Vec::new();
    for (index, arrow) in sound.arrows().iter().enumerate() {
        let mut mutants = vec![("removed".to_owned(), None)];
        for to in State::ALL.into_iter().filter(|to| *to != arrow.to) {
            mutants.push((format!("led to {to:?}"), Some(Arrow { to, ..*arrow })));
        }
        for (what, replacement) in mutants {
            let mut arrows = sound.arrows().to_vec();
            match replacement {
                Some(replacement) => arrows[index] = replacement,
                None => {
                    arrows.remove(index);
                }
            }
            let mutant = Table::with(arrows);
            if (0..2_000).all(|seed| live(seed, &mutant, false).is_ok()) {
                unseen.push(format!("{arrow:?} {what}"));
            }
        }
    }
    assert!(
        unseen.is_empty(),
        "the promises did not notice:\n{}",
        unseen.join("\n")
    );
}
