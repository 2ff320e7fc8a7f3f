//! How commands are run: for how long, as whom, and with what.

use std::{path::PathBuf, time::Duration};

use crate::config::{
    keys::{Key, KeyInfo, Repeat, USUAL},
    values,
};

keys! {
    /// A command that runs longer is killed, with its children. 0 is without limit, as blank is.
    EXEC_CMD_TIMEOUT: Option<Duration> = values::limit_or_zero {
        takes: "a duration",
        meaning: "how long a command may run, where its own limit is not set",
    }

    /// Blank is EXEC_CMD_TIMEOUT again; 0 or `infinity` is without limit.
    START_CMD_TIMEOUT: Option<Duration> = values::limit_or_zero {
        takes: "a duration",
        default: "EXEC_CMD_TIMEOUT",
        meaning: "how long START_CMD may run",
    }

    /// Blank is EXEC_CMD_TIMEOUT again; 0 or `infinity` is without limit.
    STOP_CMD_TIMEOUT: Option<Duration> = values::limit_or_zero {
        takes: "a duration",
        default: "EXEC_CMD_TIMEOUT",
        meaning: "how long STOP_CMD may run",
    }

    /// Blank is EXEC_CMD_TIMEOUT again; 0 or `infinity` is without limit.
    CHECK_CMD_TIMEOUT: Option<Duration> = values::limit_or_zero {
        takes: "a duration",
        default: "EXEC_CMD_TIMEOUT",
        meaning: "how long CHECK_CMD may run",
    }

    /// Blank is EXEC_CMD_TIMEOUT again; 0 or `infinity` is without limit.
    IDLE_CMD_TIMEOUT: Option<Duration> = values::limit_or_zero {
        takes: "a duration",
        default: "EXEC_CMD_TIMEOUT",
        meaning: "how long IDLE_CMD may run",
    }

    /// A name or a number. The commands get all the groups of the user.
    USER: Option<String> = values::account {
        takes: "a user",
        default: "the daemon's",
        meaning: "the user the commands run as",
    }

    /// A name or a number.
    GROUP: Option<String> = values::account {
        takes: "a group",
        default: "the user's",
        meaning: "the group the commands run as",
    }

    /// It gets the command as the argument of `-c`. A command whose first word is an absolute
    /// path, and that has nothing in it that a shell would act on, is executed directly.
    SHELL: PathBuf = values::program {
        takes: "a path",
        default: "/bin/bash",
        meaning: "the shell that runs the commands",
    }

    /// An absolute path.
    WORKING_DIRECTORY: PathBuf = values::absolute_path {
        takes: "a path",
        default: "/",
        meaning: "the directory the commands run in",
    }

    /// `NAME=VALUE`, several separated by spaces. One with spaces in it is quoted as a whole:
    /// `ENVIRONMENT="GREETING=hello world" LANG=C`. Quotes and backslashes are as in Environment=
    /// of systemd.exec(5), but `%` means nothing.
    ENVIRONMENT: Vec<(String, String)> = values::environment {
        takes: "assignments",
        meaning: "variables for the commands, as in systemd.exec(5)",
        repeat: Repeat::List,
    }

    /// An absolute path. It is read at each run; with a `-` before it, it may be missing.
    ENVIRONMENT_FILE: Vec<(PathBuf, bool)> = values::environment_file {
        takes: "a path",
        meaning: "a file of variables for the commands, as in systemd.exec(5)",
        repeat: Repeat::List,
    }
}
