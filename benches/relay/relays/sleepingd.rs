//! sleepingd: one section that forwards, everything else as it is by default.

use std::{fmt::Write as _, fs, path::Path};

use super::{Place, Plan};
use crate::Result;

pub(super) fn plan(program: &Path, head: &[String], place: &Place<'_>) -> Result<Plan> {
    let mut text = String::new();
    for line in head {
        writeln!(text, "{line}")?;
    }
    writeln!(
        text,
        "[relay]\nPORT={}\nTARGET={}",
        place.front, place.backend
    )?;
    let file = place.directory.join("sleepingd.conf");
    fs::write(&file, text)?;
    Ok(Plan::new(
        program,
        &[
            &"--config-file",
            &file,
            &"--runtime-directory",
            &place.directory,
        ],
    ))
}
