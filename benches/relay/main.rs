//! The relay beside its rivals: `cargo bench --bench relay`.
//!
//! `benches/README.md` says what each figure means, and how it is come by. In short: this program
//! runs itself again as the backend and as the load, starts every relay it finds between them, and
//! measures all of them in turn, round after round.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`rows`] | what is measured, and what must be reached |
//! | [`rounds`] | the run |
//! | [`memory`] | what relays weigh, and connections at rest |
//! | [`pair`] | two sleepingd that differ in one thing |
//! | [`relays`] | sleepingd and its rivals: finds, configures, starts and ends them |
//! | [`backend`] | the other end of every connection |
//! | [`load`] | the clients |
//! | [`order`] | what a load is told, and what it answers |
//! | [`meter`] | everybody's processor time |
//! | [`interruption`] | Ctrl-C |
//! | [`roles`] | how this program becomes another process |
//! | [`figures`] | medians, ratios, verdicts |
//! | [`table`] | the table |
//! | [`common`] | what the benches share |

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use common::{Result, machine};
use figures::{Line, Verdict};
use pair::Pair;
use relays::{Candidate, Kind, Threads};
use rounds::{Field, Round};
use rows::{Part, ROWS, Row};
use serde_json::{Map, Value, json};

mod backend;
#[path = "../common/mod.rs"]
mod common;
mod figures;
mod interruption;
mod load;
mod memory;
mod meter;
mod order;
mod pair;
mod relays;
mod roles;
mod rounds;
mod rows;
mod table;

/// Beside what cargo builds.
const FILE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/../relay.json");

/// Measures the relay beside its rivals.
#[derive(Debug, Parser)]
struct Cli {
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// How often everything is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How often memory is measured
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    weighings: u32,
    /// How long each measurement is
    #[arg(long, default_value_t = 0.8)]
    seconds: f64,
    /// The daemon, instead of the one that was built with this
    #[arg(long, default_value = env!("CARGO_BIN_EXE_sleepingd"))]
    daemon: PathBuf,
    /// Only these relays, by their names in the table
    #[arg(long, value_delimiter = ',')]
    relays: Vec<String>,
    /// Another sleepingd beside it, `NAME=PATH[,KEY=VALUE...]`: another program (none: the same),
    /// keys before its first section; repeatable
    #[arg(long, value_parser = variant)]
    variant: Vec<Variant>,
    /// Instead of all that: two sleepingd that differ in one thing
    #[arg(long, value_enum)]
    pair: Option<Pair>,
    /// Print the table in Markdown, too
    #[arg(long)]
    markdown: bool,
    /// What cargo passes
    #[arg(long, hide = true)]
    bench: bool,
}

/// A sleepingd to be measured beside the one that counts.
#[derive(Debug, Clone)]
struct Variant {
    name: String,
    program: Option<PathBuf>,
    head: Vec<String>,
}

fn main() -> ExitCode {
    let role = roles::play()
        .or_else(backend::play)
        .or_else(load::play)
        .or_else(pair::play);
    if let Some(outcome) = role {
        return exit_code(outcome);
    }
    let cli = Cli::parse();
    if !cli.bench {
        // `cargo test --all-targets` runs benches too; these are minutes, and prove nothing.
        println!("measures nothing without --bench (cargo bench --bench relay)");
        return ExitCode::SUCCESS;
    }
    exit_code(measure(&cli))
}

fn exit_code(outcome: Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("relay bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn measure(cli: &Cli) -> Result<()> {
    interruption::listen()?;
    sleepingd::sys::fd::raise_nofile_limit()?;
    let mut machine = machine::facts()?;
    if let Some(pair) = cli.pair {
        return compare(cli, pair, machine);
    }
    let candidates = present(cli, &mut machine)?;
    let wanted = |part| cli.only.is_empty() || cli.only.contains(&part);
    // First, while the kernel has no closed connections to remember.
    let weighing = wanted(Part::Memory).then(|| memory::weigh(&candidates, cli.weighings as usize));
    let weighing = weighing.transpose()?;
    let rows: Vec<&'static Row> = ROWS.iter().filter(|row| wanted(row.part)).collect();
    let rounds = if rows.is_empty() {
        Vec::new()
    } else {
        run(cli, &candidates, &rows)?
    };
    machine.insert("load_after".to_owned(), machine::load()?.into());
    let mut lines = Vec::new();
    if let Some(weighing) = &weighing {
        lines = figures::of_memory(&candidates, weighing);
    }
    lines.extend(figures::of_rounds(&candidates, &rows, &rounds));
    report(cli, &candidates, &lines, &rounds, machine)
}

/// Two of ours, and nobody else.
fn compare(cli: &Cli, pair: Pair, mut machine: Map<String, Value>) -> Result<()> {
    let daemon = fs::canonicalize(&cli.daemon)?;
    let seen = pair::measure(
        pair,
        &pair::Plan {
            daemon: &daemon,
            rounds: cli.rounds as usize,
            window: Duration::try_from_secs_f64(cli.seconds)?,
        },
    )?;
    machine.insert("load_after".to_owned(), machine::load()?.into());
    let all = json!({ "machine": machine, "pair": seen });
    fs::write(FILE, serde_json::to_string_pretty(&all)? + "\n")?;
    println!("\nwritten to {}", fs::canonicalize(FILE)?.display());
    Ok(())
}

fn run(cli: &Cli, candidates: &[Candidate], rows: &[&'static Row]) -> Result<Vec<Round>> {
    let window = Duration::try_from_secs_f64(cli.seconds)?;
    let mut field = Field::start(candidates)?;
    (0..cli.rounds as usize)
        .map(|number| field.round(number, rows, window))
        .collect()
}

fn report(
    cli: &Cli,
    candidates: &[Candidate],
    lines: &[Line],
    rounds: &[Round],
    machine: Map<String, Value>,
) -> Result<()> {
    println!();
    for (name, value) in &machine {
        println!("{name:<14} {value}");
    }
    println!();
    table::print(candidates, lines);
    if lines.iter().any(|line| !line.quiet) {
        println!(
            "\nothers used the machine, too: what they have a part in is \
             not judged; CPU of the relay, and its own memory, are"
        );
    }
    if cli.markdown {
        println!("\n{}", table::markdown(candidates, lines, &machine));
    }
    let all = json!({
        "machine": machine,
        "rounds": cli.rounds,
        "seconds": cli.seconds,
        "relays": candidates.iter().map(|one| &one.name).collect::<Vec<_>>(),
        "rows": lines.iter().map(|line| line.json(candidates)).collect::<Vec<_>>(),
        "seen": rounds.iter().map(|round| &round.rows).collect::<Vec<_>>(),
    });
    fs::write(FILE, serde_json::to_string_pretty(&all)? + "\n")?;
    println!("\nwritten to {}", fs::canonicalize(FILE)?.display());
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    match (count(Verdict::Missed), count(Verdict::Unknown)) {
        (0, 0) => Ok(()),
        (missed, unknown) => {
            Err(format!("{missed} bars are missed, of {unknown} nothing is known").into())
        }
    }
}

/// Those that are asked for and installed; what is not installed is said.
fn present(cli: &Cli, machine: &mut Map<String, Value>) -> Result<Vec<Candidate>> {
    let mut all = everybody(cli)?;
    for name in &cli.relays {
        if !all.iter().any(|one| one.name == *name) {
            let names: Vec<&str> = all.iter().map(|one| &*one.name).collect();
            return Err(
                format!("no relay is called {name}; there are {}", names.join(", ")).into(),
            );
        }
    }
    let is_variant = |name: &str| cli.variant.iter().any(|one| one.name == name);
    all.retain(|one| {
        cli.relays.is_empty() || cli.relays.contains(&one.name) || is_variant(&one.name)
    });
    let mut found = Vec::new();
    for candidate in all {
        match candidate.program() {
            Ok(program) => {
                if let Some(program) = program {
                    machine.insert(candidate.name.clone(), program.version.into());
                }
                found.push(candidate);
            }
            Err(missing) => eprintln!("{} is left out: {missing}", candidate.name),
        }
    }
    Ok(found)
}

fn everybody(cli: &Cli) -> Result<Vec<Candidate>> {
    let sleepingd = |name: &str, program: &Path, head: &[String]| -> Result<Candidate> {
        let (program, head) = (fs::canonicalize(program)?, head.to_vec());
        let kind = Kind::Sleepingd {
            program,
            head,
            user: None,
        };
        Ok(Candidate::new(name, kind))
    };
    let mut all = vec![
        Candidate::new("direct", Kind::Direct),
        sleepingd(figures::OURS, &cli.daemon, &[])?,
        sleepingd(figures::AGAIN, &cli.daemon, &[])?,
    ];
    for variant in &cli.variant {
        let program = variant.program.as_ref().unwrap_or(&cli.daemon);
        all.push(sleepingd(&variant.name, program, &variant.head)?);
    }
    all.extend([
        Candidate::new("haproxy", Kind::Haproxy(Threads::Its)),
        Candidate::new("haproxy-1", Kind::Haproxy(Threads::One)),
        Candidate::new("nginx", Kind::Nginx(Threads::Its)),
        Candidate::new("nginx-1", Kind::Nginx(Threads::One)),
        Candidate::new("proxyd", Kind::SocketProxyd),
        Candidate::new("socat", Kind::Socat),
    ]);
    for variant in &cli.variant {
        if all.iter().filter(|one| one.name == variant.name).count() > 1 {
            return Err(format!("there are two relays called {}", variant.name).into());
        }
    }
    Ok(all)
}

fn variant(text: &str) -> std::result::Result<Variant, String> {
    let (name, rest) = text.split_once('=').ok_or("NAME=PATH is expected")?;
    let mut parts = rest.split(',');
    let program = parts.next().filter(|path| !path.is_empty());
    Ok(Variant {
        name: name.to_owned(),
        program: program.map(PathBuf::from),
        head: parts.map(str::to_owned).collect(),
    })
}
