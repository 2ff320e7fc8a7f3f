//! Talks to the running daemon: parses its arguments, asks, prints, and turns errors into exit
//! codes.

mod absent;
mod apply;
mod import;

use std::{
    io::{IsTerminal, Write, stdout},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use sleepingd::{
    cli::sleepingctl::{ApplyArgs, Cli, Command, StatusArgs},
    control::{
        Client, ClientError, Status,
        api::{ServiceStatus, State},
        table,
    },
    daemon::Scope,
};

/// EX_USAGE: the command line.
const USAGE: u8 = 64;
/// EX_CONFIG: the configuration.
const CONFIG: u8 = 78;
/// EX_UNAVAILABLE: there is no daemon to ask.
const UNAVAILABLE: u8 = 69;
/// As `systemctl status` has it: not running.
const ASLEEP: u8 = 3;
/// As `systemctl status` has it: no such unit.
const UNKNOWN: u8 = 4;

/// What the daemon is needed for.
enum Talk {
    Status(StatusArgs),
    Reload,
    Apply(ApplyArgs),
}

/// A status is read from memory; a reload parses files and binds ports.
const STATUS_LIMIT: Duration = Duration::from_secs(10);
const RELOAD_LIMIT: Duration = Duration::from_secs(60);

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
    let scope = Scope::of(cli.user);
    let command = cli
        .command
        .unwrap_or_else(|| Command::Status(StatusArgs::default()));
    let command = match command {
        Command::Import(args) => return import::import(&args),
        Command::Status(args) => Talk::Status(args),
        Command::Reload => Talk::Reload,
        Command::Apply(args) => Talk::Apply(args),
    };
    let usual = || match command {
        // It is about systemd's units, so about the daemon that systemd starts.
        Talk::Apply(_) => scope.control_socket_of_manager(),
        Talk::Status(_) | Talk::Reload => scope.control_socket(),
    };
    let Some(socket) = cli.socket.clone().or_else(usual) else {
        return fail("there is no runtime directory; give --socket", UNAVAILABLE);
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(e) => return fail(&format!("no runtime: {e}"), 1),
    };
    runtime.block_on(async {
        match command {
            Talk::Status(args) => tell_status(scope, &socket, &args).await,
            Talk::Reload => reload(&socket).await,
            Talk::Apply(args) => apply::apply(scope, &socket, args.dry_run).await,
        }
    })
}

async fn tell_status(scope: Scope, socket: &Path, args: &StatusArgs) -> ExitCode {
    let service = args.service.as_deref();
    let e = match Client::new(socket, STATUS_LIMIT).status().await {
        Ok(status) => return show(status, service, args.json),
        Err(e) => e,
    };
    let managed = scope.control_socket_of_manager().as_deref() == Some(socket);
    if managed && !args.json && matches!(e, ClientError::Unreachable { .. }) {
        let shown = absent::show(scope, service).await;
        return shown.unwrap_or_else(|| failed(&e));
    }
    failed(&e)
}

async fn reload(socket: &Path) -> ExitCode {
    match Client::new(socket, RELOAD_LIMIT).reload(Vec::new()).await {
        Ok(reloaded) => {
            for warning in reloaded.warnings {
                eprintln!("{warning}");
            }
            ExitCode::SUCCESS
        }
        Err(e) => failed(&e),
    }
}

fn show(mut status: Status, service: Option<&str>, json: bool) -> ExitCode {
    let mut code = 0;
    if let Some(wanted) = service {
        status
            .services
            .retain(|one| one.name == wanted || one.slug == wanted);
        let Some(found) = status.services.first() else {
            return fail(&format!("there is no service '{wanted}'"), UNKNOWN);
        };
        code = exit_code(found);
    }
    let text = if json {
        match serde_json::to_string_pretty(&status) {
            Ok(json) => json + "\n",
            Err(e) => return fail(&format!("the status cannot be written as JSON: {e}"), 1),
        }
    } else {
        table::render(
            &status,
            stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        )
    };
    print(&text, code)
}

/// Exits with `code` when it is written.
fn print(text: &str, code: u8) -> ExitCode {
    match stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough (`| head`) is no failure.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => fail(&e.to_string(), 1),
        _ => ExitCode::from(code),
    }
}

fn exit_code(service: &ServiceStatus) -> u8 {
    match service.state {
        State::Awake => 0,
        State::Asleep | State::Waking | State::Stopping => ASLEEP,
    }
}

fn failed(e: &ClientError) -> ExitCode {
    fail(&e.to_string(), e.exit_code())
}

fn fail(what: &str, code: u8) -> ExitCode {
    eprintln!("sleepingctl: {what}");
    ExitCode::from(code)
}
