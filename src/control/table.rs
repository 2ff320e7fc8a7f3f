//! The status, for people.

use std::{fmt::Write, time::Duration};

use super::api::{ServiceStatus, State, Status};
use crate::model::duration;

const HEADER: [&str; 7] = [
    "SERVICE", "STATE", "SINCE", "LAST USE", "HELD", "RELAYS", "BACKEND",
];

/// The columns that hold numbers, flush right.
const NUMBERS: [usize; 2] = [4, 5];

/// The column with the state, which has a colour.
const STATE: usize = 1;

/// The services as a table, and below it what is wrong. With colour only if told so, which is for
/// a terminal without NO_COLOR.
#[must_use]
pub fn render(status: &Status, colour: bool) -> String {
    let mut rows = vec![HEADER.map(str::to_owned)];
    let mut states = vec![None];
    for service in &status.services {
        rows.push(row(service));
        states.push(Some(service.state));
        for draining in &service.draining {
            rows.push([
                format!("  generation {}", draining.generation),
                "draining".to_owned(),
                String::new(),
                String::new(),
                String::new(),
                draining.relays.to_string(),
                printable(&draining.destinations.join(" ")),
            ]);
            states.push(None);
        }
    }
    let mut text = table(&rows, &states, colour);
    if status.services.is_empty() {
        text = "No services.\n".to_owned();
    }
    for service in &status.services {
        if let Some(why) = &service.last_failure {
            let name = printable(&service.name);
            let _ = writeln!(text, "\n{name}: the last wake failed: {}", printable(why));
        }
    }
    for warning in &status.warnings {
        let _ = writeln!(text, "\nwarning: {}", printable(warning));
    }
    text
}

fn row(service: &ServiceStatus) -> [String; 7] {
    let ago = |seconds| duration::show(Duration::from_secs(seconds));
    [
        printable(&service.name),
        service.state.as_str().to_owned(),
        ago(service.since_seconds),
        service
            .last_use_seconds
            .map_or("never".to_owned(), |s| format!("{} ago", ago(s))),
        service.held.to_string(),
        service.relays.to_string(),
        printable(&service.destinations.join(" ")),
    ]
}

fn table(rows: &[[String; 7]], states: &[Option<State>], colour: bool) -> String {
    let mut widths = [0; 7];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for (row, state) in rows.iter().zip(states) {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let padding = " ".repeat(width - cell.chars().count());
            let cell = match state.filter(|_| colour && column == STATE) {
                Some(state) => format!("{}{cell}\x1b[0m", tint(state)),
                None => cell.clone(),
            };
            if NUMBERS.contains(&column) {
                line.push_str(&padding);
                line.push_str(&cell);
            } else {
                line.push_str(&cell);
                line.push_str(&padding);
            }
            line.push_str("  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn tint(state: State) -> &'static str {
    match state {
        State::Awake => "\x1b[32m",
        State::Waking | State::Stopping => "\x1b[33m",
        State::Asleep => "\x1b[2m",
    }
}

/// What a configuration or a command says must not steer the terminal.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::api::DrainingStatus;

    fn status() -> Status {
        let web = ServiceStatus {
            name: "Web".to_owned(),
            state: State::Awake,
            since_seconds: 3700,
            last_use_seconds: Some(5),
            held: 0,
            relays: 12,
            destinations: vec!["127.0.0.1:8080".to_owned()],
            draining: vec![DrainingStatus {
                generation: 3,
                relays: 2,
                ..Default::default()
            }],
            ..ServiceStatus::default()
        };
        let game = ServiceStatus {
            name: "Spiel é\x1b".to_owned(),
            last_failure: Some("START_CMD exited with status 1".to_owned()),
            ..ServiceStatus::default()
        };
        Status {
            services: vec![web, game],
            ..Status::default()
        }
    }

    #[test]
    fn columns_line_up_and_nothing_steers_the_terminal() {
        let expected = "\
SERVICE         STATE     SINCE      LAST USE  HELD  RELAYS  BACKEND
Web             awake     1h 1m 40s  5s ago       0      12  127.0.0.1:8080
  generation 3  draining                                  2
Spiel é\\u{1b}   asleep    0s         never        0       0

Spiel é\\u{1b}: the last wake failed: START_CMD exited with status 1
";
        assert_eq!(render(&status(), false), expected);
    }

    #[test]
    fn colour_changes_no_width() {
        let plain = render(&status(), false);
        let coloured = render(&status(), true);
        assert_ne!(plain, coloured);
        let bare = ["\x1b[32m", "\x1b[2m", "\x1b[33m", "\x1b[0m"]
            .iter()
            .fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(bare, plain);
    }

    #[test]
    fn no_services_are_said_in_words() {
        assert_eq!(render(&Status::default(), true), "No services.\n");
    }
}
