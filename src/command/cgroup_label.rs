//! What the control groups of commands are called: `cmd-SLUG-ACTION-N`.

use crate::{
    model::{Action, CommandRequest},
    sys::cgroup::LABEL_MAX,
};

/// What stands between `cmd-` and the number.
pub(super) fn label(request: &CommandRequest) -> String {
    format!("{}-{}", request.slug, request.action)
}

/// Whether a group of ours is that of a COMMAND. One whose name was cut short does not say.
pub(super) fn is_of_command(group: &str) -> bool {
    let label = group
        .strip_prefix("cmd-")
        .and_then(|rest| rest.rsplit_once('-'))
        .filter(|(_, number)| number.parse::<u64>().is_ok())
        .map(|(label, _)| label);
    label.is_some_and(|label| {
        let of_command = label.strip_suffix(Action::Command.as_str());
        label.len() < LABEL_MAX && of_command.is_some_and(|slug| slug.ends_with('-'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_a_command_is_told_from_those_of_others() {
        for name in ["cmd-web-command-0", "cmd-web-start-command-12"] {
            assert!(is_of_command(name), "{name}");
        }
        let cut = format!("cmd-{}-command-1", "x".repeat(LABEL_MAX - "-command".len()));
        for name in [
            "cmd-web-start-0",
            "cmd-web-command-start-0",
            "cmd-web-command",
            "cmd-command-1",
            "cmd-web-command-x",
            "web-command-1",
            &cut,
        ] {
            assert!(!is_of_command(name), "{name}");
        }
    }
}
