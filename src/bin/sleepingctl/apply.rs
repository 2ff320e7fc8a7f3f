//! `sleepingctl apply`: makes what runs that which the files say, sockets included.
//!
//! ```text
//! check the files -> the daemon, if it runs, agrees -> daemon-reload -> stop stale sockets
//!     -> the daemon runs:  it reads the files
//!     -> it is stopped:    start new sockets
//!     -> it has failed, and waits for its restart: it will read the files then
//! ```
//!
//! Nothing is touched if the files have errors. systemd starts no socket while its service runs:
//! then the daemon opens the new ones itself, and they are units from the next start on.
//!
//! Each step is told when it is done, so that a failure does not hide what came before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use sleepingd::{
    config::Loaded,
    control::{Client, ClientError},
    daemon::{self, Scope},
    systemd::{
        Systemctl, SystemctlError,
        generator::{self, Plan, Unit},
    },
};

use tokio::time::{Instant, sleep};

use super::{CONFIG, RELOAD_LIMIT, UNAVAILABLE, fail, failed};

/// systemd reads all its units, and runs all generators.
const SYSTEMD_LIMIT: Duration = Duration::from_secs(90);

const SERVICE: &str = "sleepingd.service";
const SOCKETS: &str = "sleepingd-sockets.target";

/// What is known before anything is changed.
struct Applying<'a> {
    scope: Scope,
    systemctl: Systemctl,
    client: Client,
    wanted: &'a BTreeMap<String, Unit>,
    /// EXIT_IDLE_TIME.
    exits: bool,
}

/// A daemon that is just leaving, or being started, is waited for this long.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
const SETTLE_PACE: Duration = Duration::from_millis(100);

/// What the daemon is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Daemon {
    Runs,
    /// It ends, and its sockets may with it.
    Leaves,
    /// It has ended. systemd has its sockets, or they are closed.
    Stopped,
    /// It has failed. systemd has its sockets, in the descriptor store too.
    WaitsForRestart,
}

/// Why it went no further. Said already where it is an exit code.
enum Failure {
    Systemd(SystemctlError),
    Said(ExitCode),
    /// It has left, or is not there yet; how that was noticed, and what to exit with.
    Unsettled(String, u8),
}

pub(super) async fn apply(scope: Scope, control: &Path, dry_run: bool) -> ExitCode {
    let loaded = match daemon::check_for_generator(scope) {
        Ok(loaded) => loaded,
        Err(wrong) => {
            wrong.lines().for_each(|line| eprintln!("{line}"));
            return fail(&format!("{wrong}; nothing was changed"), CONFIG);
        }
    };
    loaded.warnings().for_each(|warning| eprintln!("{warning}"));
    let applying = Applying {
        scope,
        systemctl: Systemctl {
            user: scope == Scope::User,
        },
        client: Client::new(control, RELOAD_LIMIT),
        wanted: &units_of(&loaded),
        exits: loaded.exit_idle.is_some(),
    };
    let done = if dry_run {
        applying.show().await
    } else {
        applying.apply_when_settled().await
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Said(code)) => code,
        Err(Failure::Unsettled(why, code)) => fail(&why, code),
        Err(Failure::Systemd(e)) => fail(&e.to_string(), 1),
    }
}

fn units_of(loaded: &Loaded) -> BTreeMap<String, Unit> {
    let units = generator::units(&loaded.definitions);
    units
        .into_iter()
        .map(|unit| (unit.name.clone(), unit))
        .collect()
}

impl Applying<'_> {
    /// A daemon that exits because it is idle may be gone at the next step. What has been done is
    /// no harm then, and is done again.
    async fn apply_when_settled(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + SETTLE_LIMIT;
        loop {
            match self.apply().await {
                Err(Failure::Unsettled(..)) if Instant::now() < deadline => {
                    sleep(SETTLE_PACE).await
                }
                done => return done,
            }
        }
    }

    async fn apply(&self) -> Result<(), Failure> {
        let state = self.daemon().await?;
        if state == Daemon::Leaves {
            let why = "the daemon is being stopped; try again when it has ended";
            return Err(Failure::Unsettled(why.to_owned(), UNAVAILABLE));
        }
        if state == Daemon::Runs {
            let stale = self.plan(state).await?.stale.into_iter().collect();
            Self::answer(self.client.check(stale).await)?;
        } else {
            self.keep_files()?;
        }
        if state == Daemon::Stopped {
            daemon::forget_held(self.scope);
        }
        self.systemd(&["daemon-reload"]).await?;
        let plan = self.plan(state).await?;
        self.on_units("stop", &plan.stale).await?;
        tell("closed", "no section has it any more", &plan.stale);
        match state {
            Daemon::Runs => self.have_daemon_reload(&plan).await?,
            Daemon::Stopped => self.open_without_daemon(&plan).await?,
            Daemon::Leaves | Daemon::WaitsForRestart => {
                println!("sleepingd has failed; it reads the files when systemd starts it again");
            }
        }
        if self.wanted.is_empty() {
            // The units of the last section are there yet: what nobody had put into effect was
            // taken for a file that is being written.
            self.systemd(&["daemon-reload"]).await?;
        }
        Ok(())
    }

    /// Without a daemon-reload what systemd lists is what was there before.
    async fn show(&self) -> Result<(), Failure> {
        let plan = self.plan(self.daemon().await?).await?;
        tell("would open", "", &plan.new);
        tell("would close", "no section has it any more", &plan.stale);
        println!("{} socket(s) would stay", plan.unchanged.len());
        Ok(())
    }

    async fn plan(&self, state: Daemon) -> Result<Plan, Failure> {
        let show = ["show", generator::PROPERTIES, generator::PATTERN];
        let shown = self.systemd(&show).await?;
        let wanted = self.wanted.keys().cloned().collect();
        let mut plan = Plan::new(&wanted, &shown);
        if state != Daemon::Stopped {
            // What the daemon has opened itself is open, too.
            let held = self.held();
            let (open, new) = plan.new.into_iter().partition(|unit| held.contains(unit));
            plan.new = new;
            plan.unchanged.extend::<BTreeSet<String>>(open);
        }
        Ok(plan)
    }

    // === with the daemon ===

    async fn have_daemon_reload(&self, plan: &Plan) -> Result<(), Failure> {
        let stale = plan.stale.iter().cloned().collect();
        let reloaded = self.client.reload(stale).await;
        let opened: BTreeSet<String> = plan.new.intersection(&self.held()).cloned().collect();
        let until = if self.exits {
            "by the daemon, which does not exit when idle until it has been stopped"
        } else {
            "by the daemon, until it is stopped"
        };
        tell("opened", until, &opened);
        println!("{} socket(s) unchanged", plan.unchanged.len());
        Self::answer(reloaded)
    }

    /// The wanted units whose ports the daemon has opened itself.
    fn held(&self) -> BTreeSet<String> {
        let is_open = |unit: &String| {
            let unit = self.wanted.get(unit);
            unit.is_some_and(|unit| generator::is_open(&unit.addr) != Some(false))
        };
        let held = daemon::held_units(self.scope);
        held.into_iter().filter(is_open).collect()
    }

    fn answer<T>(answer: Result<T, ClientError>) -> Result<(), Failure> {
        answer.map(drop).map_err(|e| match e {
            ClientError::Unreachable { .. } => Failure::Unsettled(e.to_string(), e.exit_code()),
            e => Failure::Said(failed(&e)),
        })
    }

    // === without it ===

    /// What a daemon would do when it reads them.
    fn keep_files(&self) -> Result<(), Failure> {
        let kept = daemon::keep_as_last_good(self.scope);
        kept.map_err(|why| Failure::Said(fail(&why, CONFIG)))
    }

    async fn open_without_daemon(&self, plan: &Plan) -> Result<(), Failure> {
        if !plan.is_open() && !self.is(SOCKETS, &["active"]).await? {
            println!(
                "sleepingd is stopped: {} socket(s) are opened by `systemctl{} start {SERVICE}`",
                plan.new.len(),
                if self.systemctl.user { " --user" } else { "" },
            );
            return Ok(());
        }
        let is_deaf = |unit: &&String| {
            let unit = self.wanted.get(*unit);
            unit.is_some_and(|unit| generator::is_open(&unit.addr) == Some(false))
        };
        let deaf: BTreeSet<String> = plan.unchanged.iter().filter(is_deaf).cloned().collect();
        let started = self.on_units("start", &plan.new).await;
        // One whose address is taken keeps no other from being opened.
        let open = self.plan(Daemon::Stopped).await?.unchanged;
        let opened = plan.new.intersection(&open).cloned().collect();
        tell("opened", "the daemon starts with its first client", &opened);
        let restarted = self.on_units("restart", &deaf).await;
        if restarted.is_ok() {
            tell("opened again", "systemd had closed it", &deaf);
        }
        println!("{} socket(s) unchanged", plan.unchanged.len() - deaf.len());
        started.and(restarted)
    }

    // === systemd ===

    async fn daemon(&self) -> Result<Daemon, Failure> {
        // Its state is "activating" then, too.
        if self.is(SERVICE, &["auto-restart"]).await? {
            return Ok(Daemon::WaitsForRestart);
        }
        if self.is(SERVICE, &["deactivating"]).await? {
            return Ok(Daemon::Leaves);
        }
        let running = ["active", "activating", "reloading"];
        Ok(if self.is(SERVICE, &running).await? {
            Daemon::Runs
        } else {
            Daemon::Stopped
        })
    }

    /// Whether its state or its sub-state is one of these.
    async fn is(&self, unit: &str, states: &[&str]) -> Result<bool, Failure> {
        let show = ["show", "--property=ActiveState,SubState", "--value", unit];
        let said = self.systemd(&show).await?;
        Ok(said
            .split_ascii_whitespace()
            .any(|state| states.contains(&state)))
    }

    async fn on_units(&self, verb: &str, units: &BTreeSet<String>) -> Result<(), Failure> {
        if units.is_empty() {
            return Ok(());
        }
        let mut words = vec![verb];
        words.extend(units.iter().map(String::as_str));
        self.systemd(&words).await.map(drop)
    }

    async fn systemd(&self, arguments: &[&str]) -> Result<String, Failure> {
        let answer = self.systemctl.ask(arguments, SYSTEMD_LIMIT).await;
        answer.map_err(Failure::Systemd)
    }
}

fn tell(what: &str, why: &str, units: &BTreeSet<String>) {
    for unit in units {
        if why.is_empty() {
            println!("{what} {unit}");
        } else {
            println!("{what} {unit} ({why})");
        }
    }
}
