//! `sleepingd start`, `stop` and `status`, with a systemctl that asks the test what to do.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    process::{Child, Command, Output, Stdio},
};

use crate::harness::{Call, Server, Stage};

/// Which sockets start the daemon, and which were generated for it.
const TRIGGERS: &str = "show --property=TriggeredBy --value sleepingd.service";
const GENERATED: &str = "show --property=Id,LoadState,ActiveState,FragmentPath sleepingd-*.socket";

/// A user's home, so that no daemon and no file of the machine are in the way.
struct User<'a> {
    stage: &'a Stage,
}

impl<'a> User<'a> {
    fn new(stage: &'a Stage, configuration: &str) -> Self {
        for directory in ["bin", "runtime", "config/sleepingd", "run"] {
            fs::create_dir_all(stage.path(directory)).unwrap();
        }
        // Where a daemon of the stage has its control socket.
        symlink(stage.path("run"), stage.path("runtime/sleepingd")).unwrap();
        stage.write("config/sleepingd/sleepingd.conf", configuration);
        let cue = stage.cue("\"$@\"");
        let stub = format!("#!/bin/bash\nSLEEPINGD_ACTION=systemctl exec {cue}\n");
        let path = stage.write("bin/systemctl", &stub);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        Self { stage }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.stage.command(env!("CARGO_BIN_EXE_sleepingd"));
        command
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.stage.path("bin").display()),
            )
            .env("XDG_RUNTIME_DIR", self.stage.path("runtime"))
            .env("XDG_CONFIG_HOME", self.stage.path("config"))
            .args(arguments)
            .arg("--user");
        command
    }

    fn runs(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn begins(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// systemctl is asked for this.
    #[track_caller]
    fn asked(&self, words: &str) -> Call {
        let call = self.stage.called("systemctl");
        assert_eq!(call.argument, format!("--user {words}"));
        call
    }
}

#[track_caller]
fn ended(output: &Output, code: i32, stdout: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        stdout,
        "{output:?}"
    );
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn status_without_a_daemon_is_3_and_has_a_line_for_each_section_of_the_files() {
    let stage = Stage::new();
    let user = User::new(
        &stage,
        "[My Web]\nPORT=10080\nTARGET=127.0.0.1:1\n\
         [off]\nPORT=1\nTARGET=127.0.0.1:1\nACTIVE=no\n\
         [Two]\nPORT=127.0.0.1:1 /run/x.sock\nTARGET=127.0.0.1:2\n",
    );
    let web = "My Web (port 10080) asleep, daemon not running\n";
    let two = "Two (ports 127.0.0.1:1, /run/x.sock) asleep, daemon not running\n";
    ended(&user.runs(&["status"]), 3, &format!("{web}{two}"));
    ended(&user.runs(&["status", "two"]), 3, two);
    ended(
        &user.runs(&["status", "My Web", "two"]),
        3,
        &format!("{web}{two}"),
    );
    let unknown = user.runs(&["status", "my-web", "of"]);
    ended(&unknown, 4, web);
    assert!(stderr(&unknown).contains("no section 'of'"), "{unknown:?}");
    stage.nothing_called();
}

#[test]
fn status_of_files_with_errors_says_what_is_wrong_and_shows_what_is_sound() {
    let stage = Stage::new();
    let user = User::new(
        &stage,
        "[a]\nPORT=x\nTARGET=127.0.0.1:1\n[b]\nPORT=81\nTARGET=127.0.0.1:2\n",
    );
    let output = user.runs(&["status"]);
    ended(&output, 3, "b (port 81) asleep, daemon not running\n");
    assert!(stderr(&output).contains("sleepingd.conf:2"), "{output:?}");
}

#[test]
fn status_of_a_daemon_that_runs_is_0_and_says_what_each_section_is_doing() {
    let stage = Stage::new();
    let (awake, asleep, back) = (stage.address(), stage.address(), stage.address());
    let user = User::new(&stage, "[not these]\nPORT=1\nTARGET=127.0.0.1:2\n");
    let _server = Server::greeting(back, "page");
    let daemon = stage.daemon(&format!(
        "[A]\nPORT={awake}\nTARGET={back}\n[B]\nPORT={asleep}\nTARGET={}\nSTART_CMD=/bin/false\n",
        stage.address()
    ));
    daemon.says("A: already runs");
    let (a, b) = (
        format!("A (port {awake}) awake\n"),
        format!("B (port {asleep}) asleep\n"),
    );
    ended(&user.runs(&["status"]), 0, &format!("{a}{b}"));
    ended(&user.runs(&["status", "b"]), 0, &b);
    ended(&user.runs(&["status", "c"]), 4, "");
}

#[test]
fn start_has_systemd_start_the_daemon_and_shows_the_sections_that_it_serves() {
    let stage = Stage::new();
    let user = User::new(&stage, "");
    let front = stage.address();
    let section = format!("[Web]\nPORT={front}\nTARGET={}\n", stage.address());

    let starting = user.begins(&["start"]);
    let systemctl = user.asked("start sleepingd.service");
    let _daemon = stage.daemon(&section);
    systemctl.succeeds().ends();
    let line = format!("Web (port {front}) started\n");
    ended(&starting.wait_with_output().unwrap(), 0, &line);

    let again = user.begins(&["start"]);
    user.asked("start sleepingd.service").succeeds().ends();
    let line = format!("Web (port {front}) already running\n");
    ended(&again.wait_with_output().unwrap(), 0, &line);
}

#[test]
fn stop_has_systemd_stop_the_daemon_with_the_sockets_that_would_start_it_again() {
    let stage = Stage::new();
    let front = stage.address();
    let section = format!("[Web]\nPORT={front}\nTARGET={}\n", stage.address());
    let user = User::new(&stage, &section);
    let mut daemon = stage.daemon(&section);

    let stopping = user.begins(&["stop"]);
    user.asked(TRIGGERS)
        .does("echo a.socket timer.timer b.socket")
        .ends();
    // Generated, open, and without a file by now.
    let lost = ["Id=c.socket", "LoadState=not-found", "ActiveState=active"].join("\\n");
    user.asked(GENERATED)
        .does(&format!("printf '{lost}\\n'"))
        .ends();
    let systemctl = user.asked("stop a.socket b.socket c.socket sleepingd.service");
    assert_eq!(daemon.stop(), Some(0));
    systemctl.succeeds().ends();
    let line = format!("Web (port {front}) stopped\n");
    ended(&stopping.wait_with_output().unwrap(), 0, &line);

    let again = user.begins(&["stop"]);
    user.asked(TRIGGERS).does("echo").ends();
    user.asked(GENERATED).does("echo").ends();
    user.asked("stop sleepingd.service").succeeds().ends();
    let line = format!("Web (port {front}) already stopped\n");
    ended(&again.wait_with_output().unwrap(), 0, &line);
}

#[test]
fn stop_does_not_say_that_a_daemon_has_stopped_which_systemd_does_not_know() {
    let stage = Stage::new();
    let user = User::new(&stage, "");
    let section = format!(
        "[Web]\nPORT={}\nTARGET={}\n",
        stage.address(),
        stage.address()
    );
    let _daemon = stage.daemon(&section);
    let stopping = user.begins(&["stop"]);
    user.asked(TRIGGERS).does("echo").ends();
    user.asked(GENERATED).does("echo").ends();
    user.asked("stop sleepingd.service").succeeds().ends();
    let output = stopping.wait_with_output().unwrap();
    ended(&output, 1, "");
    assert!(
        stderr(&output).contains("systemd has not started"),
        "{output:?}"
    );
}

#[test]
fn what_systemctl_says_when_it_fails_is_passed_on_with_1() {
    let stage = Stage::new();
    let user = User::new(&stage, "[Web]\nPORT=1\nTARGET=127.0.0.1:2\n");
    let starting = user.begins(&["start"]);
    user.asked("start sleepingd.service")
        .does("echo 'Access denied' >&2; exit 4")
        .ends();
    let output = starting.wait_with_output().unwrap();
    ended(&output, 1, "");
    assert!(
        stderr(&output).contains("systemctl: Access denied"),
        "{output:?}"
    );
}

#[test]
fn without_systemd_start_and_stop_say_why_not_and_what_to_do() {
    let stage = Stage::new();
    let user = User::new(&stage, "");
    fs::remove_file(stage.path("bin/systemctl")).unwrap();
    for action in ["start", "stop"] {
        let mut command = user.command(&[action]);
        command.env("PATH", stage.path("bin"));
        let output = command.output().unwrap();
        ended(&output, 1, "");
        let said = stderr(&output);
        assert!(said.contains("systemctl: "), "{output:?}");
        // A machine with systemd, and without its command, is told no more.
        let booted = std::path::Path::new("/run/systemd/system").is_dir();
        assert_eq!(
            said.contains("in the foreground: sleepingd run"),
            !booted,
            "{said}"
        );
    }
}
