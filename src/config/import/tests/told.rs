//! What is said of what cannot be taken over: errors with their line, warnings, comments.

use super::*;

#[test]
fn what_ynetd_refuses_is_an_error_that_says_where() {
    for (text, said) in [
        (
            "services:\n- proxy: {a: b}\n",
            "2: error: proxy: 'a' has no port",
        ),
        ("services:\n- {}\n", "2: error: this service has no proxy"),
        ("services:\n-\n", "2: error: this service has no proxy"),
        (
            "services: 1\n",
            "1: error: services: this is a single value",
        ),
        ("- 1\n", "1: error: this is a list, and must be a mapping"),
        (
            "services:\n- proxy: [1]\n",
            "2: error: this is a list, and must be a mapping",
        ),
        ("services: [", "this is not YAML"),
        ("a: [1\n\nb: 2]: 3\n", "this is not YAML"),
        ("", "1: error: there is no service to import"),
        ("services:\n", "1: error: there is no service to import"),
    ] {
        let errors = errors(of_file(text));
        assert!(
            errors.iter().any(|error| error.contains(said)),
            "{text:?}: {errors:?}"
        );
    }
    for (line, said) in [
        (
            "command: run it",
            "command: this is a single value, and must be a list",
        ),
        (
            "command: [['x']]",
            "command: this is a list, and must be a single value",
        ),
        ("command: ['']", "command: the command has no program"),
        ("command: [\"a\\0\"]", "command: there is a NUL character"),
        (
            "auto_start: 'yes'",
            "auto_start: this is neither true nor false",
        ),
        (
            "auto_start: 1",
            "auto_start: this is neither true nor false",
        ),
        ("stop_after: 10", "stop_after: '10' has no unit"),
        ("timeout: 5x", "timeout: '5x' has a unit that is none"),
        (
            "wait_after_start: soon",
            "wait_after_start: 'soon' is not a duration",
        ),
        (
            "command: [x]\n  stop_signal: HUP",
            "stop_signal: 'HUP' is not one of INT, TERM",
        ),
    ] {
        let text = format!("services:\n- proxy: {{\":80\": \"b:80\"}}\n  {line}\n");
        let errors = errors(of_file(&text));
        let at = 2 + line.lines().count();
        assert_eq!(errors.len(), 1, "{line}: {errors:?}");
        assert!(
            errors[0].starts_with(&format!("{at}: error: {said}")),
            "{line}: {errors:?}"
        );
    }
}

#[test]
fn what_ynetd_refuses_on_its_command_line_is_named_by_the_option() {
    for (arguments, said) in [
        (
            &["-proxy", "localhost:5001", "x"][..],
            "-proxy: 'localhost:5001' has an odd number",
        ),
        (
            &["-proxy", ":1 :2 :3", "x"],
            "-proxy: ':1 :2 :3' has an odd number of addresses (3)",
        ),
        (&["-proxy", ":1  b:2"], "odd number"),
        (&["cmd"], "-proxy: it is missing"),
        (&[], "-proxy: it is missing"),
        (
            &["ynetd", "-proxy", ":1 b:2"],
            "leave out the name of the program itself",
        ),
        (
            &["-proxy", ":1 b:2", "-proxy-sep", ""],
            "-proxy-sep: it is empty",
        ),
        (
            &["-proxy", ":1 b:2", "-timeout", ""],
            "-timeout: '' is not a duration",
        ),
        (
            &["-proxy", ":1 b:2", "-stop-after", "1d", "x"],
            "-stop-after: '1d' has a unit",
        ),
        (
            &["-proxy", ":1 b:2", "-stop-signal", "KILL", "x"],
            "-stop-signal: 'KILL' is not",
        ),
        (
            &["-proxy", ":1 b:2", ""],
            "the command: the command has no program",
        ),
    ] {
        let errors = errors(import(None, &words(arguments)));
        assert!(errors[0].contains(said), "{arguments:?}: {errors:?}");
    }
}

#[test]
fn what_we_refuse_alone_says_so_and_where() {
    let errors = errors(of_file(
        "services:\n- proxy: {\":5000\": \"localhost:5001\"}\n- proxy: {\":80\": \"localhost:80\"}\n",
    ));
    assert_eq!(errors.len(), 1, "{errors:?}");
    let said = "3: error: sleepingd would refuse this: TARGET: localhost:80 is where";
    assert!(errors[0].starts_with(said), "{errors:?}");
}

#[test]
fn what_has_no_counterpart_is_a_warning_and_a_comment_in_its_place() {
    let imported = of_file(
        "services:\n- proxy: {\":80\": \"b:80\", \":http\": \"b:80\"}\n  stop_after: 1s\n  \
         stop_signal: INT\n  auto_start: yes\n  wait_after_start: 1s\n  timeout: 0\n",
    )
    .unwrap();
    let expected = [
        "2: warning: proxy: ':http' has a port by name; write its number; left out",
        "3: warning: stop_after: this does nothing without a command; left out",
        "4: warning: stop_signal: this does nothing without a command; left out",
        "5: warning: auto_start: this does nothing without a command; left out",
        "6: warning: wait_after_start: this does nothing without a command; left out",
        "7: warning: timeout: with this ynetd gives up at once, which cannot be had; 5 minutes \
         hold instead",
    ];
    assert_eq!(warnings(&imported), expected);
    for warning in expected {
        let (_, comment) = warning.split_once("warning: ").unwrap();
        let comment = format!("# {comment}");
        assert!(
            imported.text.lines().any(|line| line == comment),
            "{}",
            imported.text
        );
    }
    assert_eq!(load(&imported.text).diagnostics, []);
}

#[test]
fn a_service_of_which_nothing_is_left_is_a_comment() {
    let imported = of_file(
        "services:\n- proxy: {\":http\": \"b:80\"}\n  command: [x]\n- proxy: {\":81\": \"b:81\"}\n",
    )
    .unwrap();
    assert!(
        imported.text.contains("# Nothing is left of this service"),
        "{}",
        imported.text
    );
    let loaded = load(&imported.text);
    assert_eq!(loaded.diagnostics, []);
    assert_eq!(loaded.definitions.len(), 1);
}

#[test]
fn what_ynetd_passes_over_is_a_warning() {
    let imported = of_file(
        "version: 2\nservices:\n- proxy: {\":80\": \"b:80\", \":80\": \"c:80\"}\n  StopAfter: 10m\n---\n\
         services: []\n",
    )
    .unwrap();
    assert_eq!(
        warnings(&imported),
        [
            "1: warning: ynetd has no key 'version', and passes over it; it is left out",
            "3: warning: ':80' is here twice; the last one counts",
            "4: warning: ynetd has no key 'StopAfter', and passes over it; it is left out",
            "5: warning: ynetd reads the first document of a file alone; this one is left out",
        ]
    );
    assert_eq!(
        load(&imported.text).definitions[0].targets[0].to_string(),
        "c:80"
    );
    let imported = import(None, &words(&["-proxy", ":1 b:1 :1 c:1"])).unwrap();
    assert_eq!(
        warnings(&imported),
        ["warning: -proxy: ':1' is here twice; the last one counts"]
    );
    assert!(imported.text.contains("TARGET=c:1"), "{}", imported.text);
}

#[test]
fn options_without_proxy_beside_a_file_belong_to_nothing() {
    let text = "services: [{proxy: {\":80\": \"b:80\"}}]";
    let imported = import(Some(&file(text)), &words(&["-c", "x", "-timeout", "1s"])).unwrap();
    assert!(warnings(&imported)[0].starts_with("warning: -proxy: it is missing"));
    let imported = import(Some(&file(text)), &words(&["-c", "x"])).unwrap();
    assert_eq!(imported.warnings, []);
}

#[test]
fn a_program_found_from_where_ynetd_was_started_is_pointed_at() {
    let imported = import(None, &words(&["-proxy", ":1 b:1", "./server"])).unwrap();
    assert!(
        warnings(&imported)[0].contains("give WORKING_DIRECTORY"),
        "{imported:?}"
    );
    let imported = import(None, &words(&["-proxy", ":1 b:1", "server"])).unwrap();
    assert_eq!(imported.warnings, []);
}

#[test]
fn values_are_what_ynetd_takes_them_for() {
    let definitions = definitions(
        of_file(
            "x: &usual\n  stop_signal: INT\n  stop_after: -1s\nservices:\n- <<: *usual\n  \
         proxy: {\":80\": b:80}\n  command: [sleep, 1, 0x10, ~, 1.50, no]\n  stop_signal: TERM\n  \
         timeout: null\n  auto_start: On\n- <<: [{timeout: 1s}, {timeout: 2s}]\n  \
         proxy: {\":81\": b:81}\n",
        )
        .map(|mut imported| {
            // The key that holds the anchor.
            assert_eq!(imported.warnings.len(), 1);
            imported.warnings.clear();
            imported
        }),
    );
    let command = definitions[0].recipe.command.as_ref().unwrap();
    assert_eq!(command.command.as_str(), "exec sleep 1 0x10 '' 1.50 no");
    assert_eq!(command.stop.signal.to_string(), "SIGTERM");
    assert!(definitions[0].auto_start);
    assert_eq!(definitions[0].policy.idle.after, None);
    let wake = |at: usize| definitions[at].policy.timeouts.wake;
    assert_eq!(wake(0), Some(Duration::from_secs(300)));
    assert_eq!(wake(1), Some(Duration::from_secs(1)));
}

#[test]
fn no_two_sections_have_one_name() {
    let programs = [
        "sleep",
        "SLEEP",
        "sleep-2",
        "/bin/sleep",
        "///",
        "日本",
        "",
        "[x]",
        "-",
    ];
    let mut text = "services:\n".to_owned();
    for (i, program) in programs.iter().enumerate() {
        text += &format!("- proxy: {{\":{}\": \"b:1\"}}\n", 1000 + i);
        if !program.is_empty() {
            text += &format!("  command: ['{program}']\n");
        }
    }
    let names = definitions(of_file(&text)).into_iter();
    let names: Vec<String> = names.map(|one| one.name.as_str().to_owned()).collect();
    assert_eq!(
        names,
        [
            "sleep",
            "SLEEP-2",
            "sleep-2-2",
            "sleep-3",
            "port-1004",
            "port-1005",
            "port-1006",
            "x",
            "port-1008"
        ]
    );
}

#[test]
fn a_number_behind_a_name_is_none_that_another_program_has() {
    let text = "services:\n- {proxy: {\":80\": b:1}, command: [sleep-2]}\n\
                - {proxy: {\":81\": b:1}, command: [sleep]}\n\
                - {proxy: {\":82\": b:1}, command: [sleep]}\n";
    let names = definitions(of_file(text)).into_iter();
    let names: Vec<String> = names.map(|one| one.name.as_str().to_owned()).collect();
    assert_eq!(names, ["sleep-2", "sleep", "sleep-3"]);
}

#[test]
fn never_is_written_as_such() {
    for after in ["", "0", "0s", "-5m"] {
        let text = format!(
            "services:\n- {{proxy: {{\":80\": b:1}}, command: [x], stop_after: '{after}'}}\n"
        );
        let text = of_file(&text).unwrap().text;
        assert!(text.contains("\nIDLE_TIME=infinity\n"), "{text}");
    }
}
