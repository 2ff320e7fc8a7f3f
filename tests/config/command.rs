//! COMMAND, STOP_SIGNAL and STOP_TIMEOUT, and what has no place beside them.

use super::*;

/// A section with a place for COMMAND, and these lines.
fn placed(lines: &str) -> Definition {
    only(&format!("[s]\nPORT=1000\nTARGET=127.0.0.1:80\n{lines}\n"))
}

fn complaint(lines: &str) -> String {
    let said = complaints(&format!("[s]\nPORT=1000\n{lines}\n"));
    assert_eq!(said.len(), 1, "{lines}: {said:?}");
    said.into_iter().next().unwrap()
}

#[test]
fn a_command_is_read_with_how_it_is_ended() {
    let own = |lines: &str| {
        placed(&format!("COMMAND=\"serve --all\"\n{lines}"))
            .recipe
            .command
            .clone()
    };
    let plain = own("").unwrap();
    assert_eq!(plain.command.as_str(), "serve --all");
    assert_eq!(plain.stop.signal.number(), 15);
    assert_eq!(plain.stop.timeout, Some(Duration::from_secs(90)));
    let other = own("STOP_SIGNAL=int\nSTOP_TIMEOUT=5").unwrap();
    assert_eq!(other.stop.signal.to_string(), "SIGINT");
    assert_eq!(other.stop.timeout, Some(Duration::from_secs(5)));
    let patient = own("STOP_SIGNAL=2\nSTOP_TIMEOUT=").unwrap();
    assert_eq!(patient.stop.signal, other.stop.signal);
    assert_eq!(patient.stop.timeout, None);
    for none in ["COMMAND=", "COMMAND=false"] {
        assert_eq!(placed(none).recipe.command, None, "{none}");
    }
}

#[test]
fn a_command_can_be_put_to_sleep_without_stop_cmd() {
    placed("COMMAND=serve\nIDLE_TIME=5min");
}

#[test]
fn a_command_wants_a_target() {
    let said = complaint("COMMAND=serve");
    assert!(
        said.starts_with("x.conf:3: error: COMMAND: nobody says where"),
        "{said}"
    );
    assert!(said.ends_with("add TARGET=HOST:PORT"), "{said}");
}

#[test]
fn nothing_else_wakes_ends_or_checks_what_a_command_is() {
    for (other, why) in [
        ("START_CMD=x", "cannot both wake"),
        ("STOP_CMD=x", "STOP_SIGNAL says how"),
        ("CHECK_CMD=x", "READY_CMD says from when on"),
        ("UNIT=x", "cannot both wake"),
        ("CONTAINER=x", "cannot both wake"),
    ] {
        let (key, _) = other.split_once('=').unwrap();
        let said = complaint(&format!("TARGET=127.0.0.1:80\nCOMMAND=serve\n{other}"));
        let begins = format!("x.conf:5: error: COMMAND and {key} ");
        assert!(said.starts_with(&begins) && said.contains(why), "{said}");
        // A default for others is taken back.
        only(&format!(
            "{other}\n[s]\nPORT=1000\nTARGET=127.0.0.1:80\nCOMMAND=serve\n{key}=\n"
        ));
    }
}

#[test]
fn a_bad_signal_is_told_with_those_that_are_known() {
    for bad in ["TERMINATE", "0", "65", "KILL TERM"] {
        let said = complaint(&format!(
            "TARGET=127.0.0.1:80\nCOMMAND=serve\nSTOP_SIGNAL={bad}"
        ));
        let begins =
            format!("x.conf:5: error: STOP_SIGNAL: '{bad}' is not a signal; known are HUP");
        assert!(said.starts_with(&begins), "{said}");
        assert!(
            said.contains("RTMIN+N") && said.contains("1 to 64"),
            "{said}"
        );
    }
}

#[test]
fn a_signal_without_a_command_is_a_warning_where_the_section_says_it() {
    let text = "[s]\nPORT=1000\nTARGET=127.0.0.1:80\nSTOP_SIGNAL=INT\n";
    assert_eq!(
        said(&load(text)),
        ["x.conf:4: warning: STOP_SIGNAL does nothing without COMMAND"]
    );
    only("STOP_SIGNAL=INT\n[s]\nPORT=1000\nTARGET=127.0.0.1:80\n");
}

#[test]
fn it_is_explained_in_words() {
    let explained =
        |lines: &str| config::explain(&placed(&format!("COMMAND=serve\nIDLE_TIME=5min\n{lines}")));
    let text = explained("STOP_SIGNAL=INT\nSTOP_TIMEOUT=10");
    for part in [
        "a client that connects runs COMMAND, and looks after it: serve",
        "ready when the destination listens",
        "put to sleep after 5m without an open connection",
        "SIGINT ends COMMAND; what is left of it after 10s is killed",
        "commands run as the daemon's user",
    ] {
        assert!(text.contains(part), "'{part}' in\n{text}");
    }
    assert!(explained("STOP_TIMEOUT=").contains("SIGTERM ends COMMAND, however long it takes"));
}
