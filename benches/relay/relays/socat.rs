//! socat, a process for each connection.

use super::{Missing, Place, Plan, Program};
use crate::Result;

pub(super) fn find() -> std::result::Result<Program, Missing> {
    Program::find("socat", &["/usr/bin", "/usr/local/bin"], "-V", "socat")
}

pub(super) fn plan(place: &Place<'_>) -> Result<Plan> {
    let (ip, port) = (place.front.ip(), place.front.port());
    let listen = format!("TCP-LISTEN:{port},bind={ip},fork,reuseaddr,backlog=4096,nodelay");
    let connect = format!("TCP:{},nodelay", place.backend);
    // Its own buffer of 8 KiB is small for bulk.
    Ok(Plan::new(find()?.path, &[&"-b65536", &listen, &connect]))
}
