//! `sleepingd forward`: from its options to what a section would say.

use sleepingd::{
    cli::sleepingd::ForwardArgs,
    config::{Forward, Loaded, Said},
};

/// What the daemon is to serve; else all that is wrong with the command line.
pub(super) fn load(args: ForwardArgs, inherited: &[String]) -> Result<Loaded, Vec<String>> {
    forward(args).load(inherited)
}

fn forward(args: ForwardArgs) -> Forward {
    let separator = args.proxy_sep;
    let pairs = args.proxy.into_iter().map(|pairs| match &separator {
        Some(separator) if !separator.is_empty() => pairs.replace(separator, " "),
        _ => pairs,
    });
    let auto_start = args.auto_start.then(|| "yes".to_owned());
    let options: [(&str, &str, Vec<String>); 12] = [
        ("--listen", "PORT", args.listen),
        ("--target", "TARGET", args.target),
        ("--proxy", "PROXY", pairs.collect()),
        (
            "--auto-start",
            "AUTO_START",
            auto_start.into_iter().collect(),
        ),
        (
            "--idle-time",
            "IDLE_TIME",
            args.idle_time.into_iter().collect(),
        ),
        (
            "--stop-signal",
            "STOP_SIGNAL",
            args.stop_signal.into_iter().collect(),
        ),
        (
            "--stop-timeout",
            "STOP_TIMEOUT",
            args.stop_timeout.into_iter().collect(),
        ),
        (
            "--wake-timeout",
            "WAKE_TIMEOUT",
            args.wake_timeout.into_iter().collect(),
        ),
        (
            "--wait-after-start",
            "WAIT_AFTER_START",
            args.wait_after_start.into_iter().collect(),
        ),
        ("--user", "USER", args.user.into_iter().collect()),
        (
            "--exit-idle-time",
            "EXIT_IDLE_TIME",
            args.exit_idle_time.into_iter().collect(),
        ),
        (
            "--connections-max",
            "MAX_CONNECTIONS",
            args.max_connections.into_iter().collect(),
        ),
    ];
    let said = options.into_iter().flat_map(|(option, key, values)| {
        let said = move |value| Said { option, key, value };
        values.into_iter().map(said)
    });
    Forward {
        said: said.collect(),
        command: args.command,
    }
}
