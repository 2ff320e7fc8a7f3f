//! The daemon: parses its arguments, takes what systemd gives, runs, and turns errors into exit
//! codes (sysexits, which systemd prints by name).

mod after_stop;
mod manager;

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use sleepingd::{
    cli::sleepingd::{CheckArgs, Cli, Command, ContainerAction, ContainerArgs, RunArgs},
    config,
    container::{self, Check, ContainerError, ContainerRef},
    daemon::{self, Options, Scope, StartError},
    sys,
    systemd::{
        Notifier,
        journal::{self, message_id},
        sockets,
    },
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
        Some(Command::Container(args)) => match args.container.parse() {
            Ok(named) => in_container(&args, &named).unwrap_or_else(|e| fail(&e.to_string())),
            Err(e) => {
                fail(&format!("'{}': {e}", args.container));
                ExitCode::from(USAGE)
            }
        },
        Some(Command::Run(args)) => run(args),
        Some(Command::Start(args)) => manager::start(Scope::of(args.user)),
        Some(Command::Stop(args)) => manager::stop(Scope::of(args.user)),
        Some(Command::AfterStop(args)) => after_stop::after_stop(args),
        Some(Command::Status(args)) => manager::status(Scope::of(args.user), &args.sections),
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
            for warning in daemon::missing_accounts(&loaded.definitions) {
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

fn in_container(args: &ContainerArgs, named: &ContainerRef) -> Result<ExitCode, ContainerError> {
    let address = match args.action {
        ContainerAction::Start => container::start(named, args.address)?,
        ContainerAction::Stop => {
            container::stop(named)?;
            None
        }
        ContainerAction::Check => match container::check(named, args.address)? {
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
    let message_id = match e {
        StartError::Configuration(wrong) => {
            wrong.log();
            Some(message_id::CONFIGURATION_REJECTED)
        }
        _ => None,
    };
    error!(message_id, "not started: {e}");
}

/// Before there is a log.
fn fail(what: &str) -> ExitCode {
    eprintln!("sleepingd: {what}");
    ExitCode::from(FAILURE)
}
