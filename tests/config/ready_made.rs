//! UNIT and CONTAINER: the commands that they stand for, and what has no place beside them.

use super::*;

/// A section with these lines, as a user's daemon reads it.
fn of_a_user(lines: &str) -> Definition {
    let text = format!("[s]\nPORT=1000\n{lines}\n");
    let mut loaded = config::parse(&[file("x.conf", &text)], &[], Scope::User);
    assert_eq!(said(&loaded), [""; 0], "{text}");
    loaded.definitions.remove(0)
}

fn of_the_machine(lines: &str) -> Definition {
    only(&format!("[s]\nPORT=1000\n{lines}\n"))
}

/// START, STOP and CHECK as they are shown.
fn commands(definition: &Definition) -> [String; 3] {
    let recipe = &definition.recipe;
    [&recipe.start, &recipe.stop, &recipe.check].map(|c| c.as_ref().unwrap().to_string())
}

fn complaint(lines: &str) -> String {
    let said = complaints(&format!("[s]\nPORT=1000\n{lines}\n"));
    assert_eq!(said.len(), 1, "{lines}: {said:?}");
    said.into_iter().next().unwrap()
}

#[test]
fn a_unit_is_three_commands_of_systemctl() {
    for (unit, name) in [
        ("web.service", "web.service"),
        ("web", "web.service"),
        (r"a\x2db@c.service", r"'a\x2db@c.service'"),
    ] {
        let service = of_the_machine(&format!("UNIT={unit}\nTARGET=127.0.0.1:80"));
        assert_eq!(
            commands(&service),
            [
                format!("systemctl start -- {name}"),
                format!("systemctl stop -- {name}"),
                format!("systemctl is-active --quiet -- {name}"),
            ]
        );
        assert_eq!(service.policy.timeouts.settle, Duration::ZERO);
    }
}

#[test]
fn in_a_users_daemon_it_is_the_users_unit() {
    let service = of_a_user("UNIT=web\nTARGET=127.0.0.1:80");
    let [start, stop, check] = commands(&service);
    assert_eq!(start, "systemctl --user start -- web.service");
    assert_eq!(stop, "systemctl --user stop -- web.service");
    assert_eq!(check, "systemctl --user is-active --quiet -- web.service");
}

#[test]
fn no_shell_sees_what_is_ready_made() {
    for lines in [
        "UNIT=a\\x2db.service\nTARGET=h:1",
        "CONTAINER=web\nTARGET=h:1",
        "CONTAINER=web",
    ] {
        let recipe = of_the_machine(lines).recipe;
        for command in [&recipe.start, &recipe.stop, &recipe.check] {
            let execution = command.as_ref().unwrap().execution();
            assert!(!matches!(execution, Execution::Shell(_)), "{execution:?}");
        }
    }
}

#[test]
fn a_container_with_a_target_need_not_say_where_it_is() {
    let service = of_the_machine("CONTAINER=docker:web\nTARGET=127.0.0.1:8080");
    assert_eq!(
        commands(&service),
        [
            "sleepingd container start docker:web",
            "sleepingd container stop docker:web",
            "sleepingd container check docker:web",
        ]
    );
    assert_eq!(service.mode(), Mode::Fixed);
}

#[test]
fn a_container_without_a_target_says_where_it_is() {
    let service = of_the_machine("CONTAINER=web:80");
    assert_eq!(
        commands(&service),
        [
            "sleepingd container start --address web:80",
            "sleepingd container stop web:80",
            "sleepingd container check --address web:80",
        ]
    );
    assert_eq!(service.mode(), Mode::Told);
}

#[test]
fn a_container_has_time_to_settle_unless_the_file_says_otherwise() {
    let settle = |lines: &str| of_the_machine(lines).policy.timeouts.settle;
    assert_eq!(settle("CONTAINER=web"), Duration::from_millis(20));
    assert_eq!(settle("CONTAINER=web\nSETTLE_TIME=0"), Duration::ZERO);
    assert_eq!(
        settle("CONTAINER=web\nSETTLE_TIME=1s"),
        Duration::from_secs(1)
    );
}

#[test]
fn a_check_of_the_file_counts_instead_of_the_ready_made_one() {
    for lines in ["UNIT=web\nTARGET=h:1", "UNIT=web", "CONTAINER=web"] {
        let service = of_the_machine(&format!("{lines}\nCHECK_CMD=my-check"));
        assert_eq!(commands(&service)[2], "my-check", "{lines}");
    }
}

#[test]
fn what_wakes_the_backend_by_itself_has_no_place_beside_them() {
    let beside = |key: &str, other: &str| {
        format!(
            "x.conf:4: error: {key} and {other} cannot both wake the backend; leave one out (a \
             blank {other}= takes back a default)"
        )
    };
    for (lines, error) in [
        (
            "UNIT=a\nSTART_CMD=x\nTARGET=h:1",
            beside("UNIT", "START_CMD"),
        ),
        ("STOP_CMD=x\nUNIT=a\nTARGET=h:1", beside("UNIT", "STOP_CMD")),
        ("CONTAINER=a\nSTART_CMD=x", beside("CONTAINER", "START_CMD")),
        ("CONTAINER=a\nSTOP_CMD=x", beside("CONTAINER", "STOP_CMD")),
        (
            "CONTAINER=a\nUNIT=b\nTARGET=h:1",
            beside("UNIT", "CONTAINER"),
        ),
    ] {
        assert_eq!(complaint(lines), error, "{lines}");
    }
    let both = complaints("START_CMD=x\nSTOP_CMD=y\n[s]\nPORT=1\nUNIT=a\nTARGET=h:1\n");
    assert_eq!(both.len(), 2, "{both:?}");
    assert!(
        both[0].starts_with("x.conf:5: error: UNIT and START_CMD"),
        "{both:?}"
    );
    only("START_CMD=x\nSTOP_CMD=y\n[s]\nPORT=1\nUNIT=a\nTARGET=h:1\nSTART_CMD=\nSTOP_CMD=\n");
    // Sleeping-beauty's ways to have none.
    only("START_CMD=false\nSTOP_CMD=false\n[s]\nPORT=1\nUNIT=a\nTARGET=h:1\n");
}

#[test]
fn a_section_takes_back_the_unit_of_the_head() {
    for nothing in ["UNIT=", "UNIT=no"] {
        let service = only(&format!("UNIT=a\n[s]\nPORT=1\n{nothing}\nSTART_CMD=x\n"));
        assert_eq!(service.recipe.start.as_ref().unwrap().as_str(), "x");
        assert_eq!(service.recipe.stop, None);
    }
}

#[test]
fn a_unit_does_not_say_where_it_listens() {
    assert_eq!(
        complaint("UNIT=web"),
        "x.conf:3: error: UNIT: nobody says where web.service listens; add TARGET=HOST:PORT"
    );
    // One error is enough.
    let said = complaint("UNIT=web\nTARGET=nowhere");
    assert!(said.starts_with("x.conf:4: error: TARGET: "), "{said}");
}

#[test]
fn a_port_of_the_container_is_of_no_use_beside_a_target() {
    assert_eq!(
        complaint("CONTAINER=web:80\nTARGET=127.0.0.1:8080"),
        "x.conf:3: warning: CONTAINER: its port 80 does nothing beside TARGET"
    );
}

#[test]
fn what_is_no_name_is_refused_with_its_line() {
    for (line, error) in [
        ("UNIT=--now", "UNIT: '--now' is not a name of a unit"),
        (
            "UNIT=web; reboot",
            "UNIT: 'web; reboot' is not a name of a unit",
        ),
        ("UNIT=web@.service", "UNIT: 'web@.service' is a template"),
        (
            "CONTAINER=-it",
            "CONTAINER: '-it' is not a name of a container",
        ),
        (
            "CONTAINER=$(reboot)",
            "CONTAINER: '$(reboot)' is not a name of a container",
        ),
        (
            "CONTAINER=web:http",
            "CONTAINER: 'web:http' does not end in a port of the container",
        ),
    ] {
        let said = complaint(line);
        assert!(
            said.starts_with(&format!("x.conf:3: error: {error}")),
            "{said}"
        );
    }
}

#[test]
fn the_commands_are_shown_as_a_person_would_type_them() {
    let unit = config::explain(&of_the_machine(
        "UNIT=web\nTARGET=127.0.0.1:80\nIDLE_TIME=1min",
    ));
    for words in [
        "asleep if this fails, CHECK_CMD: systemctl is-active --quiet -- web.service\n",
        "a client that connects runs START_CMD: systemctl start -- web.service\n",
        "STOP_CMD: systemctl stop -- web.service\n",
    ] {
        assert!(unit.contains(words), "{unit}");
    }
    let container = config::explain(&of_the_machine("CONTAINER=web"));
    for words in [
        "a client that connects runs CHECK_CMD: sleepingd container check --address web\n",
        "if that fails, it runs START_CMD: sleepingd container start --address web\n",
        "one that closes within 20ms is tried again\n",
        "STOP_CMD: sleepingd container stop web\n",
    ] {
        assert!(container.contains(words), "{container}");
    }
}
