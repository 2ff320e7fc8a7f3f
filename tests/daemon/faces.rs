//! sleepingctl, exit codes, the examples, and the README's table.

use std::{fs, path::Path};

use sleepingd::config::keys;

use crate::harness::{Server, Stage, fetch, skipped};

#[test]
fn a_wrong_command_line_is_64_and_help_is_0() {
    let stage = Stage::new();
    assert_eq!(stage.sleepingd(&["--no-such-flag"]).code, Some(64));
    assert_eq!(stage.sleepingd(&["--help"]).code, Some(0));
    let version = stage.sleepingd(&["--version"]);
    assert_eq!(version.code, Some(0));
    assert!(version.stdout.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_second_daemon_on_one_runtime_directory_refuses_with_1() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let _server = Server::greeting(back, "page");
    let _first = stage.daemon(&format!("[web]\nPORT={front}\nTARGET={back}\n"));
    let second = stage.refused(&format!("[web]\nPORT={}\nTARGET={back}\n", stage.address()));
    assert_eq!(second.code, Some(1), "{second:?}");
    let said = format!("another sleepingd uses {}", stage.path("run").display());
    assert!(second.stderr.contains(&said), "{second:?}");
    assert_eq!(fetch(front), "page");
}

#[test]
fn a_runtime_directory_that_cannot_be_had_is_1_and_said() {
    let stage = Stage::new();
    let file = stage.write("file", "");
    stage.configure("[web]\nPORT=127.0.0.1:1\nTARGET=127.0.0.1:2\n");
    let ended = stage.sleepingd(&[
        "-f",
        stage.path("sleepingd.conf").to_str().unwrap(),
        "--runtime-directory",
        file.join("below").to_str().unwrap(),
    ]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("the runtime directory"), "{ended:?}");
}

#[test]
fn check_explains_what_is_sound_and_fails_with_78_for_what_is_not() {
    let stage = Stage::new();
    stage.configure("[Web]\nPORT=127.0.0.1:10080\nTARGET=127.0.0.1:18080\nSTART_CMD=/bin/start\n");
    let file = stage.path("sleepingd.conf");
    let ended = stage.sleepingd(&["check", "-f", file.to_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for text in ["Web (", "127.0.0.1:10080", "127.0.0.1:18080", "/bin/start"] {
        assert!(ended.stdout.contains(text), "{text} in {}", ended.stdout);
    }
    stage.configure("[Web]\nPORT=127.0.0.1:10080\n");
    let ended = stage.sleepingd(&["check", "-f", file.to_str().unwrap()]);
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.stderr.contains("sleepingd.conf:1"), "{ended:?}");
}

#[test]
fn check_can_be_told_which_sockets_systemd_would_hand_over() {
    let stage = Stage::new();
    stage.configure("[My Web]\nTARGET=127.0.0.1:2\n[db]\nTARGET=127.0.0.1:3\n");
    let file = stage.path("sleepingd.conf");
    let check = ["check", "-f", file.to_str().unwrap()];
    let ended = stage.sleepingd(&check);
    assert_eq!(ended.code, Some(78), "{ended:?}");
    let advice = "named 'My Web' or 'my-web'; check with --socket my-web";
    assert!(ended.stderr.contains(advice), "{ended:?}");

    let sockets = ["--socket", "my-web", "--socket", "db"];
    let ended = stage.sleepingd(&[&check[..], &sockets[..2]].concat());
    assert_eq!(ended.code, Some(78), "{ended:?}");
    assert!(ended.stderr.contains("'db' listens nowhere"), "{ended:?}");
    assert!(!ended.stderr.contains("'My Web'"), "{ended:?}");
    let ended = stage.sleepingd(&[&check[..], &sockets[..]].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn sleepingctl_tells_awake_asleep_unknown_and_no_daemon_apart() {
    let stage = Stage::new();
    let (awake, asleep, back) = (stage.address(), stage.address(), stage.address());
    let _server = Server::greeting(back, "page");
    let mut daemon = stage.daemon(&format!(
        "[A wake]\nPORT={awake}\nTARGET={back}\n\
         [asleep]\nPORT={asleep}\nTARGET={}\nSTART_CMD=/bin/false\n",
        stage.address()
    ));
    daemon.says("A wake: already runs");
    for (service, code) in [("A wake", 0), ("a-wake", 0), ("asleep", 3), ("nothing", 4)] {
        assert_eq!(
            daemon.ctl(&["status", service]).code,
            Some(code),
            "{service}"
        );
    }
    let table = daemon.ctl(&[]);
    assert_eq!(table.code, Some(0));
    let rows: Vec<&str> = table.stdout.lines().collect();
    assert!(rows[0].starts_with("SERVICE"), "{}", table.stdout);
    assert!(
        rows[1].starts_with("A wake") && rows[1].contains("awake"),
        "{}",
        table.stdout
    );
    assert!(
        rows[2].starts_with("asleep") && rows[2].contains("asleep"),
        "{}",
        table.stdout
    );
    assert!(
        !table.stdout.contains('\x1b'),
        "no colour but on a terminal"
    );

    let json: serde_json::Value =
        serde_json::from_str(&daemon.ctl(&["status", "--json"]).stdout).unwrap();
    assert_eq!(json["pid"], daemon.pid().as_raw());
    assert_eq!(json["services"][0]["slug"], "a-wake");
    assert_eq!(json["services"][0]["listeners"][0], awake.to_string());
    assert_eq!(json["services"][1]["state"], "asleep");

    assert_eq!(daemon.ctl(&["no-such-command"]).code, Some(64));
    assert_eq!(daemon.stop(), Some(0));
    let gone = daemon.ctl(&["status"]);
    assert_eq!(gone.code, Some(69), "{gone:?}");
    assert!(gone.stderr.contains("control.sock"), "{gone:?}");
}

#[test]
fn every_example_is_sound() {
    let stage = Stage::new();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut seen = 0;
    for entry in fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "conf") {
            continue;
        }
        // As root, a file that others may write is refused; a working copy is whose it is.
        let text = fs::read_to_string(&path).unwrap();
        let copy = stage.write("example.conf", &text);
        let ended = stage.sleepingd(&["check", "-f", copy.to_str().unwrap()]);
        assert_eq!(ended.code, Some(0), "{}: {}", path.display(), ended.stderr);
        assert_eq!(ended.stderr, "", "{}", path.display());
        seen += 1;
    }
    assert!(seen > 0, "there is no example");
}

#[test]
fn the_quickstart_does_what_it_says() {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart.conf");
    let text = fs::read_to_string(example)
        .unwrap()
        .replace("127.0.0.1:10080", &front.to_string())
        .replace("127.0.0.1:18080", &back.to_string())
        .replace(
            "--bind 127.0.0.1 18080",
            &format!("--bind {} {}", back.ip(), back.port()),
        )
        .replace("IDLE_TIME=5s", "IDLE_TIME=300ms")
        .replace(
            "${XDG_RUNTIME_DIR:-/tmp}",
            &stage.path("").display().to_string(),
        );
    let mut daemon = stage.daemon(&text);
    let mut client = crate::harness::connect(front);
    std::io::Write::write_all(&mut client, b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let page = crate::harness::rest(&mut client);
    assert!(page.starts_with("HTTP/1.0 200 OK"), "{page}");
    drop(client);
    daemon.says("Quick start: asleep");
    assert_eq!(daemon.stop(), Some(0));
    assert_eq!(stage.processes(), []);
}

/// With `UPDATE_README=1` the table is written instead of compared.
#[test]
fn the_table_of_keys_in_the_readme_is_that_of_the_parser() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let Ok(text) = fs::read_to_string(&readme) else {
        skipped("there is no README.md");
        return;
    };
    let again = "run: UPDATE_README=1 cargo test --test daemon the_table_of_keys";
    let (head, rest) = text
        .split_once("<!-- keys -->\n")
        .expect("a line <!-- keys --> in README.md");
    let (table, tail) = rest
        .split_once("<!-- /keys -->")
        .expect("a line <!-- /keys --> in README.md");
    let expected = keys::markdown_table();
    if std::env::var_os("UPDATE_README").is_some() {
        let text = format!("{head}<!-- keys -->\n{expected}<!-- /keys -->{tail}");
        fs::write(&readme, text).unwrap();
        return;
    }
    assert_eq!(
        table.trim(),
        expected.trim(),
        "the table of README.md is stale; {again}"
    );
}
