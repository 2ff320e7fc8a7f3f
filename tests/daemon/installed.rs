//! What a package counts on: a daemon that waits for its first section, and a group that may talk
//! to it.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixDatagram,
    },
    path::Path,
    process::{Command, Output},
};

use nix::unistd::geteuid;

use crate::harness::{PATIENCE, Server, Stage, fetch, skipped, with_own_groups, with_slow_users};

const NOTHING: &str = "no service is configured; write a section into ";

/// A group that no machine has by chance.
const GROUP: u32 = 54321;

/// Where systemd would hear from the daemon.
fn manager(stage: &Stage) -> (UnixDatagram, Command) {
    let path = stage.path("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut daemon = stage.command(env!("CARGO_BIN_EXE_sleepingd"));
    daemon.env("NOTIFY_SOCKET", path);
    (manager, daemon)
}

/// Waits until systemd is told this.
fn hears(manager: &UnixDatagram, text: &str) {
    let mut message = [0; 4096];
    loop {
        let length = manager.recv(&mut message).expect("systemd is not told it");
        if String::from_utf8_lossy(&message[..length]).contains(text) {
            return;
        }
    }
}

#[test]
fn under_systemd_no_section_is_no_failure_and_the_first_one_is_served_after_a_reload() {
    let stage = Stage::new();
    let (manager, command) = manager(&stage);
    stage.configure("# Everything is commented out.\n");
    let daemon = stage.daemon_by(command);
    hears(&manager, "READY=1");
    hears(&manager, &format!("STATUS={NOTHING}"));
    assert_eq!(daemon.said(NOTHING), 1, "{:?}", daemon.lines());
    let status = daemon.ctl(&["status"]);
    assert_eq!(status.code, Some(0), "{status:?}");
    let said = format!("{}{}", status.stdout, status.stderr);
    assert!(said.contains("then run: sleepingctl reload"), "{said}");

    let (front, back) = (stage.address(), stage.address());
    let _server = Server::greeting(back, "page");
    stage.configure(&format!("[web]\nPORT={front}\nTARGET={back}\n"));
    daemon.reload();
    assert_eq!(fetch(front), "page");
    hears(&manager, "STATUS=1 service, ");
    let status = daemon.ctl(&["status"]);
    let said = format!("{}{}", status.stdout, status.stderr);
    assert!(!said.contains(NOTHING), "{said}");

    stage.configure("");
    daemon.reload();
    hears(&manager, &format!("STATUS={NOTHING}"));
}

/// `sleepingctl` as a user who is in no group but perhaps these.
fn as_nobody(stage: &Stage, groups: &str, arguments: &[&str]) -> Output {
    // Where ours is, others may not look.
    let program = stage.path("sleepingctl");
    if !program.exists() {
        fs::copy(env!("CARGO_BIN_EXE_sleepingctl"), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = stage.command("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", groups])
        .arg(program)
        .arg("--socket")
        .arg(control(stage));
    command.args(arguments).output().unwrap()
}

fn control(stage: &Stage) -> impl AsRef<Path> + AsRef<std::ffi::OsStr> + use<> {
    stage.path("run").join("control.sock")
}

#[test]
fn members_of_the_group_may_talk_to_the_daemon_and_others_may_not() {
    if !geteuid().is_root() {
        skipped("only root can give a socket to a group");
        return;
    }
    let test = "installed::members_of_the_group_may_talk_to_the_daemon_and_others_may_not";
    if !with_own_groups(test, &format!("sleepingd:x:{GROUP}:")) {
        return;
    }
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let daemon = stage.daemon(&format!("[web]\nPORT={front}\nTARGET={back}\n"));
    let socket = fs::metadata(control(&stage)).unwrap();
    assert_eq!(socket.mode() & 0o7777, 0o660);
    assert_eq!((socket.uid(), socket.gid()), (0, GROUP));

    let members = format!("--groups={GROUP}");
    let member = as_nobody(&stage, &members, &["status", "web"]);
    assert_eq!(member.status.code(), Some(3), "{member:?}");
    let member = as_nobody(&stage, &members, &["reload"]);
    assert_eq!(member.status.code(), Some(0), "{member:?}");
    daemon.says("reloaded: ");
    let other = as_nobody(&stage, "--clear-groups", &["status"]);
    assert_eq!(other.status.code(), Some(77), "{other:?}");
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(said.contains("a member of the socket's group"), "{said}");
}

#[test]
fn where_there_is_no_such_group_the_socket_is_roots_alone() {
    if !geteuid().is_root() {
        skipped("only root can give a socket to a group");
        return;
    }
    let test = "installed::where_there_is_no_such_group_the_socket_is_roots_alone";
    if !with_own_groups(test, "") {
        return;
    }
    let stage = Stage::new();
    let _daemon = stage.daemon(&format!(
        "[web]\nPORT={}\nTARGET={}\n",
        stage.address(),
        stage.address()
    ));
    let socket = fs::metadata(control(&stage)).unwrap();
    assert_eq!((socket.uid(), socket.gid()), (0, 0));
    let other = as_nobody(&stage, &format!("--groups={GROUP}"), &["status"]);
    assert_eq!(other.status.code(), Some(77), "{other:?}");
}

#[test]
fn a_user_database_that_does_not_answer_keeps_no_port_closed() {
    let test = "installed::a_user_database_that_does_not_answer_keeps_no_port_closed";
    if !with_slow_users(test) {
        return;
    }
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _server = Server::greeting(back, "page");
    // It is ready: that is waited for here.
    let daemon = stage.daemon(&format!(
        "[web]\nPORT={front}\nTARGET={back}\nUSER=nobody-we-know\nSTART_CMD=/bin/true\n"
    ));
    assert_eq!(fetch(front), "page");
    // Opened when somebody reads; its end is that of the database.
    let database = fs::OpenOptions::new().write(true).open("/run/passwd");
    drop(database.unwrap());
    daemon.says("'nobody-we-know'");
}
