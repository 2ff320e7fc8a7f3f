//! The daemon: parses its arguments, takes what systemd gives, runs, and turns errors into exit
//! codes (sysexits, which systemd prints by name).

mod after_stop;
mod forward;
mod manager;

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use sleepingd::{
    cli::sleepingd::{
        CheckArgs, Cli, Command, ContainerAction, ContainerArgs, ForwardArgs, RunArgs,
    },
    config,
    container::{self, Check, ContainerError, ContainerRef},
    daemon::{self, Ended, Options, Scope, StartError},
    sys,
    systemd::{
        Notifier,
        journal::{self, message_id},
        sockets::{self, Inherited},
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
        Some(Command::Forward(args)) => forward(*args),
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
    let debug = args.debug;
    let options = |inherited, notifier| {
        Ok(Options {
            config_file: args.config_file,
            scope: Scope::of(args.user),
            runtime_directory: args.runtime_directory,
            given: None,
            inherited,
            notifier,
        })
    };
    match serve(debug, options) {
        Ok(_) => ExitCode::SUCCESS,
        Err(code) => code,
    }
}

fn forward(args: ForwardArgs) -> ExitCode {
    let debug = args.debug;
    let options = |inherited: Inherited, notifier| {
        let names = inherited.sockets.iter().map(|socket| socket.name.clone());
        let given = forward::load(args, &names.collect::<Vec<_>>());
        let given = given.map_err(|wrong| {
            for line in wrong {
                eprintln!("sleepingd: {line}");
            }
            ExitCode::from(USAGE)
        })?;
        Ok(Options {
            config_file: None,
            scope: Scope::System,
            runtime_directory: None,
            given: Some(given),
            inherited,
            notifier,
        })
    };
    match serve(debug, options) {
        Ok(ended) => ExitCode::from(ended.status()),
        Err(code) => code,
    }
}

/// From what was inherited to the end.
fn serve(
    debug: bool,
    options: impl FnOnce(Inherited, Notifier) -> Result<Options, ExitCode>,
) -> Result<Ended, ExitCode> {
    // Before any thread exists: the environment is changed here.
    let (inherited, notifier) = match (sockets::take(), Notifier::take()) {
        (Ok(inherited), Ok(notifier)) => (inherited, notifier),
        (Err(e), _) => {
            return Err(fail(&format!(
                "what systemd handed over cannot be used: {e}"
            )));
        }
        (_, Err(e)) => return Err(fail(&e.to_string())),
    };
    let options = options(inherited, notifier)?;
    sys::process::remember_ignored()
        .map_err(|e| fail(&format!("the signals that are ignored cannot be read: {e}")))?;
    // In a container: what follows is not for process 1.
    sys::process::leave_init_behind()
        .map_err(|e| fail(&format!("as process 1, a child is needed: {e}")))?;
    let level = if debug { Level::DEBUG } else { Level::INFO };
    let _log = journal::init(level).map_err(|e| fail(&e.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| fail(&format!("no runtime: {e}")))?;
    let outcome = runtime.block_on(daemon::run(options));
    runtime.shutdown_timeout(SHUTDOWN_LIMIT);
    outcome.map_err(|e| {
        tell(&e);
        let bad = matches!(e, StartError::Configuration(_) | StartError::NoService(_));
        ExitCode::from(if bad { CONFIG } else { FAILURE })
    })
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
