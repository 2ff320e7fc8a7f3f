//! Commands to run, and what their ends are looked at with.

use std::{
    collections::HashMap,
    fs,
    os::fd::{BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use nix::{
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};
use sleepingd::{
    command::{PipeKeeper, Runner, RunningCommand},
    model::{
        Action, CommandExit, CommandLine, CommandOutcome, CommandRequest, Recipe, ServiceName,
    },
};
use tokio::{sync::mpsc, time::timeout};

use super::log::set_up_logging;

/// Long enough that only a hang takes it.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn request(action: Action, text: &str) -> CommandRequest {
    set_up_logging();
    let service = ServiceName::new("My Web");
    CommandRequest {
        slug: service.slug().unwrap(),
        service,
        action,
        command: CommandLine::new(text).unwrap(),
        recipe: Arc::new(recipe()),
        timeout: None,
        destination: None,
        client: None,
    }
}

pub fn recipe() -> Recipe {
    Recipe {
        shell: PathBuf::from("/bin/bash"),
        working_directory: PathBuf::from("/"),
        ..Recipe::default()
    }
}

pub fn runner() -> Runner {
    Runner::new(Arc::new(()), None)
}

pub async fn outcome(mut command: RunningCommand) -> CommandOutcome {
    timeout(PATIENCE, command.outcome())
        .await
        .expect("the command is done in time")
}

pub async fn run(action: Action, text: &str) -> CommandOutcome {
    outcome(runner().run(request(action, text))).await
}

/// Runs with a changed recipe.
pub async fn run_with(text: &str, change: impl FnOnce(&mut Recipe)) -> CommandOutcome {
    let mut recipe = recipe();
    change(&mut recipe);
    let request = CommandRequest {
        recipe: Arc::new(recipe),
        ..request(Action::Check, text)
    };
    outcome(runner().run(request)).await
}

pub fn first_line(outcome: &CommandOutcome) -> &str {
    outcome
        .first_line
        .as_deref()
        .unwrap_or_else(|| panic!("no first line: {outcome:?}"))
}

pub fn pids(outcome: &CommandOutcome) -> Vec<Pid> {
    let line = first_line(outcome).split_ascii_whitespace();
    line.map(|pid| Pid::from_raw(pid.parse().unwrap()))
        .collect()
}

pub fn not_started(outcome: &CommandOutcome) -> &str {
    match &outcome.exit {
        CommandExit::NotStarted(why) => why,
        other => panic!("it {other}"),
    }
}

/// Neither gone nor a zombie.
pub fn lives(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

/// Kills what a test left running, whether it passes or not.
pub struct Leftovers(pub Vec<Pid>);

impl Drop for Leftovers {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill(*pid, Signal::SIGKILL);
        }
    }
}

pub fn fifo(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    path
}

/// Keeps duplicates as systemd does, and tells what happens.
#[derive(Default)]
pub struct Store {
    pub kept: Mutex<HashMap<String, OwnedFd>>,
    pub released: Mutex<Option<mpsc::UnboundedSender<String>>>,
}

impl PipeKeeper for Store {
    fn keep(&self, name: &str, fd: BorrowedFd<'_>) {
        let fd = fd.try_clone_to_owned().unwrap();
        self.kept.lock().unwrap().insert(name.to_owned(), fd);
    }

    fn release(&self, name: &str) {
        self.kept.lock().unwrap().remove(name);
        if let Some(tell) = &*self.released.lock().unwrap() {
            tell.send(name.to_owned()).unwrap();
        }
    }
}

impl Store {
    /// One that tells whenever something is released.
    pub fn telling() -> (Arc<Self>, mpsc::UnboundedReceiver<String>) {
        let (tell, released) = mpsc::unbounded_channel();
        let store = Self {
            released: Mutex::new(Some(tell)),
            ..Self::default()
        };
        (Arc::new(store), released)
    }
}
