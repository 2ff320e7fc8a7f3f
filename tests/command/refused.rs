//! What cannot be run.

use std::{fs, os::unix::fs::PermissionsExt};

use sleepingd::model::{Action, Recipe};

use super::rig::{first_line, not_started, run, run_with};

#[tokio::test]
async fn what_cannot_be_run_says_why() {
    let unknown = |recipe: &mut Recipe| recipe.account.user = Some("no-such-user".to_owned());
    let check = run_with("true", unknown).await;
    assert!(not_started(&check).contains("user 'no-such-user' does not exist"));

    let check = run_with("true", |recipe| recipe.shell = "/nonexistent/shell".into()).await;
    assert!(not_started(&check).contains("SHELL '/nonexistent/shell' cannot be run"));

    let check = run_with("true", |recipe| {
        recipe.working_directory = "/nonexistent".into()
    })
    .await;
    assert!(not_started(&check).contains("WORKING_DIRECTORY '/nonexistent' cannot be entered"));

    let missing = |recipe: &mut Recipe| recipe.environment.files.push(("/no/file".into(), false));
    let check = run_with("true", missing).await;
    assert!(not_started(&check).contains("ENVIRONMENT_FILE '/no/file' cannot be read"));

    let check = run(Action::Check, "/nonexistent/command").await;
    assert!(
        not_started(&check).contains("'/nonexistent/command' cannot be run: command not found")
    );
    let check = run(Action::Check, "/etc/passwd").await;
    assert!(not_started(&check).contains("not executable"));
}

#[tokio::test]
async fn a_shells_126_and_127_are_named() {
    let check = run(Action::Check, "/nonexistent/command; exit $?").await;
    assert_eq!(
        check.exit.to_string(),
        "exited with status 127 (command not found)"
    );
    let check = run(Action::Check, "/etc/passwd; exit $?").await;
    assert_eq!(
        check.exit.to_string(),
        "exited with status 126 (command not executable)"
    );
}

#[tokio::test]
async fn a_script_without_an_interpreter_line_runs_as_in_a_shell() {
    let directory = tempfile::tempdir().unwrap();
    let script = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    let plain = script("plain", "echo \"plain $1\"\n");
    assert_eq!(
        first_line(&run(Action::Check, &format!("{plain} x")).await),
        "plain x"
    );
    let orphan = script("orphan", "#!/nonexistent/interpreter\n");
    assert!(not_started(&run(Action::Check, &orphan).await).contains("interpreter"));
}
