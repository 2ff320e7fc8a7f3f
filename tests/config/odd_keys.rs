//! Keys that are not there, not there yet, in the wrong place, or there twice.

use super::*;

#[test]
fn what_is_not_supported_yet_is_refused_and_what_asks_for_nothing_is_not() {
    let planned = [("PROXY", "80 a:1"), ("PASS_LISTENER", "yes")];
    let table = keys::ALL
        .iter()
        .filter(|k| matches!(k.support, keys::Support::NotYet(_)));
    assert_eq!(
        table.map(|k| k.name).collect::<Vec<_>>(),
        planned.map(|(key, _)| key)
    );
    for (key, value) in planned {
        // Where they may stand, and without a word about what lacks because of them.
        let (head, section) = match keys::find(key).unwrap().place {
            keys::Place::Head => (format!("{key}={value}"), String::new()),
            keys::Place::Anywhere => (String::new(), format!("{key}={value}")),
        };
        let line = if head.is_empty() { 3 } else { 1 };
        let loaded = load(&format!("{head}\n[s]\n{section}\n{SOUND}"));
        assert_eq!(
            said(&loaded),
            [format!("x.conf:{line}: error: {key} is not supported yet")]
        );
        assert_eq!(loaded.definitions.len(), 0);
        for nothing in ["", keys::find(key).unwrap().default] {
            if head.is_empty() {
                with(&format!("{key}={nothing}"));
            } else {
                only(&format!("{key}={nothing}\n[s]\n{SOUND}"));
            }
        }
    }
    with("PASS_LISTENER=false\nUNIT=no\nCONTAINER=no");
}

#[test]
fn one_unsupported_key_is_one_error() {
    for line in ["PROXY=80 a:1", "PASS_LISTENER=yes\nPORT=1\nSTART_CMD=x"] {
        let said = complaints(&format!("[s]\n{line}\n"));
        assert_eq!(said.len(), 1, "{said:?}");
    }
}

#[test]
fn exit_idle_time_is_a_time_and_the_last_file_that_says_it_counts() {
    let exit = |value: &str| load(&format!("EXIT_IDLE_TIME={value}\n[s]\n{SOUND}")).exit_idle;
    assert_eq!(exit("90"), Some(Duration::from_secs(90)));
    for never in ["0", "", "infinity"] {
        assert_eq!(exit(never), None, "{never}");
    }
    assert_eq!(load(&format!("[s]\n{SOUND}")).exit_idle, None);
    let files = ["EXIT_IDLE_TIME=5\n", "", "EXIT_IDLE_TIME=\n"].map(|text| SourceFile {
        path: "x.conf".into(),
        text: text.to_owned(),
    });
    assert_eq!(
        config::parse(&files[..2], &[], Scope::System).exit_idle,
        Some(Duration::from_secs(5))
    );
    // Blank takes it back.
    assert_eq!(config::parse(&files, &[], Scope::System).exit_idle, None);
}

#[test]
fn threads_are_a_number_and_the_last_file_counts() {
    for (value, threads) in [("1", 1), (" 256 ", 256)] {
        let loaded = load(&format!("THREADS={value}\n[s]\n{SOUND}"));
        assert_eq!(loaded.threads.map(std::num::NonZero::get), Some(threads));
    }
    assert_eq!(load(&format!("THREADS=\n[s]\n{SOUND}")).threads, None);
    for value in ["0", "257", "+2", "two", "infinity"] {
        let loaded = load(&format!("THREADS={value}\n[s]\n{SOUND}"));
        let message = format!("x.conf:1: error: THREADS: '{value}' is not a number from 1 to 256");
        assert_eq!(said(&loaded), [message]);
    }
    let files = ["THREADS=2\n", "", "THREADS=3\n", ""].map(|text| SourceFile {
        path: "x.conf".into(),
        text: text.to_owned(),
    });
    let last = sleepingd::config::parse(&files, &[], Scope::System)
        .threads
        .map(std::num::NonZero::get);
    assert_eq!(last, Some(3));
}

#[test]
fn keys_of_the_daemon_belong_before_the_first_section() {
    for key in ["EXIT_IDLE_TIME", "THREADS"] {
        assert_eq!(
            complaints(&format!("[s]\n{SOUND}{key}=\n")),
            [format!(
                "x.conf:4: error: {key} is about the daemon and belongs before the first section"
            )]
        );
    }
}

#[test]
fn an_unknown_key_is_a_warning_that_names_the_nearest() {
    let loaded = load(&format!("[s]\n{SOUND}PROT=80\nQUUXBAR=1\n"));
    assert_eq!(
        said(&loaded),
        [
            "x.conf:4: warning: unknown key 'PROT', ignored; is PORT meant?",
            "x.conf:5: warning: unknown key 'QUUXBAR', ignored",
        ]
    );
    assert_eq!(names(&loaded), ["s"]);
    assert_eq!((loaded.errors().count(), loaded.warnings().count()), (0, 2));
}

#[test]
fn a_key_that_is_there_twice_is_a_warning_and_the_last_one_counts() {
    let loaded = load(&format!("[s]\n{SOUND}USER=a\nuser=b\n"));
    assert_eq!(
        said(&loaded),
        ["x.conf:5: warning: USER is here for the second time, after line 4; the last one counts"]
    );
    assert_eq!(
        loaded.definitions[0].recipe.account.user.as_deref(),
        Some("b")
    );
}
