//! Which version this is, and of which day: never that of the clock, so that whoever builds it
//! again gets the same bytes.

use std::{
    env,
    time::{Duration, UNIX_EPOCH},
};

use clap::CommandFactory;
use sleepingd::cli;

use crate::page::{PageError, here, read};

pub fn version() -> String {
    let command = cli::sleepingd::Cli::command();
    command.get_version().unwrap_or_default().to_owned()
}

/// `YYYY-MM-DD`: SOURCE_DATE_EPOCH, which builders of packages set; else that of the changelog's
/// first release. A page of what was never released has none.
pub fn day() -> Result<Option<String>, PageError> {
    let seconds = env::var("SOURCE_DATE_EPOCH").ok();
    match seconds.and_then(|seconds| seconds.parse().ok()) {
        Some(seconds) => Ok(Some(day_of(seconds))),
        None => Ok(first_release(&read(&here("../../CHANGELOG.md"))?)),
    }
}

fn day_of(seconds: u64) -> String {
    let at = UNIX_EPOCH + Duration::from_secs(seconds);
    let shown = humantime::format_rfc3339_seconds(at).to_string();
    shown.split('T').next().unwrap_or_default().to_owned()
}

/// Of the first heading, where that says one: `## 2.0.0 - 2026-12-01`.
fn first_release(changelog: &str) -> Option<String> {
    let heading = changelog
        .lines()
        .find_map(|line| line.strip_prefix("## "))?;
    let day = heading.split_whitespace().next_back()?;
    let figures = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = day.split('-').collect();
    match parts[..] {
        [year, month, day] if [year, month, day].into_iter().all(figures) => {
            Some(format!("{year}-{month}-{day}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_that_of_the_newest_release_or_none() {
        let day = |heading: &str| first_release(&format!("# Changes\n\n{heading}\n\n- x\n"));
        assert_eq!(day("## 2.0.0 - 2026-12-01").as_deref(), Some("2026-12-01"));
        assert_eq!(day("## Unreleased\n\n## 1.0 - 2020-01-01"), None);
        assert_eq!(day("text"), None);
        assert_eq!(day_of(1_782_000_000), "2026-06-21");
    }
}
