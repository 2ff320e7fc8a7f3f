//! What a line of the prose that begins with `@@` asks for:
//!
//! | line | becomes |
//! | --- | --- |
//! | `@@title` | the page's head, with version and day |
//! | `@@synopsis PROGRAM` | a line for each command of the program |
//! | `@@options PROGRAM` | the options that the program has itself |
//! | `@@command PROGRAM COMMAND` | a command, what it does, and its options |
//! | `@@keys` | the keys of the configuration, in chapters |
//! | `@@example FILE` | a file of `examples/`, as it is |

use clap::CommandFactory;
use sleepingd::cli;

use crate::{
    keys,
    page::{here, read},
    release, roff, synopsis,
};

/// What stands in place of the line; `page` is the file's name.
pub fn carry_out(asked: &str, page: &str) -> Result<String, String> {
    let words: Vec<&str> = asked.split_whitespace().collect();
    match words[..] {
        ["title"] => title(page),
        ["synopsis", name] => Ok(synopsis::of(&program(name)?)),
        ["options", name] => Ok(synopsis::options(&program(name)?)),
        ["command", name, sub] => synopsis::command(&program(name)?, sub)
            .ok_or_else(|| format!("{name} has no command '{sub}'")),
        ["keys"] => Ok(keys::all()),
        ["example", file] => {
            let path = here("examples").join(file);
            Ok(roff::example(&read(&path).map_err(|e| e.to_string())?))
        }
        _ => Err(format!("'@@{asked}' means nothing")),
    }
}

fn program(name: &str) -> Result<clap::Command, String> {
    let mut command = match name {
        "sleepingd" => cli::sleepingd::Cli::command(),
        "sleepingctl" => cli::sleepingctl::Cli::command(),
        _ => return Err(format!("there is no program '{name}'")),
    };
    // Adds --help, and hands global options on to the commands.
    command.build();
    Ok(command)
}

fn title(page: &str) -> Result<String, String> {
    let (name, section) = page
        .rsplit_once('.')
        .ok_or("a page is called NAME.SECTION")?;
    let manual = match section {
        "1" => "User Commands",
        "5" => "File Formats",
        "8" => "System Administration",
        _ => return Err(format!("what manual is section {section}?")),
    };
    let day = release::day().map_err(|e| e.to_string())?;
    // Names of keys and options must not be broken, for whoever searches or copies them.
    Ok(format!(
        ".TH {} {section} \"{}\" \"sleepingd {}\" \"{manual}\"\n.nr HY 0\n.nh\n.ad l\n",
        name.to_uppercase(),
        day.unwrap_or_default(),
        release::version(),
    ))
}
