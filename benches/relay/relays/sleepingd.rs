//! sleepingd: one section that forwards, everything else as it is by default.

use std::{fmt::Write as _, fs, os::unix::fs::chown, path::Path};

use super::{Place, Plan};
use crate::Result;

pub(super) fn plan(
    program: &Path,
    head: &[String],
    user: Option<u32>,
    place: &Place<'_>,
) -> Result<Plan> {
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
    let options: [&dyn AsRef<std::ffi::OsStr>; 4] = [
        &"--config-file",
        &file,
        &"--runtime-directory",
        &place.directory,
    ];
    let Some(user) = user else {
        return Ok(Plan::new(program, &options));
    };
    chown(place.directory, Some(user), Some(user))?;
    let (uid, gid) = (format!("--reuid={user}"), format!("--regid={user}"));
    // Whoever becomes somebody else is not told of its parent's end, unless it asks again.
    let become_user: [&dyn AsRef<std::ffi::OsStr>; 5] =
        [&uid, &gid, &"--clear-groups", &"--pdeathsig=TERM", &program];
    Ok(Plan::new("setpriv", &[&become_user[..], &options].concat()))
}
