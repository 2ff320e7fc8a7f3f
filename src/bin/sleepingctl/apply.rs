//! `sleepingctl apply`: makes what runs that which the files say, sockets included.
//!
//! ```text
//! check the files -> daemon-reload -> stop stale sockets -> daemon runs:  reload, release
//!                                                        -> it does not:  start new sockets
//! ```
//!
//! Nothing is touched if the files have errors. systemd starts no socket while its service runs:
//! then the daemon opens the new ones itself, and they are units from the next start on.

use std::{collections::BTreeSet, path::Path, process::ExitCode, time::Duration};

use sleepingd::{
    config::Loaded,
    control::{Client, ClientError},
    daemon::{self, Scope},
    systemd::{
        Systemctl, SystemctlError,
        generator::{self, Plan},
    },
};

use super::{RELOAD_LIMIT, fail, failed};

/// EX_CONFIG: the configuration.
const CONFIG: u8 = 78;

/// systemd reads all its units, and runs all generators.
const SYSTEMD_LIMIT: Duration = Duration::from_secs(90);

const SERVICE: &str = "sleepingd.service";
const SOCKETS: &str = "sleepingd-sockets.target";

/// What is known before anything is changed.
struct Applying<'a> {
    systemctl: Systemctl,
    control: &'a Path,
    wanted: BTreeSet<String>,
}

/// Why it went no further. Said already where it is an exit code.
enum Failure {
    Systemd(SystemctlError),
    Said(ExitCode),
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
        systemctl: Systemctl {
            user: scope == Scope::User,
        },
        control,
        wanted: units_of(&loaded),
    };
    let done = if dry_run {
        applying.show().await
    } else {
        applying.apply().await
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Said(code)) => code,
        Err(Failure::Systemd(e)) => fail(&e.to_string(), 1),
    }
}

fn units_of(loaded: &Loaded) -> BTreeSet<String> {
    let units = generator::units(&loaded.definitions);
    units.into_iter().map(|unit| unit.name).collect()
}

impl Applying<'_> {
    async fn apply(&self) -> Result<(), Failure> {
        self.systemd(&["daemon-reload"]).await?;
        let plan = self.plan().await?;
        let stale: Vec<&str> = plan.stale.iter().map(String::as_str).collect();
        if !stale.is_empty() {
            self.systemd(&[&["stop"], &stale[..]].concat()).await?;
        }
        if self.is_active(SERVICE).await? {
            self.have_daemon_reload(&plan).await?;
            tell("opened", "by the daemon, until it is stopped", &plan.new);
        } else if plan.is_open() || self.is_active(SOCKETS).await? {
            let new: Vec<&str> = plan.new.iter().map(String::as_str).collect();
            if !new.is_empty() {
                self.systemd(&[&["start"], &new[..]].concat()).await?;
            }
            tell(
                "opened",
                "the daemon starts with its first client",
                &plan.new,
            );
        } else {
            println!(
                "sleepingd is stopped: {} socket(s) are opened by `systemctl start {SERVICE}`",
                plan.new.len()
            );
        }
        tell("closed", "no section has it any more", &plan.stale);
        println!("{} socket(s) unchanged", plan.unchanged.len());
        Ok(())
    }

    /// Without a daemon-reload what systemd lists is what was there before.
    async fn show(&self) -> Result<(), Failure> {
        let plan = self.plan().await?;
        tell("would open", "", &plan.new);
        tell("would close", "no section has it any more", &plan.stale);
        println!("{} socket(s) would stay", plan.unchanged.len());
        Ok(())
    }

    async fn plan(&self) -> Result<Plan, Failure> {
        let show = ["show", generator::PROPERTIES, generator::PATTERN];
        let shown = self.systemd(&show).await?;
        let held = self.held();
        let mut plan = Plan::new(&self.wanted, &shown);
        // What the daemon has opened itself is open, too.
        let (open, new) = plan.new.into_iter().partition(|unit| held.contains(unit));
        plan.new = new;
        plan.unchanged.extend::<BTreeSet<String>>(open);
        Ok(plan)
    }

    /// The units whose ports the daemon has opened itself: see `daemon/held.rs`.
    fn held(&self) -> BTreeSet<String> {
        let directory = self.control.with_file_name("held");
        // Where there is none, there are none.
        let entries = std::fs::read_dir(directory).into_iter().flatten();
        entries
            .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    async fn have_daemon_reload(&self, plan: &Plan) -> Result<(), Failure> {
        let client = Client::new(self.control, RELOAD_LIMIT);
        let said = |e| Failure::Said(failed(&e));
        let reloaded = client.reload().await;
        // What is closed is closed also where something else could not be opened.
        let in_force = matches!(reloaded, Ok(_) | Err(ClientError::Incomplete(_)));
        if in_force && !plan.stale.is_empty() {
            let stale = plan.stale.iter().cloned().collect();
            client.release(stale).await.map_err(said)?;
        }
        reloaded.map(drop).map_err(said)
    }

    async fn is_active(&self, unit: &str) -> Result<bool, Failure> {
        let show = ["show", "--property=ActiveState", "--value", unit];
        let state = self.systemd(&show).await?;
        Ok(matches!(
            state.trim(),
            "active" | "activating" | "reloading"
        ))
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
