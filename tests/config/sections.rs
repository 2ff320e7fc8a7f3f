//! Sections as a whole, several of them, and files of nonsense.

use super::*;

// === sections as a whole ===
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
        let loaded = config::parse(&[file("x.conf", text)], &[name.to_owned()]);
        assert_eq!(said(&loaded), [""; 0]);
        assert!(loaded.definitions[0].listen.is_empty());
    }
    let loaded = config::parse(&[file("x.conf", text)], &["web".to_owned()]);
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
    let loaded = config::parse(&files, &[]);
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

// === several sections ===
#[test]
fn two_sections_with_one_slug_are_an_error_that_names_both() {
    let loaded = config::parse(
        &[
            file("a.conf", "[My Web]\nPORT=1\nSTART_CMD=x\n"),
            file(
                "b.conf",
                "[my-web]\nPORT=2\nSTART_CMD=x\n[My Web]\nPORT=3\nSTART_CMD=x",
            ),
        ],
        &[],
    );
    assert_eq!(
        said(&loaded),
        [
            "b.conf:1: error: 'my-web' and 'My Web' (a.conf:1) have the same slug, 'my-web'",
            "b.conf:4: error: [My Web] is there twice, first as 'My Web' (a.conf:1)",
        ]
    );
    assert_eq!(loaded.definitions.len(), 1);
    assert_eq!(loaded.definitions[0].origin.file, Path::new("a.conf"));
}

#[test]
fn two_services_cannot_listen_on_one_address() {
    let clash = |a: &str, b: &str| {
        let text = format!("[a]\nPORT={a}\nSTART_CMD=x\n[b]\nPORT={b}\nSTART_CMD=x\n");
        let loaded = load(&text);
        let expected: &[&str] = if loaded.diagnostics.is_empty() {
            &["a", "b"]
        } else {
            &["a"]
        };
        assert_eq!(names(&loaded), expected);
        said(&loaded)
    };
    assert_eq!(
        clash("80", "81 127.0.0.1:80"),
        [
            "x.conf:5: error: PORT: 127.0.0.1:80 is taken by 'a' (x.conf:1) already, which \
             listens on *:80"
        ]
    );
    for (a, b) in [
        ("80", "80"),
        ("80", "0.0.0.0:80"),
        ("[::]:80", "80"),
        ("[::]:80", "[::1]:80"),
        ("0.0.0.0:80", "10.0.0.1:80"),
        ("/run/x", "/run/x"),
    ] {
        assert_eq!(clash(a, b).len(), 1, "{a} {b}");
        assert_eq!(clash(b, a).len(), 1, "{b} {a}");
    }
    for (a, b) in [
        ("80", "81"),
        ("[::]:80", "0.0.0.0:80"),
        ("127.0.0.1:80", "127.0.0.2:80"),
        ("[::1]:80", "127.0.0.1:80"),
        ("/run/x", "/run/y"),
    ] {
        assert_eq!(clash(a, b), [""; 0], "{a} {b}");
    }
    assert_eq!(
        complaints("[s]\nPORT=80 80\nPORT=10.0.0.1:80\nSTART_CMD=x"),
        [
            "x.conf:3: warning: PORT: *:80 is there twice",
            "x.conf:3: error: PORT: 10.0.0.1:80 and *:80 overlap",
        ]
    );
    assert_eq!(
        complaints("[a]\nSOCKET=s\nSTART_CMD=x\n[b]\nSTART_CMD=x\nSOCKET=s"),
        ["x.conf:6: error: SOCKET: 's' is taken by 'a' (x.conf:1) already"]
    );
}

#[test]
fn a_broken_section_takes_no_sound_one_with_it() {
    // The first is left out for its own fault, and the second could listen in its place.
    let loaded = load(
        "[a]\nPORT=80\nSTART_CMD=x\nUSER=a b\n[b]\nPORT=80\nSTART_CMD=x\n[c]\nPORT=80\nSTART_CMD=x",
    );
    assert_eq!(names(&loaded), ["b"]);
    assert_eq!(loaded.errors().count(), 3);
    // One that takes no part is in nobody's way.
    let loaded = load("[a]\nACTIVE=no\nPORT=80\n[b]\nPORT=80\nSTART_CMD=x");
    assert_eq!(said(&loaded), [""; 0]);
    assert_eq!(names(&loaded), ["b"]);
}

#[test]
fn what_is_wrong_in_a_section_that_takes_no_part_is_a_warning() {
    let loaded = load("[a]\nACTIVE=no\nPORT=x\nUNIT=y\njunk\n[b]\nPORT=80\nSTART_CMD=x");
    assert!(
        loaded
            .diagnostics
            .iter()
            .all(|d| d.severity == Severity::Warning)
    );
    assert_eq!(loaded.diagnostics.len(), 3);
    assert_eq!(names(&loaded), ["b"]);
    assert_eq!(loaded.broken, []);
}

#[test]
fn the_head_is_the_default_of_its_own_file() {
    let loaded = config::parse(
        &[
            file(
                "a.conf",
                "USER=alice\nWAKE_TIMEOUT=1\n[a]\nPORT=1\nSTART_CMD=x\n[b]\nPORT=2\nSTART_CMD=x\nUSER=bob\n",
            ),
            file("c.conf", "[c]\nPORT=3\nSTART_CMD=x\n"),
        ],
        &[],
    );
    assert_eq!(said(&loaded), [""; 0]);
    let users: Vec<Option<&str>> = loaded
        .definitions
        .iter()
        .map(|d| d.recipe.account.user.as_deref())
        .collect();
    assert_eq!(users, [Some("alice"), Some("bob"), None]);
    assert_eq!(loaded.definitions[1].policy.timeouts.wake, secs(1));
    assert_eq!(loaded.definitions[2].policy.timeouts.wake, secs(300));
}

#[test]
fn a_list_in_a_section_replaces_that_of_the_head() {
    let service = only("ALLOW=10.0.0.1\nALLOW=10.0.0.2\n[s]\nPORT=1\nSTART_CMD=x\nALLOW=::1\n");
    assert_eq!(service.policy.access.allow.to_string(), "::1/128");
}

#[test]
fn the_head_is_a_service_where_it_says_so() {
    let loaded = load("ACTIVE=yes\nPORT=1\nSTART_CMD=x\n[s]\nPORT=2\n");
    assert_eq!(said(&loaded), [""; 0]);
    assert_eq!(names(&loaded), ["x", "s"]);
    let loaded = load("PORT=1\nSTART_CMD=x\n");
    assert_eq!((loaded.definitions.len(), loaded.inactive.len()), (0, 0));
    // A section without PORT has that of the head, and both cannot.
    let loaded = load("ACTIVE=yes\nPORT=1\nSTART_CMD=x\n[s]\n");
    assert_eq!(
        said(&loaded),
        ["x.conf:4: error: PORT: *:1 is taken by 'x' (x.conf:1) already, which listens on *:1"]
    );
    let loaded = load("ACTIVE=yes\nUSER=a\n[s]\nPORT=2\nSTART_CMD=x");
    assert_eq!(
        said(&loaded),
        [
            "x.conf:1: warning: ACTIVE=yes before the first section makes no service of it \
             without PORT or SOCKET; these keys are defaults only"
        ]
    );
    assert_eq!(names(&loaded), ["s"]);
}

#[test]
fn a_bad_default_breaks_the_sections_that_have_it_and_is_reported_once() {
    let loaded = load(
        "USER=a b\n[a]\nPORT=1\nSTART_CMD=x\n[b]\nPORT=2\nSTART_CMD=x\nUSER=bob\n[c]\nPORT=3\nSTART_CMD=x\n",
    );
    assert_eq!(loaded.diagnostics.len(), 1);
    assert_eq!(names(&loaded), ["b"]);
    // A line that was to be a default of nobody knows what: `USER nobody`.
    let loaded = load("USER nobody\n[a]\nPORT=1\nSTART_CMD=x\n");
    assert_eq!((loaded.diagnostics.len(), loaded.definitions.len()), (1, 0));
}

// === hostile and damaged files ===
#[test]
fn no_bytes_make_it_panic() {
    let words: Vec<&str> = keys::ALL
        .iter()
        .map(|key| key.name)
        .chain([
            "=",
            "=",
            "=",
            "\n",
            "\n",
            "\n",
            "[a]\n",
            "[b]\n",
            "\"",
            "'",
            "80",
            "127.0.0.1:1",
            "10min",
            " ",
            "no",
            "\\",
            "é",
            "\u{fffd}",
        ])
        .collect();
    let seeds = std::env::var("SLEEPINGD_FUZZ_SEEDS")
        .ok()
        .and_then(|n| n.parse().ok());
    for seed in 0..seeds.unwrap_or(1000) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let text = if seed % 2 == 0 {
            let bytes: Vec<u8> = (0..rng.usize(0..300)).map(|_| rng.u8(..)).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        } else {
            (0..rng.usize(0..100))
                .map(|_| *rng.choice(&words).unwrap())
                .collect()
        };
        let loaded = load(&text);
        for definition in &loaded.definitions {
            assert!(!config::explain(definition).is_empty(), "seed {seed}");
        }
        for diagnostic in &loaded.diagnostics {
            assert!(
                !diagnostic.to_string().contains(char::is_control),
                "seed {seed}"
            );
        }
        // What is left out is told.
        assert!(
            loaded.broken.is_empty() || loaded.errors().count() > 0,
            "seed {seed}"
        );
    }
}

#[test]
fn a_file_of_nonsense_gives_a_bounded_number_of_complaints() {
    let loaded = load(&"x\n".repeat(500_000));
    assert_eq!(loaded.diagnostics.len(), 1001);
    assert_eq!(
        said(&loaded)[1000],
        "error: 499000 more errors and 0 more warnings are not shown"
    );
    let loaded = load(&"[a]\n".repeat(10_001));
    assert!(
        loaded
            .errors()
            .any(|d| d.message.starts_with("more than 10000 services")
                || d.message.contains("are not shown"))
    );
}

#[test]
fn files_survive_being_kept() {
    let kept = file("x.conf", "# \u{fffd}\n[s]\nPORT=\"1\n2\"\n");
    let json = serde_json::to_string(&kept).unwrap();
    assert_eq!(serde_json::from_str::<SourceFile>(&json).unwrap(), kept);
}

// === words about it ===
#[test]
fn a_service_is_explained_in_words() {
    let text = "[web]\nPORT=80 /run/web.sock\nSOCKET=extra\nTARGET=10.0.0.1:80 10.0.0.2:80\n\
                START_CMD=\"one\ntwo\"\nSTOP_CMD=stop\nIDLE_CMD=who\nIDLE_TIME=10min\n\
                IDLE_CHECK_INTERVAL=1min\nMIN_UPTIME=5min\nUSER=www\nALLOW=10.0.0.0/8\n\
                DENY=10.0.0.9\nIGNORE=10.0.0.8\nREADY_URL=http://10.0.0.1/\nMAX_CONNECTIONS=9\n\
                AUTO_START=yes\nSEND_PROXY=v2\nACCEPT_PROXY=10.1.0.0/16 unix\n";
    assert_eq!(
        config::explain(&only(text)),
        "web (x.conf:1)\n  \
         listens on *:80, /run/web.sock, and on the inherited sockets named extra\n  \
         lets in 10.0.0.0/8 and nobody else, but not 10.0.0.9/32; 10.0.0.8/32 neither wake it nor \
         keep it awake\n    \
         of 10.1.0.0/16 unix it wants a PROXY header within 3s, and goes by the address in it\n  \
         goes to 10.0.0.1:80, 10.0.0.2:80, at random\n    \
         if nobody answers there, a client that connects runs START_CMD: one\n    two\n    \
         woken when the daemon starts, too\n  \
         ready when the destination listens, http://10.0.0.1/ answers 200\n  \
         holds a client for 5m at most, 1024 of them at once; relays 9 at once\n  \
         gives up a connect after 3s, a half-closed one after 1m\n    \
         sends a PROXY header first, v2\n  \
         put to sleep after 10m without an open connection\n    \
         IDLE_CMD, every 1m: who\n    \
         but not within 5m of a wake\n    \
         STOP_CMD: stop\n  \
         commands run as user www in /, by /bin/bash where they need a shell\n"
    );
    let plain = config::explain(&only("[s]\nPORT=1\nTARGET=a:1\n"));
    assert!(
        plain.contains(
            "if nobody answers there, there is nothing to start, and the client is reset"
        ),
        "{plain}"
    );
    assert!(!plain.contains("commands run"), "{plain}");
}

#[test]
fn each_way_to_find_a_backend_has_its_own_words() {
    let explain = |lines: &str| config::explain(&only(&format!("[s]\nPORT=1\n{lines}")));
    let per = explain("START_CMD=x");
    assert!(
        per.contains("  every connection runs START_CMD: x\n    what it prints is where"),
        "{per}"
    );
    let told = explain("START_CMD=x\nCHECK_CMD=y\nWAKE_ON=data");
    assert!(
        told.contains(
            "  a client that has sent a byte runs CHECK_CMD: y\n    if that fails, it runs \
             START_CMD: x\n    what is printed is the destination\n"
        ),
        "{told}"
    );
    let fixed = explain("START_CMD=x\nCHECK_CMD=y\nTARGET=a:1");
    assert!(
        fixed.contains(
            "  goes to a:1\n    asleep if this fails, CHECK_CMD: y\n    if nobody answers there, \
             a client that connects runs START_CMD: x\n"
        ),
        "{fixed}"
    );
}
