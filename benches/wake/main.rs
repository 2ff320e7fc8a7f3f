//! What a wake costs, measured from outside with the release binary: `cargo bench --bench wake`.
//!
//! `benches/README.md` says what each figure means, and how it is come by. In short: this program
//! plays the clients, and runs itself again as START_CMD ([`backend`]); every moment is a reading
//! of CLOCK_MONOTONIC, which all processes share.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`backend`] | START_CMD and the backend: stamps its own life |
//! | [`script`] | leads one backend through its life, from here |
//! | [`daemon`] | runs sleepingd; says what it costs |
//! | [`wakes`] | latency: backends that take their time, and what no proxy could beat |
//! | [`crowd`] | a thousand clients at once |
//! | [`quiet`] | what it costs to wait, and to do nothing |
//! | [`figures`] | the table, the JSON file |
//! | [`common`] | what the benches share: the clock, ports, what /proc says |

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};

use common::{Result, clock};
use figures::Figures;

mod backend;
#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod daemon;
mod figures;
mod quiet;
mod script;
mod wakes;

/// Measures what a wake costs.
#[derive(Debug, Parser)]
struct Cli {
    /// Wakes for each row
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    wakes: u32,
    /// Clients at once
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Only these parts; repeatable
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// The daemon, instead of the one that was built with this: an older one, to compare
    #[arg(long, default_value = env!("CARGO_BIN_EXE_sleepingd"))]
    daemon: PathBuf,
    /// What cargo passes
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Idle,
    Waiting,
    Crowd,
    Wakes,
}

fn main() -> ExitCode {
    // First of all: what it stamps is how long a START takes to begin.
    let begun = clock::now();
    if let Some(outcome) = backend::play(begun) {
        return exit_code(outcome);
    }
    let cli = Cli::parse();
    if !cli.bench {
        // `cargo test --all-targets` runs benches too; these are minutes, and prove nothing.
        println!("measures nothing without --bench (cargo bench --bench wake)");
        return ExitCode::SUCCESS;
    }
    exit_code(measure(&cli))
}

fn exit_code(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("wake bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn measure(cli: &Cli) -> Result<()> {
    let wanted = |part| cli.only.is_empty() || cli.only.contains(&part);
    let mut figures = Figures::begin(&cli.daemon)?;
    if wanted(Part::Idle) {
        quiet::idle(&mut figures, &cli.daemon)?;
    }
    if wanted(Part::Waiting) {
        quiet::waiting(&mut figures, &cli.daemon)?;
    }
    if wanted(Part::Crowd) {
        crowd::crowd(&mut figures, &cli.daemon, cli.clients)?;
    }
    if wanted(Part::Wakes) {
        wakes::wakes(&mut figures, &cli.daemon, cli.wakes)?;
    }
    figures.end()
}
