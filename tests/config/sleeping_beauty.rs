//! Sleeping-beauty's files, which must run unchanged.

use super::*;

fn fixture(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/config/fixtures")
        .join(name);
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_web_server_of_sleeping_beautys_manual_runs_unchanged() {
    let service = only(&fixture("sleeping-beauty-web.conf"));
    assert_eq!(
        service.name.as_str(),
        "Simple web server for testing purposes"
    );
    assert_eq!(
        service.slug.as_str(),
        "simple-web-server-for-testing-purposes"
    );
    assert_eq!(service.listen[0].to_string(), "*:10080");
    assert_eq!(
        service.recipe.start.as_ref().unwrap().as_str(),
        "( echo -e 'Response from 8080: $(date)' | nc -l -p 8080 -w 1 > /dev/null 2> /dev/null & \
         ) ; echo '127.0.0.1 8080'"
    );
    assert_eq!(service.mode(), Mode::PerConnection);
}

#[test]
fn the_containers_of_sleeping_beautys_manual_run_unchanged() {
    let service = only(&fixture("sleeping-beauty-docker.conf"));
    let script = |what: &str| format!("/usr/share/sleepingd/example/startserver {what}");
    assert_eq!(
        service.recipe.start.as_ref().unwrap().as_str(),
        script("start")
    );
    assert_eq!(
        service.recipe.stop.as_ref().unwrap().as_str(),
        script("stop")
    );
    assert_eq!(
        service.recipe.idle.as_ref().unwrap().as_str(),
        script("status")
    );
    assert_eq!(service.policy.idle.after, secs(20));
    assert_eq!(service.policy.idle.check_interval, secs(5));
    assert_eq!(service.policy.idle.on, IdleOn::Connections);
}

#[test]
fn a_file_that_spells_out_sleeping_beautys_defaults_runs_unchanged() {
    let loaded = load(&fixture("sleeping-beauty-defaults.conf"));
    assert_eq!(said(&loaded), [""; 0]);
    assert_eq!(names(&loaded), ["Simple web server"]);
    // The general section's ACTIVE=no holds for what does not say otherwise.
    assert_eq!(loaded.inactive[0].as_str(), "Nodeapp in docker containers");
    let service = &loaded.definitions[0];
    assert_eq!(service.listen[0].to_string(), "*:80");
    let recipe = &service.recipe;
    assert_eq!(
        (&recipe.check, &recipe.stop, &recipe.idle),
        (&None, &None, &None)
    );
    assert_eq!(recipe.account.user, None);
    assert_eq!(service.policy.command_timeouts, Default::default());
    assert_eq!(service.policy.idle, Default::default());
}

#[test]
fn true_and_false_are_sleeping_beautys_way_to_have_no_command() {
    let service = with("CHECK_CMD=false\nSTOP_CMD=/bin/false\nIDLE_CMD=true\nIDLE_ON=bytes");
    assert_eq!(service.recipe.check, None);
    assert_eq!(service.mode(), Mode::PerConnection);
    assert_eq!(service.recipe.stop, None);
    assert_eq!(service.recipe.idle, None);
    let fixed = only("[s]\nPORT=1\nTARGET=h:1\nSTART_CMD=false\nCHECK_CMD=false");
    assert_eq!((fixed.mode(), &fixed.recipe.start), (Mode::Fixed, &None));
    assert_eq!(
        complaints("[s]\nPORT=1\nSTART_CMD=false"),
        [
            "x.conf:1: error: 's' can never reach a destination: it has no TARGET, no START_CMD \
             and no CHECK_CMD"
        ]
    );
    // Anything else is a command.
    let service = with("STOP_CMD=true\nCHECK_CMD=false --now");
    assert_eq!(service.recipe.stop.as_ref().unwrap().as_str(), "true");
    assert_eq!(
        service.recipe.check.as_ref().unwrap().as_str(),
        "false --now"
    );
}
