//! `sleepingctl import`: what it writes runs as ynetd would run it, down to the words that a real
//! bash hands to the command; and what it says of what it cannot write.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::harness::{Ended, Server, Stage, fetch, run};

/// `sleepingctl import` with these arguments, in the directory of the stage.
fn import(stage: &Stage, arguments: &[&str]) -> Ended {
    let mut command = stage.command(env!("CARGO_BIN_EXE_sleepingctl"));
    command.arg("import").args(arguments);
    run(command.current_dir(stage.path(".")))
}

/// A program that writes down its arguments, and then asks this test what to do.
fn program(stage: &Stage) -> String {
    let (cue, argv) = (stage.path("cue"), stage.path("argv"));
    let text = format!(
        "#!/bin/bash\nprintf '%s\\0' \"$@\" > {}\nexec {} program\n",
        argv.display(),
        cue.display()
    );
    let program = stage.write("program", &text);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program.display().to_string()
}

/// The first client of an imported service starts its command with these words, and it is ended
/// when nobody has used it for as long as ynetd was told.
fn starts_with(words: &[&str]) {
    let stage = Stage::new();
    let (front, back) = (stage.address(), stage.address());
    let mut command = vec![program(&stage)];
    command.extend(words.iter().map(|&word| word.to_owned()));
    // Texts of JSON are texts of YAML.
    let command = serde_json::to_string(&command).unwrap();
    stage.write(
        "ynetd.yml",
        &format!(
            "services:\n- proxy: {{\"{front}\": \"{back}\"}}\n  command: {command}\n  \
             stop_after: 50ms\n  stop_signal: INT\n"
        ),
    );
    let imported = import(&stage, &["ynetd.yml"]);
    assert_eq!(imported.code, Some(0), "{imported:?}");
    assert_eq!(imported.stderr, "");
    let daemon = stage.daemon(&imported.stdout);
    let client = std::thread::spawn(move || fetch(front));
    let call = stage.called("command");
    let argv = fs::read_to_string(stage.path("argv")).unwrap();
    let argv: Vec<&str> = argv.split_terminator('\0').collect();
    assert_eq!(argv, words, "{}", imported.stdout);
    call.does("exec sleep 1000");
    let _server = Server::greeting(back, "page");
    assert_eq!(client.join().unwrap(), "page");
    daemon.says("asleep; ");
}

#[test]
fn plain_words_reach_the_command_as_they_were() {
    starts_with(&["-a", "b", "--c=d"]);
    starts_with(&["plain"]);
}

#[test]
fn odd_words_reach_the_command_as_they_were() {
    starts_with(&[
        "",
        "two words",
        "it's",
        "\"quoted\"",
        "'",
        "$HOME",
        "`id`",
        "\\n",
        "#",
        "a;b&c|d",
        "*",
        "~",
        "{a,b}",
        "!1",
        "new\nline",
        "tab\tand\u{7}bell\u{1b}[0m",
        "\r",
        "\u{fffd}\u{85}\u{a0}é日本",
        " blank ",
        "\\'\n",
        "%s\\0",
        "\n[section]\nPORT=1\n",
    ]);
}

#[test]
fn what_cannot_be_imported_leaves_nothing_on_standard_output() {
    let stage = Stage::new();
    stage.write(
        "bad.yml",
        "services:\n- proxy: {\":80\": \"b:80\"}\n  timeout: 10\n",
    );
    let ended = import(&stage, &["bad.yml"]);
    assert_eq!((ended.code, &*ended.stdout), (Some(78), ""), "{ended:?}");
    let said = "bad.yml:3: error: timeout: '10' has no unit";
    assert!(ended.stderr.starts_with(said), "{ended:?}");

    let ended = import(&stage, &["--", "-proxy", ":80", "cmd"]);
    assert_eq!((ended.code, &*ended.stdout), (Some(78), ""), "{ended:?}");
    let said = "error: -proxy: ':80' has an odd number of addresses";
    assert!(ended.stderr.starts_with(said), "{ended:?}");

    let ended = import(&stage, &["--", "-no-such-option"]);
    assert_eq!((ended.code, &*ended.stdout), (Some(78), ""), "{ended:?}");
    assert!(
        ended.stderr.contains("no option '-no-such-option'"),
        "{ended:?}"
    );

    let ended = import(&stage, &["missing.yml"]);
    assert_eq!((ended.code, &*ended.stdout), (Some(78), ""), "{ended:?}");
    assert!(
        ended.stderr.contains("cannot read missing.yml: No such"),
        "{ended:?}"
    );

    stage.write("large.yml", &"#\n".repeat(1 << 20));
    let ended = import(&stage, &["large.yml"]);
    assert!(ended.stderr.contains("larger than 1024 KiB"), "{ended:?}");
    fs::write(stage.path("latin.yml"), b"# \xe9\n").unwrap();
    let ended = import(&stage, &["latin.yml"]);
    assert!(ended.stderr.contains("not UTF-8"), "{ended:?}");

    assert_eq!(import(&stage, &[]).code, Some(64));
    assert_eq!(import(&stage, &["--no-such-option"]).code, Some(64));
}

#[test]
fn a_file_is_found_where_ynetd_would_find_it_and_warnings_go_to_standard_error() {
    let stage = Stage::new();
    stage.write(
        "ynetd.yml",
        "services:\n- proxy: {\":80\": \"b:80\"}\n  stop_after: 10m\n",
    );
    let ended = import(
        &stage,
        &["--", "-config", "ynetd.yml", "-proxy", ":81 b:81"],
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        ended.stderr,
        "ynetd.yml:3: warning: stop_after: this does nothing without a command; left out\n"
    );
    let headers = ended.stdout.lines().filter(|line| line.starts_with('['));
    assert_eq!(headers.collect::<Vec<_>>(), ["[port-80]", "[port-81]"]);
    // A path that is valid elsewhere gives way to the one that is given.
    let given = [
        "ynetd.yml",
        "--",
        "-config",
        "/nowhere",
        "-proxy",
        ":81 b:81",
    ];
    assert_eq!(import(&stage, &given).stdout, ended.stdout);
}
