//! The status of a daemon that does not run because nobody needs it: systemd has its sockets.

use std::{process::ExitCode, time::Duration};

use sleepingd::{
    daemon::{self, Scope},
    systemd::{Systemctl, generator},
};

use super::{ASLEEP, UNKNOWN, fail};

/// It only looks.
const LIMIT: Duration = Duration::from_secs(5);

/// Says so, where that is so; with what `sleepingctl status` exits with then.
pub(super) async fn show(scope: Scope, wanted: Option<&str>) -> Option<ExitCode> {
    let systemctl = Systemctl {
        user: scope == Scope::User,
    };
    let list = [
        "list-units",
        "--state=active",
        "--plain",
        "--no-legend",
        generator::PATTERN,
    ];
    // Without systemd there is nobody who would start it.
    let open = systemctl.ask(&list, LIMIT).await.ok()?.lines().count();
    if open == 0 {
        return None;
    }
    let why = format!(
        "the daemon does not run; systemd has {open} of its sockets open, and starts it for the \
         first client"
    );
    let Some(wanted) = wanted else {
        println!("Everything is asleep: {why}.");
        return Some(ExitCode::SUCCESS);
    };
    let (loaded, _) = daemon::load_for_generator(scope);
    let is_it = |name: &str| name == wanted;
    let mut services = loaded.definitions.iter();
    Some(
        if services.any(|one| is_it(one.name.as_str()) || is_it(one.slug.as_str())) {
            println!("{wanted} is asleep: {why}.");
            ExitCode::from(ASLEEP)
        } else {
            fail(&format!("there is no service '{wanted}'"), UNKNOWN)
        },
    )
}
