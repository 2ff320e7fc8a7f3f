//! What a service will do, in words, for `sleepingd check`.

use std::{fmt::Write as _, time::Duration};

use crate::model::{Balance, Definition, IdleOn, Mode, Supervised, WakeOn, duration};

/// What the service will do, in several short lines: its name, then what it listens on, who may
/// connect, how it is woken and found ready, how long a client is held, when it is put to sleep,
/// and as whom its commands run.
#[must_use]
pub fn explain(definition: &Definition) -> String {
    let origin = &definition.origin;
    let mut text = format!(
        "{} ({}:{})\n",
        definition.name,
        origin.file.display(),
        origin.line
    );
    let lines = [
        listens(definition),
        admits(definition),
        wakes(definition),
        ready(definition),
        holds(definition),
        connects(definition),
        sleeps(definition),
        runs(definition),
    ];
    for line in lines.into_iter().flatten() {
        // Writing to a String cannot fail. Commands may have several lines.
        let _ = writeln!(text, "  {}", line.replace('\n', "\n    "));
    }
    text
}

fn join<T: ToString>(items: &[T]) -> String {
    items
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn at_most(limit: Option<Duration>) -> String {
    match limit {
        Some(limit) => format!("for {} at most", duration::show(limit)),
        None => "without limit".to_owned(),
    }
}

fn listens(definition: &Definition) -> Option<String> {
    let mut line = match (definition.listen.is_empty(), definition.sockets.is_empty()) {
        (false, _) => format!("listens on {}", join(&definition.listen)),
        (true, false) => String::new(),
        (true, true) => format!(
            "listens on the inherited sockets named '{}'",
            definition.slug
        ),
    };
    if !definition.sockets.is_empty() {
        let and = if line.is_empty() {
            "listens on"
        } else {
            ", and on"
        };
        let _ = write!(
            line,
            "{and} the inherited sockets named {}",
            join(&definition.sockets)
        );
    }
    Some(line)
}

fn admits(definition: &Definition) -> Option<String> {
    let access = &definition.policy.access;
    let mut line = match access.allow.is_empty() {
        true => "lets everybody in".to_owned(),
        false => format!("lets in {} and nobody else", access.allow),
    };
    if !access.deny.is_empty() {
        let _ = write!(line, ", but not {}", access.deny);
    }
    if !access.ignore.is_empty() {
        let _ = write!(
            line,
            "; {} neither wake it nor keep it awake",
            access.ignore
        );
    }
    let trusted = &definition.policy.proxy.accept;
    if !trusted.is_empty() {
        let _ = write!(
            line,
            "\nof {trusted} it wants a PROXY header within {}, and goes by the address in it",
            duration::show(definition.policy.timeouts.proxy)
        );
    }
    Some(line)
}

fn wakes(definition: &Definition) -> Option<String> {
    let recipe = &definition.recipe;
    let client = match definition.policy.wake_on {
        WakeOn::Connect => "a client that connects",
        WakeOn::Data => "a client that has sent a byte",
    };
    let check = recipe
        .check
        .as_ref()
        .map(|command| format!("CHECK_CMD: {command}"));
    let start = recipe
        .start
        .as_ref()
        .map(|command| format!("START_CMD: {command}"));
    let nothing = || "there is nothing to start, and the client is reset".to_owned();
    let line = match definition.mode() {
        Mode::PerConnection => {
            let start = start.unwrap_or_else(nothing);
            format!("every connection runs {start}\nwhat it prints is where that connection goes")
        }
        Mode::Told => {
            let check = check.unwrap_or_default();
            let start = start.map_or_else(nothing, |start| format!("it runs {start}"));
            format!(
                "{client} runs {check}\nif that fails, {start}\nwhat is printed is the destination"
            )
        }
        Mode::Fixed => {
            let targets = join(&definition.targets);
            let command = recipe
                .command
                .as_ref()
                .map(|own| format!("COMMAND, and looks after it: {}", own.command));
            let start = command
                .or(start)
                .map_or_else(nothing, |start| format!("{client} runs {start}"));
            let check = check.map(|check| format!("\nasleep if this fails, {check}"));
            format!(
                "goes to {targets}{}{}\nif nobody answers there, {start}",
                balance(definition),
                check.unwrap_or_default()
            )
        }
    };
    let auto = if definition.auto_start {
        "\nwoken when the daemon starts, too"
    } else {
        ""
    };
    Some(line + auto)
}

fn balance(definition: &Definition) -> &'static str {
    if definition.targets.len() < 2 {
        return "";
    }
    match definition.policy.balance {
        Balance::Random => ", at random",
        Balance::First => ", in this order",
        Balance::RoundRobin => ", each in turn",
        Balance::LeastConn => ", the least used first",
    }
}

fn ready(definition: &Definition) -> Option<String> {
    let recipe = &definition.recipe;
    let timeouts = &definition.policy.timeouts;
    if recipe.start.is_none() && recipe.command.is_none() {
        return None;
    }
    let mut line = "ready when the destination listens".to_owned();
    if let Some(command) = &recipe.ready {
        let _ = write!(line, ", READY_CMD exits with 0 ({command})");
    }
    if let Some(url) = &recipe.ready_url {
        let _ = write!(line, ", {url} answers 200");
    }
    if !timeouts.after_start.is_zero() {
        let _ = write!(
            line,
            ", and {} have passed",
            duration::show(timeouts.after_start)
        );
    }
    if !timeouts.settle.is_zero() {
        let settle = duration::show(timeouts.settle);
        let _ = write!(line, "; one that closes within {settle} is tried again");
    }
    Some(line)
}

fn holds(definition: &Definition) -> Option<String> {
    let limits = &definition.policy.limits;
    let mut line = format!(
        "holds a client {}",
        at_most(definition.policy.timeouts.wake)
    );
    if let Some(n) = limits.waiting {
        let _ = write!(line, ", {n} of them at once");
    }
    if let Some(n) = limits.connections {
        let _ = write!(line, "; relays {n} at once");
    }
    if let Some(n) = limits.per_source {
        let _ = write!(line, "; takes {n} from one address");
    }
    Some(line)
}

fn connects(definition: &Definition) -> Option<String> {
    let timeouts = &definition.policy.timeouts;
    let mut line = format!(
        "gives up a connect after {}",
        duration::show(timeouts.connect)
    );
    for (limit, what) in [
        (timeouts.client, "a silent relay"),
        (timeouts.half_close, "a half-closed one"),
        (timeouts.user, "a peer that acknowledges nothing"),
    ] {
        if let Some(limit) = limit {
            let _ = write!(line, ", {what} after {}", duration::show(limit));
        }
    }
    if let Some(version) = definition.policy.proxy.send {
        let _ = write!(line, "\nsends a PROXY header first, {version}");
    }
    Some(line)
}

fn sleeps(definition: &Definition) -> Option<String> {
    let (recipe, idle) = (&definition.recipe, &definition.policy.idle);
    let stop = match (&recipe.command, &recipe.stop) {
        (Some(own), _) => ended(own),
        (None, Some(stop)) => format!("STOP_CMD: {stop}"),
        (None, None) => return Some("never put to sleep: there is no STOP_CMD".to_owned()),
    };
    let Some(after) = idle.after else {
        return Some(format!("never put to sleep for being idle; {stop}"));
    };
    let idle_for = match (&recipe.idle, idle.check_interval, idle.on) {
        (Some(_), None, _) => {
            return Some(format!(
                "never put to sleep for being idle, as IDLE_CHECK_INTERVAL is not set; {stop}"
            ));
        }
        (_, _, IdleOn::Connections) => "without an open connection",
        (_, _, IdleOn::Bytes) => "without a byte on any connection",
        (_, _, IdleOn::Command) => "of IDLE_CMD's exit 0, whatever is open",
    };
    let mut line = format!("put to sleep after {} {idle_for}", duration::show(after));
    if let (Some(command), Some(interval)) = (&recipe.idle, idle.check_interval) {
        let _ = write!(
            line,
            "\nIDLE_CMD, every {}: {command}",
            duration::show(interval)
        );
    }
    if !idle.min_uptime.is_zero() {
        let _ = write!(
            line,
            "\nbut not within {} of a wake",
            duration::show(idle.min_uptime)
        );
    }
    let _ = write!(line, "\n{stop}");
    Some(line)
}

fn ended(own: &Supervised) -> String {
    let signal = own.stop.signal;
    match own.stop.timeout {
        Some(limit) => format!(
            "{signal} ends COMMAND; what is left of it after {} is killed",
            duration::show(limit)
        ),
        None => format!("{signal} ends COMMAND, however long it takes"),
    }
}

fn runs(definition: &Definition) -> Option<String> {
    let recipe = &definition.recipe;
    let commands = [
        &recipe.start,
        &recipe.stop,
        &recipe.check,
        &recipe.idle,
        &recipe.ready,
    ];
    if recipe.command.is_none() {
        commands.into_iter().flatten().next()?;
    }
    let user = match (&recipe.account.user, &recipe.account.group) {
        (Some(user), Some(group)) => format!("user {user} and group {group}"),
        (Some(user), None) => format!("user {user}"),
        (None, Some(group)) => format!("the daemon's user and group {group}"),
        (None, None) => "the daemon's user".to_owned(),
    };
    Some(format!(
        "commands run as {user} in {}, by {} where they need a shell",
        recipe.working_directory.display(),
        recipe.shell.display()
    ))
}
