//! A program's options and commands, from its command line.

use clap::{Arg, ArgAction, Command};

use crate::roff;

/// With more than these a line of usage says only that there are some: they are listed below it.
const MOST_FLAGS: usize = 8;

/// A line for each command.
pub fn of(program: &Command) -> String {
    let name = program.get_name();
    let lines: Vec<String> = commands(program)
        .map(|command| {
            let words = format!("{name} {}", command.get_name());
            format!("{}{}\n", roff::bold(&words), usage(command))
        })
        .collect();
    lines.join(".br\n")
}

/// The options that the program has itself, whatever its commands have beside them.
pub fn options(program: &Command) -> String {
    program.get_arguments().map(option).collect()
}

/// A command with its options; those of the program are not repeated.
pub fn command(program: &Command, name: &str) -> Option<String> {
    let command = commands(program).find(|command| command.get_name() == name)?;
    let about = command.get_about().map(ToString::to_string);
    let mut text = format!(".SS \"{}{}\"\n", roff::bold(name), usage(command));
    text += &roff::paragraph(&sentence(&about.unwrap_or_default()));
    text += &own(command).map(option).collect::<String>();
    Some(text)
}

/// `help` is clap's.
fn commands(program: &Command) -> impl Iterator<Item = &Command> {
    let is_ours = |command: &&Command| command.get_name() != "help";
    program.get_subcommands().filter(is_ours)
}

/// What only this command takes.
fn own(command: &Command) -> impl Iterator<Item = &Arg> {
    let is_own = |arg: &&Arg| {
        let everywhere = matches!(arg.get_id().as_str(), "help" | "version");
        !arg.is_global_set() && !everywhere
    };
    command.get_arguments().filter(is_own)
}

fn usage(command: &Command) -> String {
    let (positional, flags): (Vec<&Arg>, Vec<&Arg>) =
        own(command).partition(|arg| arg.is_positional());
    let many = flags.len() > MOST_FLAGS;
    let in_short = if many { " [OPTION]..." } else { "" };
    let flags = flags.into_iter().filter(|_| !many);
    let words: String = flags
        .chain(positional)
        .map(|arg| {
            let again = if repeats(arg) { "..." } else { "" };
            let word = shortest(arg);
            if arg.is_last_set() {
                // Whatever it begins with, it is no option of ours.
                format!(" [{} {word}{again}]", roff::bold("--"))
            } else if arg.is_required_set() {
                format!(" {word}{again}")
            } else {
                format!(" [{word}]{again}")
            }
        })
        .collect();
    format!("{in_short}{words}")
}

fn shortest(arg: &Arg) -> String {
    let name = match (arg.get_short(), arg.get_long()) {
        (Some(short), _) => roff::bold(&format!("-{short}")),
        (None, Some(long)) => roff::bold(&format!("--{long}")),
        (None, None) => return value(arg),
    };
    with_value(name, arg)
}

fn option(arg: &Arg) -> String {
    let names: Vec<String> = [
        arg.get_short().map(|short| format!("-{short}")),
        arg.get_long().map(|long| format!("--{long}")),
    ]
    .into_iter()
    .flatten()
    .map(|name| roff::bold(&name))
    .collect();
    let term = if names.is_empty() {
        value(arg)
    } else {
        with_value(names.join(", "), arg)
    };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    roff::tagged(&term, &[roff::paragraph(&sentence(&help))])
}

fn with_value(name: String, arg: &Arg) -> String {
    if arg.get_action().takes_values() {
        format!("{name} {}", value(arg))
    } else {
        name
    }
}

/// What stands for its value: the few words that it may be, or a name.
fn value(arg: &Arg) -> String {
    let words = arg.get_possible_values();
    if !words.is_empty() {
        let words: Vec<String> = words
            .iter()
            .map(|word| roff::bold(word.get_name()))
            .collect();
        return words.join("|");
    }
    let names = arg.get_value_names().unwrap_or_default();
    let names: Vec<&str> = names.iter().map(clap::builder::Str::as_str).collect();
    roff::italic(&names.join(" "))
}

fn repeats(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append | ArgAction::Count)
}

/// Help of a command line ends without a full stop.
fn sentence(help: &str) -> String {
    format!("{}.", help.trim_end_matches('.'))
}
