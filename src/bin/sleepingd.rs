//! The daemon: parses its arguments, takes what systemd gives, runs, and turns errors into exit
//! codes (sysexits, which systemd prints by name).

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use sleepingd::{
    config,
    container::{self, Check, ContainerError, ContainerRef},
    daemon::{self, Options, Scope, StartError},
    sys,
    systemd::{Notifier, journal, sockets},
};
use tracing::{Level, error};

/// A general failure.
const FAILURE: u8 = 1;
/// EX_USAGE: the command line.
const USAGE: u8 = 64;
/// EX_CONFIG: the configuration.
const CONFIG: u8 = 78;

/// Spawning threads of the runtime that hang in a name service are not waited for longer.
const SHUTDOWN_LIMIT: Duration = Duration::from_millis(500);

/// Keeps TCP services asleep until somebody connects.
#[derive(Debug, Parser)]
#[command(name = "sleepingd", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run in the foreground (the default)
    Run(RunArgs),
    /// Check the configuration and explain what it does
    Check(CheckArgs),
    /// Start, stop or check a container, as CONTAINER= does
    Container(ContainerArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Read this file instead of those under /etc/sleepingd
    #[arg(short = 'f', long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// A user's daemon: read the files under ~/.config/sleepingd, wake the user's own units
    #[arg(long)]
    user: bool,
    /// Keep the control socket and what is awake here
    #[arg(long, value_name = "DIR")]
    runtime_directory: Option<PathBuf>,
    /// Log every connection and every step
    #[arg(long, alias = "verbose", short_alias = 'v')]
    debug: bool,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// Check this file instead of those under /etc/sleepingd
    #[arg(short = 'f', long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Check for a user's daemon: the files under ~/.config/sleepingd, the user's own units
    #[arg(long)]
    user: bool,
    /// Check as if systemd handed over a socket of this name (FileDescriptorName=); may be repeated
    #[arg(long = "socket", value_name = "NAME")]
    sockets: Vec<String>,
}

#[derive(Debug, Args)]
struct ContainerArgs {
    /// What to do with it; `check` exits with 0 if it is up, else with 1
    #[arg(value_enum)]
    action: ContainerAction,
    /// Print where it is, as IP PORT
    #[arg(long)]
    address: bool,
    /// The container, as CONTAINER= says it: NAME, docker:NAME or podman:NAME, with :PORT behind it
    /// where it exposes several
    #[arg(value_name = "CONTAINER")]
    container: ContainerRef,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ContainerAction {
    Start,
    Stop,
    Check,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let code = if e.use_stderr() { USAGE } else { 0 };
            // Nowhere to say that standard error is closed.
            let _ = e.print();
            return ExitCode::from(code);
        }
    };
    match cli.command {
        Some(Command::Check(args)) => check(&args),
        Some(Command::Container(args)) => match in_container(&args) {
            Ok(code) => code,
            Err(e) => fail(&e.to_string()),
        },
        Some(Command::Run(args)) => run(args),
        None => run(cli.run),
    }
}

fn check(args: &CheckArgs) -> ExitCode {
    let scope = Scope::of(args.user);
    match daemon::load_for_foreground(args.config_file.as_deref(), scope, &args.sockets) {
        Ok(loaded) => {
            for warning in loaded.warnings() {
                eprintln!("{warning}");
            }
            for warning in daemon::missing_accounts(&loaded) {
                eprintln!("{warning}");
            }
            for definition in &loaded.definitions {
                println!("{}", config::explain(definition));
            }
            if loaded.definitions.is_empty() {
                println!("No service is configured.");
            }
            ExitCode::SUCCESS
        }
        Err(wrong) => {
            for line in wrong.lines() {
                eprintln!("{line}");
            }
            eprintln!("sleepingd: {wrong}");
            ExitCode::from(CONFIG)
        }
    }
}

fn in_container(args: &ContainerArgs) -> Result<ExitCode, ContainerError> {
    let address = match args.action {
        ContainerAction::Start => container::start(&args.container, args.address)?,
        ContainerAction::Stop => {
            container::stop(&args.container)?;
            None
        }
        ContainerAction::Check => match container::check(&args.container, args.address)? {
            Check::Up(address) => address,
            Check::Down => return Ok(ExitCode::from(FAILURE)),
        },
    };
    if let Some(at) = address {
        println!("{} {}", at.ip(), at.port());
    }
    Ok(ExitCode::SUCCESS)
}

fn run(args: RunArgs) -> ExitCode {
    // Before any thread exists: the environment is changed here.
    let (inherited, notifier) = match (sockets::take(), Notifier::take()) {
        (Ok(inherited), Ok(notifier)) => (inherited, notifier),
        (Err(e), _) => return fail(&format!("what systemd handed over cannot be used: {e}")),
        (_, Err(e)) => return fail(&e.to_string()),
    };
    if let Err(e) = sys::process::remember_ignored() {
        return fail(&format!("the signals that are ignored cannot be read: {e}"));
    }
    let level = if args.debug {
        Level::DEBUG
    } else {
        Level::INFO
    };
    let _log = match journal::init(level) {
        Ok(guard) => guard,
        Err(e) => return fail(&e.to_string()),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(e) => return fail(&format!("no runtime: {e}")),
    };
    let outcome = runtime.block_on(daemon::run(Options {
        config_file: args.config_file,
        scope: Scope::of(args.user),
        runtime_directory: args.runtime_directory,
        inherited,
        notifier,
    }));
    runtime.shutdown_timeout(SHUTDOWN_LIMIT);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tell(&e);
            let bad = matches!(e, StartError::Configuration(_) | StartError::NoService(_));
            ExitCode::from(if bad { CONFIG } else { FAILURE })
        }
    }
}

fn tell(e: &StartError) {
    if let StartError::Configuration(wrong) = e {
        wrong.log();
    }
    error!("not started: {e}");
}

/// Before there is a log.
fn fail(what: &str) -> ExitCode {
    eprintln!("sleepingd: {what}");
    ExitCode::from(FAILURE)
}
