//! What `journalctl -x` explains: the messages, the table of their identities, and the catalog.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use sleepingd::systemd::journal::message_id;

use crate::harness::{Daemon, Server, Stage, connect, fetch, is_reset, with_own_run};

const CATALOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/sleepingd.catalog");

/// Identity and name of each entry; the name is in a comment before it.
fn explained() -> BTreeMap<String, String> {
    let text = fs::read_to_string(CATALOG).unwrap();
    let mut name = "";
    let mut entries = BTreeMap::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            name = comment;
        } else if let Some(id) = line.strip_prefix("-- ") {
            let twice = entries.insert(id.to_owned(), name.to_owned());
            assert_eq!(twice, None, "{id} is explained twice");
        }
    }
    entries
}

#[test]
fn the_catalog_explains_the_messages_of_the_table_and_no_others() {
    let table: BTreeMap<String, String> = message_id::ALL
        .iter()
        .map(|(name, id)| ((*id).to_owned(), (*name).to_owned()))
        .collect();
    assert_eq!(
        table.len(),
        message_id::ALL.len(),
        "an identity is there twice"
    );
    for id in table.keys() {
        let is_id = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
        assert!(
            is_id && *id == id.to_lowercase(),
            "{id} is none of sd_journal_print(3)"
        );
    }
    assert_eq!(explained(), table);
}

#[test]
fn journalctl_takes_the_catalog() {
    let root = tempfile::tempdir().unwrap();
    let catalogs = root.path().join("usr/lib/systemd/catalog");
    for directory in [&catalogs, &root.path().join("var/lib/systemd/catalog")] {
        fs::create_dir_all(directory).unwrap();
    }
    fs::copy(CATALOG, catalogs.join("sleepingd.catalog")).unwrap();
    journalctl(root.path(), "--update-catalog");
    let listed = journalctl(root.path(), "--list-catalog");
    let ids: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(ids, explained().keys().collect::<Vec<_>>(), "{listed}");
}

fn journalctl(root: &Path, what: &str) -> String {
    let mut command = Command::new("journalctl");
    let output = command.arg("--root").arg(root).arg(what).output();
    let output = output.expect("journalctl is where systemd is");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Waits for the message, which must have this identity.
#[track_caller]
fn is(daemon: &Daemon, message: &str, id: &str) {
    let entry = daemon.says(message);
    let field = format!("MESSAGE_ID={id}");
    assert!(
        entry.split('\t').any(|found| found == field),
        "{field} in {entry}"
    );
}

#[test]
fn the_journal_has_the_identities_of_what_is_worth_explaining() {
    if !with_own_run("catalog::the_journal_has_the_identities_of_what_is_worth_explaining") {
        return;
    }
    let stage = Stage::new();
    let (slow, quick, back) = (stage.address(), stage.address(), stage.address());
    let section = |more: &str| {
        format!(
            "[slow]\nPORT={slow}\nTARGET={}\nSTART_CMD={}\nSTART_CMD_TIMEOUT=100ms\n\
             [quick]\nPORT={quick}\nTARGET={back}\nSTART_CMD={}\nSTOP_CMD={}\nIDLE_TIME=300ms\n{more}",
            stage.address(),
            stage.cue("slow"),
            stage.cue("quick"),
            stage.cue("quick"),
        )
    };
    let daemon = stage.daemon_with_journal(&section(""));

    let client = connect(slow);
    stage.called("start").dies();
    is(
        &daemon,
        "START_CMD did not end",
        message_id::COMMAND_TIMED_OUT,
    );
    is(&daemon, "cannot be woken", message_id::WAKE_FAILED);
    is_reset(client);

    let client = std::thread::spawn(move || fetch(quick));
    let start = stage.called("start");
    let server = Server::greeting(back, "page");
    start.succeeds().ends();
    assert_eq!(client.join().unwrap(), "page");
    is(&daemon, "woken by", message_id::WOKEN);
    let stop = stage.called("stop");
    drop(server);
    stop.succeeds().ends();
    is(&daemon, "asleep; it took", message_id::ASLEEP);

    stage.configure(&section("PORT=x\n"));
    assert_eq!(daemon.ctl(&["reload"]).code, Some(78));
    is(&daemon, "not reloaded", message_id::CONFIGURATION_REJECTED);
    stage.configure(&section(""));
    assert_eq!(daemon.ctl(&["reload"]).code, Some(0));
    is(&daemon, "reloaded: ", message_id::RELOADED);
}
