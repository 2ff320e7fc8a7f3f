//! Run by systemd at boot and at each daemon-reload (systemd.generator(7)): a socket unit for each
//! address of each section.
//!
//! It must be quick, and whatever is wrong with the configuration must not keep a machine from
//! booting: it says what is wrong in the kernel's log, which is all there is so early, and makes
//! what can be made.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use sleepingd::{
    cli::generator::HELP,
    daemon::{self, Scope},
    systemd::generator::{self, Unit},
};

/// A general failure.
const FAILURE: u8 = 1;
/// EX_USAGE: the command line.
const USAGE: u8 = 64;

/// What is to be done.
enum Task {
    Write(PathBuf),
    DryRun(Scope),
    Print(String),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    match Task::of(&arguments) {
        Some(Task::Print(text)) => print(&text),
        Some(Task::DryRun(scope)) => dry_run(scope),
        Some(Task::Write(directory)) => write(&directory),
        None => {
            eprint!("sleepingd-generator: these arguments mean nothing\n\n{HELP}");
            ExitCode::from(USAGE)
        }
    }
}

fn write(directory: &std::path::Path) -> ExitCode {
    let scope = Scope::of_generator();
    let (loaded, wrong) = daemon::load_for_generator(scope);
    let units = generator::units(&loaded.definitions);
    log(scope, &wrong);
    if wrong.is_empty() && !units.is_empty() {
        // Else a file that is broken before the first client has come would cost its ports. Where
        // that cannot be kept so early, the units are as good.
        if let Err(why) = daemon::keep_first_good(scope) {
            log(scope, &[why]);
        }
    }
    match generator::write(directory, &units) {
        Ok(()) => ExitCode::SUCCESS,
        Err(errors) => {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            log(scope, &errors);
            ExitCode::from(FAILURE)
        }
    }
}

fn dry_run(scope: Scope) -> ExitCode {
    let (loaded, wrong) = daemon::load_for_generator(scope);
    for line in wrong {
        eprintln!("{line}");
    }
    let show = |unit: &Unit| format!("# {}\n{}\n", unit.name, unit.text);
    let units = generator::units(&loaded.definitions);
    print(&units.iter().map(show).collect::<String>())
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough (`| head`) is no failure.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("sleepingd-generator: {e}");
            ExitCode::from(FAILURE)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// The journal may not run yet; what is in the kernel's log comes to it later. A user's manager has
/// the journal for its generators, and no business in the kernel's log.
fn log(scope: Scope, lines: &[String]) {
    let open = || OpenOptions::new().write(true).open("/dev/kmsg").ok();
    let mut kernel = (scope == Scope::System).then(open).flatten();
    for line in lines {
        let message = format!("<3>sleepingd-generator[{}]: {line}\n", std::process::id());
        // Each write is a record of its own.
        let tell = |kernel: &mut std::fs::File| kernel.write_all(message.as_bytes());
        let told = kernel.as_mut().is_some_and(|kernel| tell(kernel).is_ok());
        // A container may not have it.
        if !told {
            eprintln!("sleepingd-generator: {line}");
        }
    }
}

impl Task {
    /// By hand: a parser of command lines would be most of the program.
    fn of(arguments: &[String]) -> Option<Self> {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match words[..] {
            ["-h" | "--help"] => Some(Self::Print(HELP.to_owned())),
            ["-V" | "--version"] => {
                let version = env!("CARGO_PKG_VERSION");
                Some(Self::Print(format!("sleepingd-generator {version}\n")))
            }
            ["--dry-run"] => Some(Self::DryRun(Scope::System)),
            ["--dry-run", "--user"] | ["--user", "--dry-run"] => Some(Self::DryRun(Scope::User)),
            [directory] | [directory, _] | [directory, _, _] if !directory.starts_with('-') => {
                Some(Self::Write(PathBuf::from(directory)))
            }
            _ => None,
        }
    }
}
