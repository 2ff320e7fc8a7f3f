//! Several sections, and the head before them.

use super::*;

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
        Scope::System,
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
    let loaded = load("[a]\nACTIVE=no\nPORT=x\nPROXY=1 a:2\njunk\n[b]\nPORT=80\nSTART_CMD=x");
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
        Scope::System,
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
