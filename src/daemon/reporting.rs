//! What the services report, as log lines. One line per wake, sleep and failed command; one per
//! client at debug, which is counted with it.

use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::outcome::{ClientOutcome, Unserved};
use crate::{
    model::{
        Action, BackendEnd, ClientAddr, CommandExit, Destination, ServiceName, duration::show,
    },
    service::{
        Cause, Report,
        lifecycle::{Event, State},
    },
    systemd::journal::message_id,
};

/// Logs it.
pub(super) fn report(service: &ServiceName, report: &Report) {
    let unserved = |client, held, why| {
        ClientOutcome::unserved(Some(service), client, held, why).tell();
    };
    match report {
        Report::Waking(cause) => debug!(sleepingd_service = %service, "waking for {cause}"),
        Report::Woken {
            cause,
            took,
            destinations,
            started,
        } => woken(service, cause, *took, destinations, *started),
        Report::WakeFailed {
            why,
            refused,
            back_off,
        } => wake_failed(service, why, *refused, *back_off),
        Report::StartFailed { client, why } => start_failed(service, *client, why),
        Report::BackendEnded {
            end,
            ran,
            relays,
            back_off,
        } => {
            let told = ended(end, *ran, *relays, *back_off);
            backend_ended(service, end.is_failure(), &told);
        }
        Report::Lost(why) => lost(service, why),
        Report::Adopted(destinations) => adopted(service, destinations),
        Report::NotThere => not_there(service),
        Report::Sleeping { idle } => sleeping(service, *idle),
        Report::Asleep { took, awake } => asleep(service, *took, *awake),
        Report::StopFailed(why) => stop_failed(service, why),
        Report::StillUp(why) => still_up(service, why),
        Report::CommandFailed {
            action,
            exit,
            stderr,
            then,
        } => command_failed(service, *action, exit, stderr, then),
        Report::DrainTimedOut(left) => drain_timed_out(service, *left),
        Report::Refused { client, why, held } => unserved(*client, *held, Unserved::Refused(why)),
        Report::GaveUp { client, held } => unserved(*client, *held, Unserved::Left),
        Report::ClientLeft(client) => unserved(*client, Duration::ZERO, Unserved::Left),
        Report::NoArrow(state, event) => no_arrow(service, *state, *event),
    }
}

fn no_arrow(service: &ServiceName, state: State, event: Event) {
    error!(
        sleepingd_service = %service,
        "a bug of ours: {event:?} while {}; please report it",
        state.as_str(),
    );
}

// === waking ===

fn woken(
    service: &ServiceName,
    cause: &Cause,
    took: Duration,
    destinations: &[Destination],
    started: bool,
) {
    info!(
        sleepingd_service = %service,
        remote_addr = client(cause).map(tracing::field::display),
        message_id = message_id::WOKEN,
        "woken by {cause} in {}, {}",
        show(took),
        if started { at(destinations) } else { format!("it was up, {}", at(destinations)) },
    );
}

fn wake_failed(service: &ServiceName, why: &str, refused: usize, back_off: Option<Duration>) {
    error!(
        sleepingd_service = %service,
        message_id = message_id::WAKE_FAILED,
        "cannot be woken: {why}; {}{}",
        clients_reset(refused),
        back_off.map_or_else(String::new, |pause| {
            format!(", the next try is not before {} have passed", show(pause))
        }),
    );
}

fn start_failed(service: &ServiceName, client: Option<ClientAddr>, why: &str) {
    error!(
        sleepingd_service = %service,
        message_id = message_id::WAKE_FAILED,
        "{why}; {}",
        client.map_or_else(
            || "its client had left".to_owned(),
            |client| format!("the client {client} is reset"),
        ),
    );
}

fn adopted(service: &ServiceName, destinations: &[Destination]) {
    info!(
        sleepingd_service = %service,
        message_id = message_id::ADOPTED,
        "already runs, {}; its idle time begins now",
        at(destinations),
    );
}

// === while it is awake ===

fn backend_ended(service: &ServiceName, failed: bool, told: &str) {
    if failed {
        warn!(
            sleepingd_service = %service,
            message_id = message_id::COMMAND_ENDED,
            "{told}",
        );
    } else {
        info!(
            sleepingd_service = %service,
            message_id = message_id::COMMAND_ENDED,
            "{told}",
        );
    }
}

fn lost(service: &ServiceName, why: &str) {
    info!(
        sleepingd_service = %service,
        message_id = message_id::LOST,
        "does not answer any more ({why}), waking it again",
    );
}

fn not_there(service: &ServiceName) {
    info!(
        sleepingd_service = %service,
        message_id = message_id::LOST,
        "was awake, and is not there any more",
    );
}

fn command_failed(
    service: &ServiceName,
    action: Action,
    exit: &CommandExit,
    stderr: &[String],
    then: &str,
) {
    warn!(
        sleepingd_service = %service,
        sleepingd_action = %action,
        message_id = failed(exit),
        "{} {exit}{}; {then}",
        action.key(),
        if stderr.is_empty() { String::new() } else { format!(": {}", stderr.join(" | ")) },
    );
}

// === going to sleep ===

fn sleeping(service: &ServiceName, idle: Duration) {
    info!(
        sleepingd_service = %service,
        "nobody has used it for {}, putting it to sleep",
        show(idle),
    );
}

fn asleep(service: &ServiceName, took: Duration, awake: Duration) {
    info!(
        sleepingd_service = %service,
        message_id = message_id::ASLEEP,
        "asleep; it took {}, it had been awake for {}",
        show(took),
        show(awake),
    );
}

fn stop_failed(service: &ServiceName, why: &str) {
    warn!(
        sleepingd_service = %service,
        message_id = message_id::COMMAND_FAILED,
        "{why}; but it is gone, so it is taken for asleep",
    );
}

fn still_up(service: &ServiceName, why: &str) {
    warn!(
        sleepingd_service = %service,
        message_id = message_id::STILL_UP,
        "could not be put to sleep and counts as awake: {why}",
    );
}

fn drain_timed_out(service: &ServiceName, left: usize) {
    warn!(
        sleepingd_service = %service,
        "{} open at the end of DRAIN_TIMEOUT, cut",
        connections_were(left),
    );
}

// === in words ===

/// A COMMAND that has ended by itself.
fn ended(end: &BackendEnd, ran: Duration, relays: usize, back_off: Option<Duration>) -> String {
    let mut text = format!("COMMAND {end} after {}", show(ran));
    text.push_str("; asleep");
    match relays {
        0 => {}
        1 => text.push_str(", a connection was open"),
        n => text.push_str(&format!(", {n} connections were open")),
    }
    if let Some(pause) = back_off {
        text.push_str(&format!(
            ", the next start is not before {} have passed",
            show(pause)
        ));
    }
    text
}

fn failed(exit: &CommandExit) -> &'static str {
    match exit {
        CommandExit::TimedOut(_) => message_id::COMMAND_TIMED_OUT,
        _ => message_id::COMMAND_FAILED,
    }
}

/// The client that caused it, if one did.
fn client(cause: &Cause) -> Option<ClientAddr> {
    match cause {
        Cause::Client(client) => Some(*client),
        Cause::AutoStart | Cause::Control | Cause::Adoption => None,
    }
}

fn at(destinations: &[Destination]) -> String {
    match destinations {
        [] => "nobody has said where it is".to_owned(),
        some => {
            let all: Vec<_> = some.iter().map(ToString::to_string).collect();
            format!("at {}", all.join(" "))
        }
    }
}

fn clients_reset(count: usize) -> String {
    match count {
        0 => "no client waits any more".to_owned(),
        1 => "the client that waited is reset".to_owned(),
        n => format!("the {n} clients that waited are reset"),
    }
}

fn connections_were(count: usize) -> String {
    match count {
        1 => "1 connection was".to_owned(),
        n => format!("{n} connections were"),
    }
}
