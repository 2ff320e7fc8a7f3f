//! Every example in ynetd's documentation, there and back: imported, read by our parser, and
//! compared with what ynetd would do.

use super::*;

/// The model, as far as ynetd has a say in it.
#[derive(Debug, PartialEq, Eq)]
struct Does {
    name: &'static str,
    from: &'static str,
    to: &'static str,
    argv: &'static [&'static str],
    auto_start: bool,
    idle: Option<Duration>,
    signal: &'static str,
    wake: Duration,
    pause: Duration,
}

/// What ynetd does where nothing is said.
const USUAL: Does = Does {
    name: "",
    from: "",
    to: "",
    argv: &[],
    auto_start: false,
    idle: None,
    signal: "SIGTERM",
    wake: Duration::from_secs(300),
    pause: Duration::ZERO,
};

#[track_caller]
fn does(definition: &Definition, expected: &Does) {
    let said = |text: &str| text.to_owned();
    let shown = |all: Vec<String>| all.join(" ");
    let listen = definition.listen.iter().map(ToString::to_string).collect();
    let targets = definition.targets.iter().map(ToString::to_string).collect();
    assert_eq!(definition.name.as_str(), expected.name);
    assert_eq!(shown(listen), said(expected.from));
    assert_eq!(shown(targets), said(expected.to));
    let policy = &definition.policy;
    assert_eq!(policy.idle.after, expected.idle);
    assert_eq!(policy.timeouts.wake, Some(expected.wake));
    assert_eq!(policy.timeouts.after_start, expected.pause);
    assert_eq!(definition.auto_start, expected.auto_start);
    let Some(supervised) = &definition.recipe.command else {
        assert_eq!(expected.argv, [""; 0], "there is no command");
        return;
    };
    assert_eq!(supervised.stop.signal.to_string(), expected.signal);
    match supervised.command.execution() {
        Execution::Program(words) => assert_eq!(words, expected.argv),
        // Nothing in these examples needs quotes.
        Execution::Shell(text) => {
            assert_eq!(text, format!("exec {}", expected.argv.join(" ")));
        }
        Execution::Ourselves(_) => panic!("{supervised:?}"),
    }
}

fn one(imported: Result<Imported, Refused>, expected: &Does) {
    let definitions = definitions(imported);
    assert_eq!(definitions.len(), 1);
    does(&definitions[0], expected);
}

#[test]
fn the_one_line_that_ynetd_is_for() {
    let arguments = words(&["-proxy", ":8080 localhost:8081", "cmd", "arg..."]);
    let expected = Does {
        name: "cmd",
        from: "*:8080",
        to: "localhost:8081",
        argv: &["cmd", "arg..."],
        ..USUAL
    };
    one(import(None, &arguments), &expected);
}

#[test]
fn a_plain_forwarder() {
    let arguments = words(&["-proxy", "localhost:5001 remote.host:8080"]);
    let expected = Does {
        name: "port-5001",
        from: "127.0.0.1:5001",
        to: "remote.host:8080",
        ..USUAL
    };
    one(import(None, &arguments), &expected);
}

/// The table of options, each of them given.
#[test]
fn every_option_of_the_command_line() {
    let arguments = words(&[
        "-auto-start",
        "-proxy",
        ":5000+localhost:5001",
        "-proxy-sep",
        "+",
        "-stop-after",
        "10m",
        "-stop-signal",
        "INT",
        "-timeout",
        "10s",
        "-wait-after-start",
        "2s",
        "/usr/bin/some",
        "-x",
        "service",
    ]);
    let expected = Does {
        name: "some",
        from: "*:5000",
        to: "localhost:5001",
        argv: &["/usr/bin/some", "-x", "service"],
        auto_start: true,
        idle: Some(Duration::from_secs(600)),
        signal: "SIGINT",
        // Both, one after the other.
        wake: Duration::from_secs(12),
        pause: Duration::from_secs(2),
    };
    one(import(None, &arguments), &expected);
}

/// That of the documentation, of whose two ports one is left.
#[test]
fn the_file_with_one_of_its_ports() {
    let imported = of_file(
        "---\nservices:\n  -\n    auto_start: true\n    proxy:\n      \":5000\": \"localhost:5001\"\n    \
         command:\n      - run\n      - some\n      - service\n    stop_after: 10m\n    \
         stop_signal: INT\n    timeout: 10s\n    wait_after_start: 2s\n",
    );
    let expected = Does {
        name: "run",
        from: "*:5000",
        to: "localhost:5001",
        argv: &["run", "some", "service"],
        auto_start: true,
        idle: Some(Duration::from_secs(600)),
        signal: "SIGINT",
        wake: Duration::from_secs(12),
        pause: Duration::from_secs(2),
    };
    one(imported, &expected);
}

#[test]
fn a_file_and_a_command_line_are_taken_together() {
    let text = "services:\n  - {proxy: {\":3000\": \"localhost:4000\"}, command: [sleep, 1]}\n";
    let arguments = words(&[
        "-config",
        "ynetd.yml",
        "-proxy",
        ":3001 localhost:4001",
        "sleep",
        "2",
    ]);
    assert_eq!(arguments.config(), Some("ynetd.yml".into()));
    let definitions = definitions(import(Some(&file(text)), &arguments));
    assert_eq!(definitions.len(), 2);
    let first = Does {
        name: "sleep",
        from: "*:3000",
        to: "localhost:4000",
        argv: &["sleep", "1"],
        ..USUAL
    };
    does(&definitions[0], &first);
    let second = Does {
        name: "sleep-2",
        from: "*:3001",
        to: "localhost:4001",
        argv: &["sleep", "2"],
        ..USUAL
    };
    does(&definitions[1], &second);
}

/// An example whose sections need something that our parser has not learnt yet.
struct Waiting {
    what: &'static str,
    arguments: &'static [&'static str],
    file: &'static str,
    /// The lines that say it.
    lines: &'static [&'static str],
}

/// Whoever teaches the parser one of these moves it up, and says what the model is then.
const WAITING: &[Waiting] = &[
    Waiting {
        what: "the file of the documentation",
        arguments: &[],
        file: "---\nservices:\n  -\n    auto_start: true\n    proxy:\n      \":5000\": \
               \"localhost:5001\"\n      \"localhost:6543\": \"localhost:7654\"\n    command:\n      \
               - run\n      - some\n      - service\n    stop_after: 10m\n    stop_signal: INT\n    \
               timeout: 10s\n    wait_after_start: 2s\n",
        lines: &[
            "PROXY=:5000 localhost:5001",
            "PROXY=localhost:6543 localhost:7654",
        ],
    },
    Waiting {
        what: "several pairs on the command line",
        arguments: &["-proxy", "from:1 to:2 from2:3 to2:4"],
        file: "",
        lines: &["PROXY=from:1 to:2", "PROXY=from2:3 to2:4"],
    },
    Waiting {
        what: "the addresses of an interface",
        arguments: &["-proxy", "interface:eth0:5000 localhost:5000"],
        file: "",
        lines: &["PORT=interface:eth0:5000", "TARGET=localhost:5000"],
    },
    Waiting {
        what: "a destination that a command says",
        arguments: &[
            "-proxy",
            "localhost:5000 exec:/usr/local/bin/current-tunnel-address",
        ],
        file: "",
        lines: &[
            "PORT=localhost:5000",
            "TARGET=exec:/usr/local/bin/current-tunnel-address",
        ],
    },
    Waiting {
        what: "a host name to listen on",
        arguments: &["-proxy", "my.host:5000 localhost:5001"],
        file: "",
        lines: &["PORT=my.host:5000", "TARGET=localhost:5001"],
    },
];

#[test]
fn what_waits_for_the_parser_is_written_and_refused_until_then() {
    for waiting in WAITING {
        let source = file(waiting.file);
        let source = Some(&source).filter(|file| !file.text.is_empty());
        let (text, refused) = unchecked(source, &words(waiting.arguments));
        for line in waiting.lines {
            assert!(
                text.lines().any(|own| own == *line),
                "{}:\n{text}",
                waiting.what
            );
        }
        let refused = refused.expect_err(waiting.what);
        for error in &refused.diagnostics {
            let error = error.to_string();
            assert!(
                error.contains("sleepingd would refuse this")
                    && error.contains("not supported yet"),
                "{}: {error}",
                waiting.what
            );
        }
    }
}

/// What is written, and what the parser says of it.
fn unchecked(
    file: Option<&SourceFile>,
    arguments: &Arguments,
) -> (String, Result<Imported, Refused>) {
    let mut findings = Findings::new(file);
    let sections = sections_of(file, arguments, &mut findings);
    assert!(!findings.refused);
    (sections.text, import(file, arguments))
}
