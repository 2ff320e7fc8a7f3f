//! A section as a whole: what it lacks, where it leads, what it is called.

use super::*;

#[test]
fn all_errors_come_at_once_and_in_order() {
    let loaded = config::parse(
        &[
            file(
                "a.conf",
                "WAKE_TIMEOUT=x\njunk\n[one]\nPORT=0\nTARGET=x\n[two]\n???\n",
            ),
            file(
                "b.conf",
                "[three]\nPORT=1\n[four]\nTARGET=a:1\nNAME=\n[five]\nPORT=2\nSTART_CMD=x",
            ),
        ],
        &[],
        Scope::System,
    );
    assert_eq!(
        said(&loaded),
        [
            "a.conf:1: error: WAKE_TIMEOUT: 'x' is not a duration; write 90 (seconds), 500ms, \
             10min or 1h 30min",
            "a.conf:2: error: 'junk' is neither a [section], a KEY=VALUE nor a # comment",
            "a.conf:4: error: PORT: '0' is not a port from 1 to 65535",
            "a.conf:5: error: TARGET: 'x' has no port; write HOST:PORT",
            "a.conf:7: error: '???' is neither a [section], a KEY=VALUE nor a # comment",
            "b.conf:1: error: 'three' can never reach a destination: it has no TARGET, no \
             START_CMD and no CHECK_CMD",
            "b.conf:3: error: 'four' listens nowhere: it has neither PORT nor SOCKET, unless \
             systemd hands over a socket named 'four'; check with --socket four",
            "b.conf:5: warning: unknown key 'NAME', ignored",
        ]
    );
    assert_eq!(names(&loaded), ["five"]);
    let broken: Vec<&str> = loaded.broken.iter().map(|name| name.as_str()).collect();
    assert_eq!(broken, ["one", "two", "three", "four"]);
}

#[test]
fn a_section_may_have_nothing_but_inherited_sockets() {
    let text = "[My Web]\nSTART_CMD=x\n";
    for name in ["My Web", "my-web"] {
        let loaded = config::parse(&[file("x.conf", text)], &[name.to_owned()], Scope::System);
        assert_eq!(said(&loaded), [""; 0]);
        assert!(loaded.definitions[0].listen.is_empty());
    }
    let loaded = config::parse(&[file("x.conf", text)], &["web".to_owned()], Scope::System);
    assert_eq!(
        said(&loaded),
        [
            "x.conf:1: error: 'My Web' listens nowhere: it has neither PORT nor SOCKET, and no \
             inherited socket is named 'My Web' or 'my-web'"
        ]
    );
    assert_eq!(
        complaints(text),
        [
            "x.conf:1: error: 'My Web' listens nowhere: it has neither PORT nor SOCKET, unless \
             systemd hands over a socket named 'My Web' or 'my-web'; check with --socket my-web"
        ]
    );
    assert_eq!(only("[x]\nSOCKET=a\nSTART_CMD=x").sockets, ["a"]);
}

#[test]
fn services_cannot_lead_to_one_another_in_a_circle() {
    let circle = "the way goes in a circle";
    let end = "one client would become thousands";
    let two = "[a]\nPORT=127.0.0.1:1\nTARGET=127.0.0.1:2\n[b]\nPORT=127.0.0.1:2\n\
               TARGET=127.0.0.1:1\n[free]\nPORT=3\nTARGET=127.0.0.1:1\n";
    let loaded = load(two);
    assert_eq!(
        said(&loaded),
        [format!(
            "x.conf:3: error: TARGET: {circle}, 'a' (x.conf:1) -> 'b' (x.conf:4) -> 'a': {end}"
        )]
    );
    assert_eq!(names(&loaded), ["free"]);

    // Over a wildcard, a name, a path, one of several, and two files.
    let files = [
        file("a.conf", "[a]\nPORT=1\nTARGET=10.9.9.9:1 localhost:2\n"),
        file(
            "b.conf",
            "[c]\nPORT=/run/c\nTARGET=[::1]:1\n[b]\nPORT=0.0.0.0:2\nTARGET=/run/c\n",
        ),
    ];
    let loaded = config::parse(&files, &[], Scope::System);
    assert_eq!(
        said(&loaded),
        [format!(
            "a.conf:3: error: TARGET: {circle}, 'a' (a.conf:1) -> 'b' (b.conf:4) -> \
             'c' (b.conf:1) -> 'a': {end}"
        )]
    );
    assert_eq!(names(&loaded), [""; 0]);
}

#[test]
fn a_chain_of_services_is_no_circle() {
    for text in [
        "[a]\nPORT=1\nTARGET=127.0.0.1:2\n[b]\nPORT=2\nTARGET=127.0.0.1:3\n",
        // Nobody knows whose address that is.
        "[a]\nPORT=1\nTARGET=10.0.0.1:2\n[b]\nPORT=2\nTARGET=10.0.0.1:1\n",
        "[a]\nPORT=1\nTARGET=127.0.0.1:2\n[b]\nACTIVE=no\nPORT=2\nTARGET=127.0.0.1:1\n",
    ] {
        assert_eq!(complaints(text), [""; 0], "{text}");
    }
}

#[test]
fn a_circle_that_a_broken_section_closes_is_said_and_leaves_the_sound_ones() {
    let loaded =
        load("[a]\nPORT=1\nTARGET=127.0.0.1:2\n[b]\nPORT=2\nTARGET=127.0.0.1:1\nIDLE_TIME=soon\n");
    let said = said(&loaded);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("in a circle"), "{said:?}");
    assert!(
        said[1].starts_with("x.conf:7: error: IDLE_TIME"),
        "{said:?}"
    );
    assert_eq!(names(&loaded), ["a"]);
}

#[test]
fn a_service_cannot_be_its_own_destination() {
    let table = [
        ("80", "127.0.0.1:80", true),
        ("80", "[::1]:80", true),
        ("80", "localhost:80", true),
        ("127.0.0.1:80", "127.0.0.1:80", true),
        ("127.0.0.1:80", "localhost:80", true),
        ("10.0.0.1:80", "10.0.0.1:80", true),
        ("/run/x", "a:1 /run/x", true),
        ("0.0.0.0:80", "[::1]:80", false),
        ("127.0.0.1:80", "127.0.0.2:80", false),
        ("10.0.0.1:80", "127.0.0.1:80", false),
        // It may be another machine.
        ("80", "10.0.0.1:80", false),
        ("80", "web.example:80", false),
        ("80", "127.0.0.1:81", false),
    ];
    for (port, target, itself) in table {
        let said = complaints(&format!("[s]\nPORT={port}\nTARGET={target}"));
        assert_eq!(said.len(), usize::from(itself), "{port} {target}: {said:?}");
        if itself {
            assert!(said[0].starts_with("x.conf:3: error: TARGET: "), "{said:?}");
            assert!(said[0].contains("where 's' listens itself"), "{said:?}");
        }
    }
}

#[test]
fn idle_sleep_that_cannot_be_is_pointed_out() {
    let warn = |lines: &str| {
        let loaded = load(&format!("[s]\n{SOUND}{lines}\n"));
        assert_eq!(names(&loaded), ["s"]);
        said(&loaded)
    };
    assert_eq!(
        warn("IDLE_TIME=10"),
        [
            "x.conf:4: warning: IDLE_TIME does nothing without STOP_CMD: there is no way to put \
             the backend to sleep"
        ]
    );
    assert_eq!(
        warn("STOP_CMD=x\nIDLE_TIME=10\nIDLE_CMD=who"),
        [
            "x.conf:6: warning: IDLE_CMD without IDLE_CHECK_INTERVAL switches idle sleep off: the \
             service is never put to sleep"
        ]
    );
    assert_eq!(
        warn("STOP_CMD=x\nIDLE_CMD=who\nIDLE_CHECK_INTERVAL=5"),
        [
            "x.conf:5: warning: IDLE_CMD does nothing without IDLE_TIME: the service is never put \
             to sleep"
        ]
    );
    assert_eq!(
        warn("AUTO_START=yes"),
        [
            "x.conf:4: warning: AUTO_START does nothing here: START_CMD runs for every \
             connection, as there is neither TARGET nor CHECK_CMD"
        ]
    );
    let loaded = load(&format!(
        "[s]\n{SOUND}STOP_CMD=x\nIDLE_TIME=1\nIDLE_ON=command\n"
    ));
    assert_eq!(
        said(&loaded),
        ["x.conf:6: error: IDLE_ON=command needs an IDLE_CMD to decide"]
    );
    // A default for many is no mistake in the one that has nothing to stop.
    only("IDLE_TIME=10min\n[s]\nPORT=1\nTARGET=a:1\n");
    // A plain forwarder.
    only("[s]\nPORT=1\nTARGET=a:1\n");
}

#[test]
fn names_that_nothing_can_be_called_by_are_errors() {
    let first = |name: &str| complaints(&format!("[{name}]\n{SOUND}"))[0].clone();
    assert_eq!(
        first("日本"),
        "x.conf:1: error: '日本' has no letter or digit of ASCII to name files by"
    );
    assert_eq!(
        first("a\u{1b}[31m"),
        r"x.conf:1: error: 'a\u{1b}[31m' has control characters in it"
    );
    let long = "x".repeat(129);
    assert_eq!(
        first(&long),
        format!("x.conf:1: error: '{long}' is too long for a name: at most 128 bytes")
    );
    assert_eq!(only(&format!("[Mé]\n{SOUND}")).slug.as_str(), "m");
}
