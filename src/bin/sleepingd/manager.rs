//! `sleepingd start`, `stop` and `status`, as sleeping-beauty had them: a line for each section.
//!
//! systemd starts and stops, and what runs is asked over the control socket. All sections are one
//! daemon, so none of them is started or stopped alone.

use std::{
    future::Future,
    io::{self, Write},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use sleepingd::{
    control::{Client, ClientError, Status, table::printable},
    daemon::{self, Scope},
    systemd::{Systemctl, SystemctlError},
};

use super::{FAILURE, fail};

/// As `systemctl status` has it: not running.
const NOT_RUNNING: u8 = 3;
/// As `systemctl status` has it: no such unit.
const UNKNOWN: u8 = 4;

const SERVICE: &str = "sleepingd.service";

/// A status is read from memory.
const STATUS_LIMIT: Duration = Duration::from_secs(10);
/// systemd's own limit for a start is 90 s.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Connections finish, then STOP_CMD runs, and the daemon asks systemd for the time. When this is
/// over we no longer wait, and systemd goes on.
const STOP_LIMIT: Duration = Duration::from_secs(900);

/// There where systemd is process 1 (sd_booted(3)).
const BOOTED: &str = "/run/systemd/system";

/// Whether the daemon runs, and its sections.
struct Seen {
    running: bool,
    sections: Vec<Section>,
}

struct Section {
    name: String,
    slug: String,
    /// In words, with the brackets around them.
    ports: String,
    state: String,
}

pub(super) fn start(scope: Scope) -> ExitCode {
    wait_for(async {
        let before = look(scope).await;
        let started = systemctl(scope).ask(&["start", SERVICE], START_LIMIT).await;
        if let Err(e) = started {
            return refused(&e);
        }
        let was_running = before.is_ok_and(|before| before.running);
        match look(scope).await {
            Ok(now) => now.print(if was_running {
                "already running"
            } else {
                "started"
            }),
            Err(e) => {
                eprintln!("sleepingd: started, but its sections cannot be shown: {e}");
                ExitCode::SUCCESS
            }
        }
    })
}

pub(super) fn stop(scope: Scope) -> ExitCode {
    wait_for(async {
        // Afterwards there is nobody left to ask. Who may not ask can read the files.
        let before = look(scope).await.unwrap_or_else(|_| Seen::stopped(scope));
        if let Err(e) = stop_with_sockets(scope).await {
            return refused(&e);
        }
        if look(scope).await.is_ok_and(|now| now.running) {
            let what = "a daemon still runs that systemd has not started; end it by SIGTERM";
            return fail(what);
        }
        before.print(if before.running {
            "stopped"
        } else {
            "already stopped"
        })
    })
}

pub(super) fn status(scope: Scope, wanted: &[String]) -> ExitCode {
    wait_for(async {
        let mut seen = match look(scope).await {
            Ok(seen) => seen,
            Err(e) => {
                eprintln!("sleepingd: {e}");
                return ExitCode::from(e.exit_code());
            }
        };
        let unknown = seen.keep(wanted);
        for name in &unknown {
            eprintln!("sleepingd: there is no section '{}'", printable(name));
        }
        if let Err(e) = print(&seen.lines(|section| &section.state)) {
            return fail(&e.to_string());
        }
        ExitCode::from(match (unknown.is_empty(), seen.running) {
            (false, _) => UNKNOWN,
            (true, true) => 0,
            (true, false) => NOT_RUNNING,
        })
    })
}

fn wait_for(work: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(e) => fail(&format!("no runtime: {e}")),
    }
}

fn systemctl(scope: Scope) -> Systemctl {
    Systemctl {
        user: scope == Scope::User,
    }
}

/// The sockets in the same breath: where they are open without the daemon (sleepingd-sockets.target),
/// there is no daemon that would stop them, and the next client would start one.
async fn stop_with_sockets(scope: Scope) -> Result<(), SystemctlError> {
    let systemctl = systemctl(scope);
    let sockets = systemctl.sockets_of(SERVICE, STATUS_LIMIT).await?;
    let mut stop = vec!["stop"];
    stop.extend(sockets.iter().map(String::as_str));
    stop.push(SERVICE);
    systemctl.ask(&stop, STOP_LIMIT).await.map(drop)
}

async fn look(scope: Scope) -> Result<Seen, ClientError> {
    let Some(socket) = scope.control_socket_of_manager() else {
        return Ok(Seen::stopped(scope));
    };
    match Client::new(socket, STATUS_LIMIT).status().await {
        Ok(status) => Ok(Seen::running(status)),
        Err(ClientError::Unreachable { .. }) => Ok(Seen::stopped(scope)),
        Err(e) => Err(e),
    }
}

fn refused(e: &SystemctlError) -> ExitCode {
    eprintln!("sleepingd: {e}");
    if !Path::new(BOOTED).is_dir() {
        eprintln!(
            "sleepingd: systemd does not run this machine, and there is nobody else to start and \
             stop the daemon; run it in the foreground: sleepingd run"
        );
    }
    ExitCode::from(FAILURE)
}

fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough (`| head`) is no failure.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

// === impl Seen ===

impl Seen {
    fn running(status: Status) -> Self {
        let sections = status.services.into_iter().map(|service| Section {
            ports: in_words(&service.listeners),
            state: service.state.as_str().to_owned(),
            name: service.name,
            slug: service.slug,
        });
        Self {
            running: true,
            sections: sections.collect(),
        }
    }

    /// What the daemon would serve, if it were started now.
    fn stopped(scope: Scope) -> Self {
        let (loaded, wrong) = daemon::load_for_generator(scope);
        for line in wrong {
            eprintln!("{line}");
        }
        let sections = loaded.definitions.into_iter().map(|definition| {
            let ports: Vec<String> = definition.listen.iter().map(ToString::to_string).collect();
            Section {
                ports: in_words(&ports),
                state: "asleep, daemon not running".to_owned(),
                name: definition.name.to_string(),
                slug: definition.slug.to_string(),
            }
        });
        Self {
            running: false,
            sections: sections.collect(),
        }
    }

    /// Keeps those that are wanted; says which of them are not there. Nothing wanted is all.
    fn keep(&mut self, wanted: &[String]) -> Vec<String> {
        if wanted.is_empty() {
            return Vec::new();
        }
        let mut unknown = wanted.to_vec();
        self.sections.retain(|section| {
            let is_it = |name: &String| *name == section.name || *name == section.slug;
            unknown.retain(|name| !is_it(name));
            wanted.iter().any(is_it)
        });
        unknown
    }

    /// A line for each, with its word.
    fn lines<'a>(&'a self, word: impl Fn(&'a Section) -> &'a str) -> String {
        let lines = self.sections.iter().map(|section| {
            let (name, ports) = (printable(&section.name), printable(&section.ports));
            format!("{name}{ports} {}\n", word(section))
        });
        lines.collect()
    }

    fn print(&self, word: &str) -> ExitCode {
        if self.sections.is_empty() {
            eprintln!("sleepingd: no section is configured");
        }
        match print(&self.lines(|_| word)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => fail(&e.to_string()),
        }
    }
}

/// A port of all addresses is written as in the file: without an address.
fn in_words(listeners: &[String]) -> String {
    let plain: Vec<&str> = listeners
        .iter()
        .map(|addr| addr.strip_prefix("*:").unwrap_or(addr))
        .collect();
    match plain[..] {
        // It has sockets of systemd alone.
        [] => String::new(),
        [port] => format!(" (port {port})"),
        _ => format!(" (ports {})", plain.join(", ")),
    }
}
