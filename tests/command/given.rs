//! What a command is given.

use std::{
    collections::HashMap, fs, io::Write, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path,
    sync::Arc,
};

use nix::{
    fcntl::{FcntlArg, fcntl},
    unistd::{User, geteuid, getgrouplist},
};
use sleepingd::model::{
    Account, Action, ClientAddr, CommandRequest, Environment, LocalAddr, Recipe,
};

use super::rig::{first_line, not_started, outcome, pids, recipe, request, run, run_with, runner};

#[tokio::test]
async fn a_command_has_three_descriptors_and_no_more() {
    // One that somebody forgot to mark.
    let leak = fs::File::open("/dev/null").unwrap();
    let leak = fcntl(&leak, FcntlArg::F_DUPFD(100)).unwrap();
    // Taken over, so that it is closed at the end.
    let check = run(
        Action::Check,
        "for fd in /proc/self/fd/*; do printf '%s ' ${fd##*/}; done; readlink /proc/self/fd/0",
    )
    .await;
    nix::unistd::close(leak).unwrap();
    // 3 is the shell's own, on /proc/self/fd itself.
    assert_eq!(first_line(&check), "0 1 2 3 /dev/null");
}

#[tokio::test]
async fn outputs_can_be_opened_by_name() {
    let check = run(
        Action::Check,
        "echo out > /dev/stdout; echo err > /dev/stderr",
    )
    .await;
    assert_eq!(
        (first_line(&check), check.stderr_tail.as_slice()),
        ("out", &["err".to_owned()][..])
    );
}

#[tokio::test]
async fn signals_are_at_their_defaults_and_none_is_blocked() {
    for set in ["SigIgn", "SigBlk"] {
        let check = run(Action::Check, &format!("/bin/grep {set} /proc/self/status")).await;
        assert_eq!(first_line(&check), format!("{set}:\t0000000000000000"));
    }
}

#[tokio::test]
async fn a_command_leads_a_group_of_its_own() {
    let check = run(
        Action::Check,
        "echo $$ $(ps -o pgid= $$ 2>/dev/null || cut -d' ' -f5 /proc/$$/stat)",
    )
    .await;
    let ids = pids(&check);
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test]
async fn the_umask_is_022_and_the_directory_the_root() {
    assert_eq!(
        first_line(&run(Action::Check, "echo $(umask) $(pwd)").await),
        "0022 /"
    );
    let there = tempfile::tempdir().unwrap();
    let directory = there.path().to_owned();
    let check = run_with("pwd", |recipe| recipe.working_directory = directory.clone()).await;
    assert_eq!(Path::new(first_line(&check)), directory);
    let check = run_with("pwd", |recipe| {
        recipe.working_directory = "-/nonexistent".into()
    })
    .await;
    assert_eq!(first_line(&check), "/");
}

/// Prints its environment; everything that is put into one is there.
fn prints_its_environment(file: &Path) -> CommandRequest {
    let recipe = Recipe {
        environment: Environment {
            variables: vec![
                ("SAID".to_owned(), "key".to_owned()),
                ("OWN".to_owned(), "$HOME".to_owned()),
            ],
            files: vec![(file.to_owned(), false), ("/nonexistent".into(), true)],
        },
        ..recipe()
    };
    let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
    CommandRequest {
        recipe: Arc::new(recipe),
        destination: Some("127.0.0.1:8080".parse().unwrap()),
        client: Some((
            ClientAddr::tcp(addr("[2001:db8::1]:4711")),
            LocalAddr::tcp(addr("192.0.2.1:80")),
        )),
        // Its output has no newline, so all of it is one line.
        ..request(Action::Check, "/usr/bin/env -0")
    }
}

#[tokio::test]
async fn the_environment_is_ours_and_nothing_else() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"# c\nFROM_FILE='a b'\nSAID=file\nREMOTE_ADDR=forged\n")
        .unwrap();
    let request = prints_its_environment(file.path());
    let check = outcome(runner().run(request)).await;
    let me = User::from_uid(geteuid()).unwrap().unwrap();
    let home = me.dir.display().to_string();
    let path = std::env::var("PATH").unwrap();
    let mut expected = HashMap::from([
        ("PATH", path.as_str()),
        ("HOME", &home),
        ("USER", &me.name),
        ("LOGNAME", &me.name),
        ("SHELL", me.shell.to_str().unwrap()),
        ("SAID", "file"),
        ("OWN", "$HOME"),
        ("FROM_FILE", "a b"),
        ("SLEEPINGD_SERVICE", "My Web"),
        ("SLEEPINGD_SLUG", "my-web"),
        ("SLEEPINGD_ACTION", "check"),
        ("SLEEPINGD_DESTINATION", "127.0.0.1:8080"),
        ("SLEEPINGD_LOCAL_ADDR", "192.0.2.1"),
        ("SLEEPINGD_LOCAL_PORT", "80"),
        ("REMOTE_ADDR", "2001:db8::1"),
        ("REMOTE_PORT", "4711"),
        (
            "SOCAT_PEERADDR",
            "[2001:0db8:0000:0000:0000:0000:0000:0001]",
        ),
        ("SOCAT_PEERPORT", "4711"),
        ("SOCAT_SOCKADDR", "192.0.2.1"),
        ("SOCAT_SOCKPORT", "80"),
    ]);
    let lang = std::env::var("LANG");
    if let Ok(lang) = &lang {
        expected.insert("LANG", lang);
    }
    // Where the user's own managers are: we are that user here.
    let of_the_user = ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"]
        .map(|name| (name, std::env::var(name).ok()));
    for (name, value) in &of_the_user {
        expected.extend(value.as_deref().map(|value| (*name, value)));
    }
    let found: HashMap<&str, &str> = first_line(&check)
        .split_terminator('\0')
        .map(|variable| variable.split_once('=').unwrap())
        .collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn a_command_becomes_its_user_with_all_groups_of_it() {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let games = User::from_name("games").unwrap().unwrap();
    let text = "echo $(id -u) $(id -g) $(id -G) $HOME $USER; echo err > /dev/stderr";
    let account = |user: &str, group: Option<&str>| Account {
        user: Some(user.to_owned()),
        group: group.map(str::to_owned),
    };
    let check = run_with(text, |recipe| recipe.account = account("games", None)).await;
    let groups = getgrouplist(c"games", games.gid).unwrap();
    let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
    let home = games.dir.display();
    let expected = format!(
        "{} {} {} {home} games",
        games.uid,
        games.gid,
        groups.join(" ")
    );
    assert_eq!(first_line(&check), expected);
    assert_eq!(check.stderr_tail, ["err"], "its own output, opened by name");

    let check = run_with("echo $(id -u) $(id -g)", |recipe| {
        recipe.account = account("games", Some("daemon"));
    })
    .await;
    assert_eq!(first_line(&check), format!("{} 1", games.uid));
    let check = run_with("echo $(id -u) $(id -G) ${USER-nobody}", |recipe| {
        recipe.account = account("3999999999", Some("54321"));
    })
    .await;
    assert_eq!(first_line(&check), "3999999999 54321 nobody");
}

#[tokio::test]
async fn a_directory_is_entered_as_the_user() {
    if !geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let check = run_with("pwd", |recipe| {
        recipe.account.user = Some("games".to_owned());
        recipe.working_directory = closed.path().to_owned();
    })
    .await;
    let why = not_started(&check);
    assert!(
        why.contains("WORKING_DIRECTORY") && why.contains("Permission denied"),
        "{why}"
    );
}
