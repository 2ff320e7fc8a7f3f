//! The real `sleepingd-generator`, run as systemd runs it for a user.

#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts test functions, not what they call"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sleepingd-generator");

/// A section that is sound.
const WEB: &str = "[web]\nPORT=8080\nTARGET=127.0.0.1:9000\n";

/// A user with a configuration, and the directory that systemd gives a generator.
struct User {
    home: TempDir,
}

impl User {
    fn new(text: &str) -> Self {
        let user = Self {
            home: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(user.path("config/sleepingd")).unwrap();
        fs::create_dir_all(user.path("runtime/sleepingd")).unwrap();
        fs::create_dir_all(user.path("units")).unwrap();
        user.write(text);
        user
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    fn write(&self, text: &str) {
        fs::write(self.path("config/sleepingd/sleepingd.conf"), text).unwrap();
    }

    fn run(&self, arguments: &[&Path]) -> Output {
        let run = Command::new(PROGRAM)
            .args(arguments)
            .env_clear()
            .env("SYSTEMD_SCOPE", "user")
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_RUNTIME_DIR", self.path("runtime"))
            .output();
        run.unwrap()
    }

    /// Runs it as systemd does, and returns what it said.
    fn generate(&self) -> String {
        let [units, early, late] = ["units", "early", "late"].map(|name| self.path(name));
        let done = self.run(&[&units, &early, &late]);
        assert!(done.status.success(), "{done:?}");
        assert!(done.stdout.is_empty(), "{done:?}");
        String::from_utf8(done.stderr).unwrap()
    }

    /// The names of the units it has made.
    fn made(&self) -> Vec<String> {
        let mut names: Vec<String> = list(&self.path("units"))
            .into_iter()
            .filter(|name| name.ends_with(".socket"))
            .collect();
        names.sort();
        names
    }

    fn unit(&self, name: &str) -> String {
        fs::read_to_string(self.path("units").join(name)).unwrap()
    }
}

fn list(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn each_address_of_each_active_section_is_a_socket_that_the_service_wants() {
    let user = User::new(
        "[Web (1)]\nPORT=8080 127.0.0.1:81 /run/x%y.sock\nTARGET=127.0.0.1:9000\n\
         [off]\nACTIVE=no\nPORT=82\nTARGET=127.0.0.1:9000\n",
    );
    assert_eq!(user.generate(), "");
    let made = user.made();
    assert_eq!(made.len(), 3, "{made:?}");
    let any = user.unit("sleepingd-web-1_8080.socket");
    for line in [
        "ListenStream=8080",
        "BindIPv6Only=both",
        "FileDescriptorName=web-1",
        "Service=sleepingd.service",
        "TriggerLimitIntervalSec=0",
        "ConditionPathExists=!%t/sleepingd/held/sleepingd-web-1_8080.socket",
    ] {
        assert!(any.lines().any(|found| found == line), "{line} of {any}");
    }
    let one = user.unit("sleepingd-web-1_127.0.0.1_81.socket");
    assert!(one.contains("\nListenStream=127.0.0.1:81\n"), "{one}");
    let path = made.iter().find(|name| name.contains("x_y")).unwrap();
    let path = user.unit(path);
    assert!(path.contains("\nListenStream=/run/x%%y.sock\n"), "{path}");
    for who in ["sleepingd.service", "sleepingd-sockets.target"] {
        let wants = user.path(&format!("units/{who}.wants"));
        let mut wanted = list(&wants);
        wanted.sort();
        assert_eq!(wanted, made);
        for name in wanted {
            let target = fs::canonicalize(wants.join(&name)).unwrap();
            assert_eq!(
                target,
                fs::canonicalize(user.path("units").join(&name)).unwrap()
            );
        }
    }
}

#[test]
fn running_twice_changes_nothing() {
    let user = User::new(WEB);
    user.generate();
    let before = user.unit("sleepingd-web_8080.socket");
    assert_eq!(user.generate(), "");
    assert_eq!(user.unit("sleepingd-web_8080.socket"), before);
}

#[test]
fn without_a_configuration_there_is_nothing_to_make_and_nothing_wrong() {
    let user = User::new(WEB);
    fs::remove_file(user.path("config/sleepingd/sleepingd.conf")).unwrap();
    assert_eq!(user.generate(), "");
    assert!(user.made().is_empty());
    fs::remove_dir(user.path("config/sleepingd")).unwrap();
    assert_eq!(user.generate(), "");
}

#[test]
fn a_section_with_an_inherited_socket_alone_is_no_error_and_gets_none() {
    let user = User::new(&format!(
        "{WEB}[by hand]\nTARGET=127.0.0.1:9001\n[named]\nSOCKET=x\nPORT=83\nTARGET=127.0.0.1:9001\n"
    ));
    assert_eq!(user.generate(), "");
    assert_eq!(user.made(), ["sleepingd-web_8080.socket"]);
}

#[test]
fn a_broken_section_takes_no_sound_one_with_it() {
    let user = User::new(&format!("{WEB}[bad]\nPORT=99999\nTARGET=127.0.0.1:1\n"));
    let said = user.generate();
    assert!(said.contains("sleepingd.conf:5: error"), "{said}");
    assert!(said.contains("the sections that are sound"), "{said}");
    assert_eq!(user.made(), ["sleepingd-web_8080.socket"]);
}

#[test]
fn with_a_broken_file_the_last_good_one_counts() {
    let user = User::new("nothing of this is a configuration\n");
    let good = serde_json::json!([{"path": "/etc/sleepingd/sleepingd.conf", "text": WEB}]);
    let kept = user.path("runtime/sleepingd/last-good.json");
    fs::write(&kept, good.to_string()).unwrap();
    let said = user.generate();
    assert!(said.contains("the last good configuration"), "{said}");
    assert_eq!(user.made(), ["sleepingd-web_8080.socket"]);
    // A last good file that is none is no reason to make nothing.
    fs::write(&kept, "{").unwrap();
    user.write(&format!("{WEB}rubbish\n"));
    let said = user.generate();
    assert!(said.contains("the sections that are sound"), "{said}");
}

#[test]
fn a_dry_run_prints_the_units_and_writes_nothing() {
    let user = User::new(WEB);
    let done = user.run(&[Path::new("--dry-run"), Path::new("--user")]);
    assert!(done.status.success(), "{done:?}");
    let printed = String::from_utf8(done.stdout).unwrap();
    assert!(
        printed.starts_with("# sleepingd-web_8080.socket\n"),
        "{printed}"
    );
    assert!(printed.contains("\nListenStream=8080\n"), "{printed}");
    assert!(user.made().is_empty());
}

#[test]
fn a_directory_that_cannot_be_written_to_is_said_and_fails() {
    let user = User::new(WEB);
    let done = user.run(&[&user.path("nowhere")]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("nowhere/sleepingd-web_8080.socket"), "{said}");
}

#[test]
fn arguments_that_mean_nothing_are_a_usage_error() {
    let user = User::new(WEB);
    for wrong in [&["--nonsense"][..], &[], &["a", "b", "c", "d"]] {
        let wrong: Vec<&Path> = wrong.iter().map(Path::new).collect();
        assert_eq!(user.run(&wrong).status.code(), Some(64), "{wrong:?}");
    }
}
