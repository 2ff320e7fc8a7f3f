//! The lives of tests/simulation, as the fuzzer wants them.

#![no_main]

#[path = "../../src/choices.rs"]
#[allow(dead_code, reason = "the relay's simulation has them too")]
mod choices;
#[path = "../../tests/simulation/promises.rs"]
mod promises;
#[path = "../../tests/simulation/world/mod.rs"]
mod world;

use choices::Choices;
use sleepingd::service::lifecycle::Table;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let life = |tell| world::World::new(Choices::of_bytes(bytes), Table::sound(), tell).live();
    if life(false).is_err() {
        // Once more, with its story.
        panic!("{}", life(true).expect_err("it is the same life"));
    }
});
