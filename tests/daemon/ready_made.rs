//! UNIT and CONTAINER where the test plays systemctl and docker. The real ones are for
//! `tests/system`.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use crate::harness::{
    Call, Daemon, Server, Stage, connect, fetch, is_root, is_turned_away, rest, until,
};

const SLEEPINGD: &str = env!("CARGO_BIN_EXE_sleepingd");

/// A program of this name asks the test what to do, and goes before the real one.
fn plays(stage: &Stage, program: &str) {
    let path = stage.path(program);
    fs::copy(stage.path("cue"), &path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn command(stage: &Stage) -> Command {
    let mut command = stage.command(SLEEPINGD);
    command.env("PATH", command_path(stage));
    command
}

fn command_path(stage: &Stage) -> String {
    let directory = stage.path("");
    let directory = directory.to_str().unwrap().trim_end_matches('/');
    format!("{directory}:/usr/bin:/bin")
}

fn daemon(stage: &Stage, configuration: &str) -> Daemon {
    stage.configure(configuration);
    stage.daemon_by(command(stage))
}

/// The program is asked this, for this.
#[track_caller]
fn asked(stage: &Stage, action: &str, arguments: &str) -> Call {
    let call = stage.called(action);
    assert_eq!(call.argument, arguments);
    call
}

/// Says of a container whether it runs, and where.
fn inspected(call: Call, running: bool, at: SocketAddr) {
    let json = format!(
        r#"[{{"State": {{"Running": {running}}}, "Config": {{"ExposedPorts": {{"{}/tcp": {{}}}}}},
        "NetworkSettings": {{"IPAddress": "{}"}}}}]"#,
        at.port(),
        at.ip()
    );
    call.does(&format!("echo '{}'", json.replace('\n', " ")));
}

#[test]
fn a_unit_is_checked_started_and_stopped_by_systemctl() {
    let stage = Stage::new();
    plays(&stage, "systemctl");
    let (front, back) = (stage.address(), stage.address());
    let daemon = daemon(
        &stage,
        &format!("[web]\nPORT={front}\nTARGET={back}\nUNIT=web\nIDLE_TIME=100ms\n"),
    );
    let is_active = "is-active --quiet -- web.service";
    asked(&stage, "check", is_active).does("exit 3");
    let mut client = connect(front);
    asked(&stage, "check", is_active).does("exit 3");
    let start = asked(&stage, "start", "start -- web.service");
    let server = Server::greeting(back, "page");
    start.succeeds();
    assert_eq!(rest(&mut client), "page");
    drop(client);
    let stop = asked(&stage, "stop", "stop -- web.service");
    drop(server);
    stop.succeeds();
    asked(&stage, "check", is_active).does("exit 3");
    daemon.says("web: asleep");
}

#[test]
fn a_unit_that_runs_already_is_not_started() {
    let stage = Stage::new();
    plays(&stage, "systemctl");
    let (front, back) = (stage.address(), stage.address());
    let _server = Server::greeting(back, "page");
    let daemon = daemon(
        &stage,
        &format!("[web]\nPORT={front}\nTARGET={back}\nUNIT=web\n"),
    );
    asked(&stage, "check", "is-active --quiet -- web.service").succeeds();
    daemon.says("web: already runs");
    assert_eq!(fetch(front), "page");
    stage.nothing_called();
}

#[test]
fn a_unit_that_fails_to_start_turns_its_client_away_with_what_systemctl_says() {
    let stage = Stage::new();
    plays(&stage, "systemctl");
    let (front, back) = (stage.address(), stage.address());
    let daemon = daemon(
        &stage,
        &format!("[web]\nPORT={front}\nTARGET={back}\nUNIT=web\n"),
    );
    asked(&stage, "check", "is-active --quiet -- web.service").does("exit 3");
    let client = std::thread::spawn(move || is_turned_away(front));
    asked(&stage, "check", "is-active --quiet -- web.service").does("exit 3");
    asked(&stage, "start", "start -- web.service").does("echo 'Job for web failed.' >&2; exit 1");
    client.join().unwrap();
    daemon.says("Job for web failed.");
}

#[test]
fn a_users_daemon_asks_the_users_systemd_and_says_where_it_is() {
    let stage = Stage::new();
    plays(&stage, "systemctl");
    let (front, back) = (stage.address(), stage.address());
    let _server = Server::greeting(back, "page");
    stage.configure(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nUNIT=web\nIDLE_TIME=100ms\n"
    ));
    let mut command = command(&stage);
    command
        .arg("--user")
        .env("XDG_RUNTIME_DIR", "/run/user/42")
        .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/42/bus");
    let daemon = stage.daemon_by(command);
    let said = stage.path("said");
    asked(&stage, "check", "--user is-active --quiet -- web.service").does(&format!(
        "echo $XDG_RUNTIME_DIR $DBUS_SESSION_BUS_ADDRESS > {}; exit 0",
        said.display()
    ));
    daemon.says("web: already runs");
    asked(&stage, "stop", "--user stop -- web.service").fails();
    assert_eq!(
        fs::read_to_string(said).unwrap(),
        "/run/user/42 unix:path=/run/user/42/bus\n"
    );
}

#[test]
fn a_container_is_found_at_its_own_address_whatever_that_is_this_time() {
    let stage = Stage::new();
    plays(&stage, "docker");
    let (front, first, second) = (stage.address(), stage.address(), stage.address());
    let daemon = daemon(
        &stage,
        &format!("[web]\nPORT={front}\nCONTAINER=web\nIDLE_TIME=100ms\n"),
    );
    let inspect = "container inspect -- web";
    inspected(asked(&stage, "check", inspect), false, first);
    for back in [first, second] {
        let mut client = connect(front);
        inspected(asked(&stage, "check", inspect), false, back);
        inspected(asked(&stage, "start", inspect), false, back);
        let server = Server::greeting(back, "page");
        asked(&stage, "start", "start -- web").does("echo web");
        inspected(asked(&stage, "start", inspect), true, back);
        assert_eq!(rest(&mut client), "page");
        drop(client);
        let stop = asked(&stage, "stop", "stop -- web");
        drop(server);
        stop.does("echo web");
        inspected(asked(&stage, "check", inspect), false, back);
        daemon.says("web: asleep");
    }
}

#[test]
fn a_paused_container_is_down_and_is_resumed() {
    let stage = Stage::new();
    plays(&stage, "podman");
    let (front, back) = (stage.address(), stage.address());
    let _daemon = daemon(
        &stage,
        &format!("[web]\nPORT={front}\nTARGET={back}\nCONTAINER=podman:web\n"),
    );
    let inspect = "container inspect -- web";
    let paused = "echo '[{\"State\": {\"Running\": true, \"Paused\": true}}]'";
    asked(&stage, "check", inspect).does(paused);
    let mut client = connect(front);
    asked(&stage, "check", inspect).does(paused);
    asked(&stage, "start", inspect).does(paused);
    let _server = Server::greeting(back, "page");
    asked(&stage, "start", "unpause -- web").succeeds();
    assert_eq!(rest(&mut client), "page");
}

#[test]
fn what_the_engine_says_against_it_is_in_the_log() {
    let stage = Stage::new();
    plays(&stage, "docker");
    let front = stage.address();
    let daemon = daemon(
        &stage,
        &format!("[web]\nPORT={front}\nCONTAINER=docker:web\n"),
    );
    let refuses = "echo 'No such container: web' >&2; exit 1";
    let inspect = "container inspect -- web";
    asked(&stage, "check", inspect).does(refuses);
    let client = std::thread::spawn(move || is_turned_away(front));
    asked(&stage, "check", inspect).does(refuses);
    asked(&stage, "start", inspect).does(refuses);
    client.join().unwrap();
    daemon.says("START_CMD exited with status 1");
    until("the log has what docker says", || {
        daemon.said("No such container: web") > 0
    });
}

#[test]
fn another_user_asks_the_engine_even_after_the_program_has_been_replaced() {
    if !is_root("to become another user") {
        return;
    }
    let stage = Stage::new();
    plays(&stage, "docker");
    // The user cannot enter its directory, and the file is gone by the time that it is executed.
    let private = stage.path("private");
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
    let program = private.join("sleepingd");
    fs::copy(SLEEPINGD, &program).unwrap();
    let front = stage.address();
    stage.configure(&format!(
        "[web]\nPORT={front}\nCONTAINER=web\nUSER=nobody\n"
    ));
    let mut command = stage.command(&program);
    command.env("PATH", command_path(&stage));
    let daemon = stage.daemon_by(command);
    let inspect = "container inspect -- web";
    // The look at the start may be before or after this.
    fs::remove_file(&program).unwrap();
    asked(&stage, "check", inspect).fails();
    let _client = connect(front);
    let user = stage.path("user");
    fs::write(&user, "").unwrap();
    fs::set_permissions(&user, fs::Permissions::from_mode(0o666)).unwrap();
    asked(&stage, "check", inspect).does(&format!("id -un > {}; exit 1", user.display()));
    asked(&stage, "start", inspect).fails();
    daemon.says("START_CMD exited with status 1");
    assert_eq!(fs::read_to_string(user).unwrap(), "nobody\n");
}

#[test]
fn a_person_can_run_what_the_daemon_runs() {
    let stage = Stage::new();
    let back: SocketAddr = "192.0.2.7:80".parse().unwrap();
    plays(&stage, "docker");
    let run = |arguments: &[&str]| {
        let mut command = command(&stage);
        command.arg("container").args(arguments);
        let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        piped.spawn().unwrap()
    };
    let up = run(&["check", "--address", "web"]);
    inspected(asked(&stage, "", "container inspect -- web"), true, back);
    let up = up.wait_with_output().unwrap();
    assert_eq!(up.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&up.stdout), "192.0.2.7 80\n");
    let down = run(&["check", "--address", "web"]);
    inspected(asked(&stage, "", "container inspect -- web"), false, back);
    let down = down.wait_with_output().unwrap();
    assert_eq!(down.status.code(), Some(1));
    assert_eq!((down.stdout, down.stderr), (vec![], vec![]));
    let usage = run(&["check", "a b"]).wait_with_output().unwrap();
    assert_eq!(usage.status.code(), Some(64));
    fs::remove_file(stage.path("docker")).unwrap();
    let nobody = stage
        .command(SLEEPINGD)
        .env("PATH", stage.path("nothing-here"))
        .args(["container", "start", "web"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&nobody.stderr);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        said.contains("neither docker nor podman is installed"),
        "{said}"
    );
}
