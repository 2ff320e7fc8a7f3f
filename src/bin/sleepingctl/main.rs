//! Talks to the running daemon: parses its arguments, asks, prints, and turns errors into exit
//! codes.

mod apply;

use std::{
    io::{IsTerminal, Write, stdout},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};
use sleepingd::{
    control::{
        Client, ClientError, Status,
        api::{ServiceStatus, State},
        table,
    },
    daemon::{self, Scope},
};

/// EX_USAGE: the command line.
const USAGE: u8 = 64;
/// EX_UNAVAILABLE: there is no daemon to ask.
const UNAVAILABLE: u8 = 69;
/// As `systemctl status` has it: not running.
const ASLEEP: u8 = 3;
/// As `systemctl status` has it: no such unit.
const UNKNOWN: u8 = 4;

/// A status is read from memory; a reload parses files and binds ports.
const STATUS_LIMIT: Duration = Duration::from_secs(10);
const RELOAD_LIMIT: Duration = Duration::from_secs(60);

/// Talks to the running sleepingd.
#[derive(Debug, Parser)]
#[command(name = "sleepingctl", version)]
struct Cli {
    /// The daemon's control socket
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Talk to the user's own daemon, and to the user's systemd
    #[arg(long, global = true)]
    user: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the services (the default); with SERVICE exits 0 awake, 3 asleep, 4 unknown
    Status {
        /// Only this one, by name or slug
        service: Option<String>,
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Have the configuration read again; fails, and says why, if it has errors
    Reload,
    /// After a change of the files: check them, then open and close sockets and reload the daemon
    Apply {
        /// Say what would be done
        #[arg(long)]
        dry_run: bool,
    },
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
    let scope = Scope::of(cli.user);
    let Some(socket) = cli.socket.or_else(|| control_socket(scope)) else {
        return fail("there is no runtime directory; give --socket", UNAVAILABLE);
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(e) => return fail(&format!("no runtime: {e}"), 1),
    };
    let command = cli.command.unwrap_or(Command::Status {
        service: None,
        json: false,
    });
    runtime.block_on(async {
        match command {
            Command::Status { service, json } => {
                let client = Client::new(socket, STATUS_LIMIT);
                match client.status().await {
                    Ok(status) => show(status, service.as_deref(), json),
                    Err(e) => failed(&e),
                }
            }
            Command::Reload => match Client::new(socket, RELOAD_LIMIT).reload().await {
                Ok(reloaded) => {
                    for warning in reloaded.warnings {
                        eprintln!("{warning}");
                    }
                    ExitCode::SUCCESS
                }
                Err(e) => failed(&e),
            },
            Command::Apply { dry_run } => apply::apply(scope, &socket, dry_run).await,
        }
    })
}

/// With `--user` the user's; else that of the daemon this user runs, if one does; else the
/// machine's.
fn control_socket(scope: Scope) -> Option<PathBuf> {
    let name = |runtime: PathBuf| runtime.join("control.sock");
    if scope == Scope::User {
        return scope.runtime().map(name);
    }
    let own = daemon::runtime_directory().map(name);
    own.filter(|path| path.exists())
        .or_else(|| scope.runtime().map(name))
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
