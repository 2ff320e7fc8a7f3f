//! What goes wrong in a file or in a command: what is said of it, and that the next good client is
//! served.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use nix::unistd::geteuid;

use crate::harness::{
    Backend, Server, Stage, connect, fetch, is_reset, is_turned_away, rest, until,
};

// === files ===

#[test]
fn a_file_with_errors_is_refused_with_every_one_of_them_and_78() {
    let stage = Stage::new();
    let ended = stage.refused("[web]\nPORT=99999\nwhat is this\nIDLE_TIME=soon\n");
    assert_eq!(ended.code, Some(78), "{ended:?}");
    for error in [":2: ", ":3: ", ":4: ", "3 error(s)"] {
        assert!(ended.stderr.contains(error), "{error} in {}", ended.stderr);
    }
    assert!(ended.stderr.contains("sleepingd.conf"), "{}", ended.stderr);
}

#[test]
fn errors_do_not_hide_the_warnings_that_explain_them() {
    let stage = Stage::new();
    let text = "[a]\nPOTR=127.0.0.1:1\nTARGET=127.0.0.1:2\n";
    let ended = stage.refused(text);
    let file = stage.path("sleepingd.conf");
    let checked = stage.sleepingd(&["check", "-f", file.to_str().unwrap()]);
    for ended in [ended, checked] {
        assert_eq!(ended.code, Some(78), "{ended:?}");
        let nowhere = ended
            .stderr
            .find("sleepingd.conf:1: error: 'a' listens nowhere");
        let unknown = ended
            .stderr
            .find("sleepingd.conf:2: warning: unknown key 'POTR'");
        assert!(nowhere.is_some() && nowhere < unknown, "{ended:?}");
        assert!(ended.stderr.contains("has 1 error(s)"), "{ended:?}");
    }
}

#[test]
fn no_file_and_no_service_are_78() {
    let stage = Stage::new();
    let ended = stage.sleepingd(&["-f", "/nonexistent/sleepingd.conf"]);
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.stderr.contains("/nonexistent/sleepingd.conf"));
    let ended = stage.refused("# nothing yet\n");
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(
        ended.stderr.contains("no service is configured"),
        "{ended:?}"
    );
}

#[test]
fn an_unknown_key_is_a_warning_with_the_key_that_was_meant() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _server = Server::greeting(back, "page");
    let daemon = stage.daemon(&format!("[web]\nPORT={front}\nTARGET={back}\nIDLETIME=5\n"));
    assert_eq!(fetch(front), "page");
    assert_eq!(daemon.said("IDLE_TIME"), 1);
}

#[test]
fn a_port_in_use_is_said_by_its_number_and_its_section_and_ends_with_1() {
    let stage = Stage::new();
    let taken = TcpListener::bind(stage.address()).unwrap();
    let addr = taken.local_addr().unwrap();
    let ended = stage.refused(&format!(
        "[free]\nPORT={}\nTARGET=127.0.0.1:1\n[taken]\nPORT={addr}\nTARGET=127.0.0.1:1\n",
        stage.address()
    ));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let said = format!("sleepingd.conf:4: taken: cannot listen on {addr}: Address already in use");
    assert!(ended.stderr.contains(&said), "{}", ended.stderr);
}

#[test]
fn a_port_that_cannot_be_had_at_a_reload_is_said_and_had_at_the_next() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _server = Server::greeting(back, "page");
    let taken = TcpListener::bind(stage.address()).unwrap();
    let wanted = taken.local_addr().unwrap();
    let daemon = stage.daemon(&format!("[web]\nPORT={front}\nTARGET={back}\n"));
    stage.configure(&format!("[web]\nPORT={front} {wanted}\nTARGET={back}\n"));
    let reload = daemon.ctl(&["reload"]);
    assert_ne!(reload.code, Some(0), "{reload:?}");
    assert!(
        reload
            .stderr
            .contains(&format!("cannot listen on {wanted}")),
        "{reload:?}"
    );
    assert_eq!(fetch(front), "page");
    drop(taken);
    let reload = daemon.ctl(&["reload"]);
    assert_eq!(reload.code, Some(0), "{reload:?}");
    assert_eq!(fetch(wanted), "page");
}

// === commands ===

/// A service whose START fails in this way: its client is reset, this is said, and the next client
/// is served once START is what it should be.
#[track_caller]
fn fails_and_recovers(section: &str, orders: Option<&str>, said: &str) {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let cue = stage.cue("");
    let good = format!("[web]\nPORT={front}\nCHECK_CMD=exit 1\n");
    let bad = match orders {
        Some(_) => format!("{good}START_CMD={cue}\n{section}\n"),
        None => format!("{good}{section}\n"),
    };
    let daemon = stage.daemon(&bad);
    let client = connect(front);
    let _left = orders.map(|orders| stage.called("start").does(orders));
    let failed = Instant::now();
    is_reset(client);
    let took = failed.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    let line = daemon.says("web: cannot be woken: ");
    assert!(line.contains(said), "{line}");
    assert!(
        line.contains("the client that waited is reset, the next try is not before 500ms"),
        "{line}"
    );
    assert_eq!(daemon.state("web"), "asleep");
    let status = daemon.status("web");
    assert!(
        status["last_failure"].as_str().unwrap().contains(said),
        "{status}"
    );

    stage.configure(&format!("{good}START_CMD={cue}\n"));
    daemon.reload();
    let mut next = connect(front);
    let start = stage.called("start");
    let _server = Server::greeting(back, "page");
    start.says(back);
    assert_eq!(rest(&mut next), "page");
    assert_eq!(daemon.status("web")["failures"], 0);
    assert!(daemon.status("web")["last_failure"].is_null());
}

#[test]
fn a_start_that_fails_is_said_with_its_status_and_its_last_words() {
    fails_and_recovers(
        "",
        Some("echo no such image >&2; exit 3"),
        "START_CMD exited with status 3: no such image",
    );
}

#[test]
fn a_start_that_does_not_exist_is_said_by_its_name() {
    fails_and_recovers("START_CMD=/no/such/program", None, "/no/such/program");
}

#[test]
fn a_command_that_the_shell_does_not_find_is_named_for_what_it_means() {
    fails_and_recovers(
        "START_CMD=no-such-program | cat; exit ${PIPESTATUS[0]}",
        None,
        "not found",
    );
}

#[test]
fn a_user_that_does_not_exist_is_said_by_name() {
    fails_and_recovers(
        "USER=no-such-user\nSTART_CMD=/bin/true",
        None,
        "no-such-user",
    );
}

#[test]
fn a_start_that_prints_rubbish_is_said_with_what_it_printed() {
    fails_and_recovers(
        "",
        Some("echo hello world, how are you"),
        "START_CMD printed 'hello world, how are you', which is not a destination (IP PORT)",
    );
}

#[test]
fn a_start_that_prints_no_port_there_is_is_said_with_the_port() {
    fails_and_recovers("", Some("echo 127.0.0.1 70000"), "'70000' is not a port");
}

#[test]
fn a_start_that_prints_nothing_is_said_with_what_was_expected() {
    fails_and_recovers("", Some("exit 1"), "START_CMD exited with status 1");
}

#[test]
fn a_start_that_is_killed_is_said_by_the_signal() {
    fails_and_recovers("", Some("kill -KILL $$"), "SIGKILL");
}

#[test]
fn a_start_that_never_returns_is_ended_with_all_that_it_started() {
    let stage = Stage::new();
    let front = stage.address();
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nCHECK_CMD=exit 1\nSTART_CMD_TIMEOUT=200ms\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let client = connect(front);
    let started = stage.called("start").does("sleep 1000 & sleep 1000");
    is_reset(client);
    daemon.says("START_CMD");
    started.ends();
    assert!(daemon.said("ran longer than 200ms") + daemon.said("200ms") > 0);
}

#[test]
fn a_start_whose_children_keep_its_output_open_is_done_with_its_line() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _server = Server::greeting(back, "page");
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nCHECK_CMD=exit 1\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let mut client = connect(front);
    // A child in the background, and a START that never exits.
    stage.called("start").does(&format!(
        "sleep 1000 & echo {}; sleep 1000",
        Stage::pair(back)
    ));
    assert_eq!(rest(&mut client), "page");
    daemon.says("woken by");
}

#[test]
fn a_start_with_target_that_leaves_a_child_behind_and_exits_is_done() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let mut client = connect(front);
    let start = stage.called("start");
    let _server = Server::greeting(back, "page");
    start.does("setsid sleep 1000 & exit 0");
    assert_eq!(rest(&mut client), "page");
}

#[test]
fn a_start_that_names_its_line_and_then_fails_counts_with_a_warning() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _server = Server::greeting(back, "page");
    let _daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nCHECK_CMD=exit 1\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let mut client = connect(front);
    stage
        .called("start")
        .does(&format!("echo {}; exit 3", Stage::pair(back)));
    assert_eq!(rest(&mut client), "page");
}

#[test]
fn a_destination_that_refuses_fails_the_wake_and_the_pause_before_the_next_grows() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nWAKE_TIMEOUT=2s\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let clients = [connect(front), connect(front)];
    until("both are held", || daemon.status("web")["held"] == 2);
    stage.called("start").fails();
    clients.into_iter().for_each(is_reset);
    daemon.says("the 2 clients that waited are reset, the next try is not before 500ms");
    let failed = Instant::now();

    // Held until the pause is over, then tried.
    let client = connect(front);
    let start = stage.called("start");
    assert!(
        failed.elapsed().as_millis() >= 450,
        "{:?}",
        failed.elapsed()
    );
    start.fails();
    is_reset(client);
    daemon.says("the next try is not before 1s");
    assert_eq!(daemon.status("web")["failures"], 2);

    // Its client is there in time, and START has worked by then: served.
    let mut client = connect(front);
    let start = stage.called("start");
    let _server = Server::greeting(back, "page");
    start.succeeds();
    assert_eq!(rest(&mut client), "page");
    assert_eq!(daemon.status("web")["failures"], 0);
}

/// Somebody of another user was quicker than the backend. All that can be known is that START says
/// so: who listens there is never asked for his name.
#[test]
fn whoever_has_taken_the_port_of_a_backend_gets_no_client_when_start_fails_of_it() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let program = stage.write("backend.py", include_str!("backend.py"));
    let user = if geteuid().is_root() {
        "USER=nobody\n"
    } else {
        ""
    };
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\n{user}START_CMD={}\n",
        stage.cue("")
    ));
    let mut client = connect(front);
    client.write_all(b"my password").unwrap();
    let start = stage.called("start");
    let impostor = Backend::at(back);
    start.does(&format!(
        "exec /usr/bin/env python3 -S {} {} {}",
        program.display(),
        back.ip(),
        back.port()
    ));
    is_reset(client);
    let line = daemon.says("web: cannot be woken: START_CMD exited with status 1");
    assert!(line.contains("Address already in use"), "{line}");
    assert_eq!(daemon.state("web"), "asleep");
    impostor.nobody_came();
}

#[test]
fn a_stop_that_fails_leaves_it_awake_and_one_that_is_missing_too() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _server = Server::greeting(back, "page");
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nIDLE_TIME=200ms\nSTART_CMD=/bin/true\nSTOP_CMD={}\n",
        stage.cue("")
    ));
    assert_eq!(fetch(front), "page");
    stage.called("stop").does("echo it is stuck >&2; exit 5");
    let said = daemon.says("could not be put to sleep and counts as awake");
    assert!(
        said.contains("STOP_CMD exited with status 5: it is stuck"),
        "{said}"
    );
    assert_eq!(fetch(front), "page");
    // And it is tried again after the next IDLE_TIME.
    stage.called("stop").fails();
}

#[test]
fn a_program_that_may_not_be_executed_is_said() {
    let stage = Stage::new();
    let front = stage.address();
    let program = stage.write("start", "#!/bin/sh\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o644)).unwrap();
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nSTART_CMD={}\n",
        program.display()
    ));
    is_turned_away(front);
    daemon.says("cannot be run: command not executable, or not for this user");
}

#[test]
fn a_service_that_is_its_own_destination_is_told_so() {
    let stage = Stage::new();
    let front = stage.address();
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nSTART_CMD={}\n",
        stage.cue("")
    ));
    let client = connect(front);
    stage.called("start").says(front);
    is_reset(client);
    daemon.says("is where the service itself listens");
}
