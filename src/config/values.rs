//! What is written after the `=`, read into what it means. One function for each kind of value;
//! each error says what was found and what is expected.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use super::lines::{Value, shorten};
use crate::model::{
    Balance, CommandLine, Destination, IdleOn, ProxyVersion, StopSignal, WakeOn, duration,
};

/// Longer durations are a mistyped unit; what never ends is left blank.
const MAX_DURATION: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// TCP_USER_TIMEOUT is an `int` of milliseconds, tcp(7).
const MAX_USER_TIMEOUT: Duration = Duration::from_millis(i32::MAX as u64);

/// More than a kernel can have open, nr_open in proc(5).
const MAX_NUMBER: usize = 1_000_000;

/// More threads than that only wait for one another; the number was meant for another key.
const MAX_THREADS: usize = 256;

/// One argument of a command, with its NUL: MAX_ARG_STRLEN, execve(2).
const MAX_ARGUMENT: usize = 131_072;

/// One of some words, in any case.
fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = choices
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text))
    {
        return Ok(*value);
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    Err(format!(
        "'{}' is not one of {}",
        shorten(text),
        words.join(", ")
    ))
}

// === plain values ===

/// yes, true, no, false.
pub(super) fn flag(value: &Value) -> Result<bool, String> {
    choice(
        value.trimmed(),
        &[
            ("yes", true),
            ("true", true),
            ("no", false),
            ("false", false),
        ],
    )
}

/// BALANCE.
pub(super) fn balance(value: &Value) -> Result<Balance, String> {
    choice(
        value.trimmed(),
        &[
            ("random", Balance::Random),
            ("first", Balance::First),
            ("roundrobin", Balance::RoundRobin),
            ("leastconn", Balance::LeastConn),
        ],
    )
}

/// IDLE_ON.
pub(super) fn idle_on(value: &Value) -> Result<IdleOn, String> {
    choice(
        value.trimmed(),
        &[
            ("connections", IdleOn::Connections),
            ("bytes", IdleOn::Bytes),
            ("command", IdleOn::Command),
        ],
    )
}

/// WAKE_ON.
pub(super) fn wake_on(value: &Value) -> Result<WakeOn, String> {
    choice(
        value.trimmed(),
        &[("connect", WakeOn::Connect), ("data", WakeOn::Data)],
    )
}

/// SEND_PROXY. Others that are merely told to send it send v1, so `yes` is v1.
pub(super) fn proxy_version(value: &Value) -> Result<Option<ProxyVersion>, String> {
    let v1 = Some(ProxyVersion::V1);
    choice(
        value.trimmed(),
        &[
            ("no", None),
            ("v1", v1),
            ("v2", Some(ProxyVersion::V2)),
            ("yes", v1),
            ("true", v1),
            ("false", None),
        ],
    )
}

/// How many; `infinity` is no limit.
pub(super) fn count(value: &Value) -> Result<Option<usize>, String> {
    let text = value.trimmed();
    if text.eq_ignore_ascii_case("infinity") {
        return Ok(None);
    }
    // `parse` would take a sign.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<usize>() {
        Ok(n) if digits && (1..=MAX_NUMBER).contains(&n) => Ok(Some(n)),
        _ => Err(format!(
            "'{}' is not a number from 1 to {MAX_NUMBER}, nor infinity",
            shorten(text)
        )),
    }
}

/// How many threads.
pub(super) fn threads(value: &Value) -> Result<NonZeroUsize, String> {
    let text = value.trimmed();
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<NonZeroUsize>() {
        Ok(n) if digits && n.get() <= MAX_THREADS => Ok(n),
        _ => Err(format!(
            "'{}' is not a number from 1 to {MAX_THREADS}",
            shorten(text)
        )),
    }
}

/// A user's or a group's name or number. Whether there is one is found out when it is used.
pub(super) fn account(value: &Value) -> Result<Option<String>, String> {
    let name = value.trimmed();
    let bad = name.starts_with('-')
        || name.len() > 256
        || name.contains(|c: char| c.is_whitespace() || c.is_control() || ":/,".contains(c));
    if bad {
        return Err(format!(
            "'{}' is neither a name nor a number of an account",
            shorten(name)
        ));
    }
    Ok((!name.is_empty()).then(|| name.to_owned()))
}

/// Anything.
pub(super) fn anything(_: &Value) -> Result<(), String> {
    Ok(())
}

// === durations ===

/// A duration; none is without limit.
pub(super) fn limit(value: &Value) -> Result<Option<Duration>, String> {
    let read = duration::parse(&value.text).map_err(|_| {
        format!(
            "'{}' is not a duration; write 90 (seconds), 500ms, 10min or 1h 30min",
            shorten(&value.text)
        )
    })?;
    match read {
        Some(d) if d > MAX_DURATION => {
            Err(format!("'{}' is more than 100 years", shorten(&value.text)))
        }
        other => Ok(other),
    }
}

/// A limit that cannot be zero.
pub(super) fn positive_limit(value: &Value) -> Result<Option<Duration>, String> {
    match limit(value)? {
        Some(Duration::ZERO) => {
            Err("0 leaves no time at all; leave it blank for no limit".to_owned())
        }
        other => Ok(other),
    }
}

/// A limit of which sleeping-beauty's 0 says that there is none.
pub(super) fn limit_or_zero(value: &Value) -> Result<Option<Duration>, String> {
    Ok(limit(value)?.filter(|d| !d.is_zero()))
}

/// A limit that ends up in TCP_USER_TIMEOUT.
pub(super) fn user_timeout(value: &Value) -> Result<Option<Duration>, String> {
    match positive_limit(value)? {
        Some(d) if d > MAX_USER_TIMEOUT => Err(format!(
            "'{}' is more than 24 days, the kernel's limit",
            shorten(&value.text)
        )),
        // The kernel counts milliseconds, and takes 0 for its own default.
        Some(d) if d < Duration::from_millis(1) => {
            Err(format!("'{}' is less than 1ms", shorten(&value.text)))
        }
        other => Ok(other),
    }
}

/// A pause; none is zero.
pub(super) fn pause(value: &Value) -> Result<Duration, String> {
    match limit(value)? {
        Some(d) => Ok(d),
        None if value.trimmed().is_empty() => Ok(Duration::ZERO),
        None => Err("a pause without end is not possible; write a duration".to_owned()),
    }
}

/// A duration that there must be.
pub(super) fn duration_above_zero(value: &Value) -> Result<Duration, String> {
    match limit(value)? {
        Some(d) if d.is_zero() => Err("0 leaves no time at all; write a duration".to_owned()),
        Some(d) => Ok(d),
        None => Err("this cannot be without limit; write a duration".to_owned()),
    }
}

// === commands and their surroundings ===

/// A command; blank is none.
pub(super) fn command(value: &Value) -> Result<Option<CommandLine>, String> {
    if value.text.len() >= MAX_ARGUMENT {
        return Err(format!(
            "a command of {} bytes; the kernel takes {MAX_ARGUMENT} at most",
            value.text.len()
        ));
    }
    Ok(CommandLine::new(&value.text))
}

/// A command that says nothing by failing: `false` is sleeping-beauty's way to have none.
pub(super) fn command_or_false(value: &Value) -> Result<Option<CommandLine>, String> {
    Ok(command(value)?.filter(|c| !is_program(c, "false")))
}

/// A command that says nothing by succeeding: `true` is sleeping-beauty's way to have none.
pub(super) fn command_or_true(value: &Value) -> Result<Option<CommandLine>, String> {
    Ok(command(value)?.filter(|c| !is_program(c, "true")))
}

fn is_program(command: &CommandLine, name: &str) -> bool {
    let directories = ["", "/bin/", "/usr/bin/"];
    directories
        .iter()
        .any(|dir| command.as_str().strip_prefix(dir) == Some(name))
}

/// STOP_SIGNAL: a signal, by name or number.
pub(super) fn stop_signal(value: &Value) -> Result<StopSignal, String> {
    let text = value.trimmed();
    let read = text.parse::<StopSignal>();
    read.map_err(|error| format!("'{}' {error}", shorten(text)))
}

/// SHELL: a program, by its absolute path.
pub(super) fn program(value: &Value) -> Result<PathBuf, String> {
    if value.trimmed().contains(char::is_whitespace) {
        return Err(format!(
            "'{}' is more than a path; the shell gets -c and the command by itself",
            shorten(value.trimmed())
        ));
    }
    absolute(value.trimmed())
}

/// An absolute path.
pub(super) fn absolute_path(value: &Value) -> Result<PathBuf, String> {
    absolute(value.trimmed())
}

fn absolute(text: &str) -> Result<PathBuf, String> {
    if text.starts_with('/') {
        return Ok(PathBuf::from(text));
    }
    Err(format!("'{}' is not an absolute path", shorten(text)))
}

/// ENVIRONMENT_FILE: a path; with a `-` before it the file may be missing.
pub(super) fn environment_file(value: &Value) -> Result<Vec<(PathBuf, bool)>, String> {
    let (path, optional) = match value.trimmed().strip_prefix('-') {
        Some(path) => (path, true),
        None => (value.trimmed(), false),
    };
    Ok(vec![(absolute(path)?, optional)])
}

/// ENVIRONMENT: assignments, quoted as in systemd.exec(5). Quotes around the whole value are
/// those of the first assignment.
pub(super) fn environment(value: &Value) -> Result<Vec<(String, String)>, String> {
    let mut assignments = Vec::new();
    for word in super::words::split(&value.written)? {
        let (name, content) = word
            .split_once('=')
            .ok_or_else(|| format!("'{}' is not an assignment, NAME=VALUE", shorten(&word)))?;
        let good = !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !good {
            return Err(format!(
                "'{}' is not a name of a variable: letters, digits and '_'",
                shorten(name)
            ));
        }
        if word.len() >= MAX_ARGUMENT {
            return Err(format!(
                "{name} is longer than {MAX_ARGUMENT} bytes, the kernel's limit"
            ));
        }
        assignments.push((name.to_owned(), content.to_owned()));
    }
    Ok(assignments)
}

/// READY_URL: `http://host[:port][/path]`.
pub(super) fn url(value: &Value) -> Result<Option<String>, String> {
    let text = value.trimmed();
    if text.is_empty() {
        return Ok(None);
    }
    let bad = |why: &str| {
        Err(format!(
            "'{}' {why}; write http://HOST:PORT/PATH",
            shorten(text)
        ))
    };
    let Some(rest) = strip_prefix_ignoring_case(text, "http://") else {
        return if strip_prefix_ignoring_case(text, "https://").is_some() {
            bad("asks for TLS, which is not supported")
        } else {
            bad("is not an http:// address")
        };
    };
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return bad("has characters in it that no URL may have");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return bad("has a user in it, which is not supported");
    }
    let bracketed = authority.ends_with(']');
    let with_port = match authority.rsplit_once(':') {
        Some(_) if !bracketed => authority.to_owned(),
        _ => format!("{authority}:80"),
    };
    match with_port.parse::<Destination>() {
        Ok(Destination::Unix(_)) | Err(_) => bad("has no proper host and port"),
        Ok(_) => Ok(Some(text.to_owned())),
    }
}

pub(super) fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix)
        .then(|| &text[prefix.len()..])
}
