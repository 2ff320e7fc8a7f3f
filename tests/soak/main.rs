//! The daemon for minutes, hours or a day among real clients and real backends that behave as
//! badly as they may: nobody's bytes are lost or mixed up, and nothing is left behind.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `talk` | what a client and a backend have agreed on, and the bytes between them |
//! | `client` | a client, and what it may see |
//! | `backend` | the backend: this program once more, started by START_CMD |
//! | `chaos` | cycles of bursts, kills and sleep |
//! | `books` | what must be true at the end |
//! | `turns` | how long the daemon's event loops were deaf |
//!
//! `SOAK_SECONDS` says how long (20), `SOAK_SEED` what happens (printed at the start),
//! `SLEEPINGD_TEST_BIN` in which directory the daemon is. `tests/soak/run 24h` takes the release.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "clippy exempts test functions, not what they call; there is no runtime to block \
              here, no suspend to live through, and backends are plain sockets of the test"
)]

mod backend;
mod books;
mod chaos;
mod client;
#[path = "../daemon/harness/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the stage of the daemon's tests, of which this needs a part"
)]
mod harness;
mod talk;
mod turns;

use std::{env, process::ExitCode, time::Duration};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    if let [_, role, at, records] = &arguments[..] {
        assert_eq!(role, backend::ROLE);
        return backend::serve(at, records.as_ref());
    }
    // `cargo test PATTERN` is asked of this program too, and so is what there is to be tested.
    if arguments.iter().any(|word| word == "--list") || !wanted(&arguments) {
        return ExitCode::SUCCESS;
    }
    let seconds = number("SOAK_SECONDS").unwrap_or(20);
    let seed = number("SOAK_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("soak: SOAK_SECONDS={seconds} SOAK_SEED={seed}");
    let wrong = chaos::run(Duration::from_secs(seconds), seed);
    for what in wrong.iter().take(30) {
        eprintln!("soak: {what}");
    }
    if wrong.is_empty() {
        println!("soak: ok");
        return ExitCode::SUCCESS;
    }
    eprintln!("soak: FAILED, {} things are wrong", wrong.len());
    ExitCode::FAILURE
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// Whether the patterns of the command line, if there are any, mean this.
fn wanted(arguments: &[String]) -> bool {
    let mut patterns = arguments[1..].iter().filter(|word| !word.starts_with('-'));
    let first = patterns.next();
    first.is_none_or(|first| {
        std::iter::once(first)
            .chain(patterns)
            .any(|p| "soak".contains(p.as_str()))
    })
}
