//! systemd's socket-proxyd, which is given its socket.

use socket2::{Domain, Socket, Type};

use super::{Missing, Place, Plan, Program};
use crate::Result;

/// systemd starts services with SIGPIPE ignored, and this one dies of it otherwise.
const AS_SYSTEMD: &str = "trap '' PIPE; exec \"$@\"";

pub(super) fn find() -> std::result::Result<Program, Missing> {
    let places = ["/usr/lib/systemd", "/lib/systemd"];
    Program::find("systemd-socket-proxyd", &places, "--version", "systemd")
}

pub(super) fn plan(place: &Place<'_>) -> Result<Plan> {
    let socket = Socket::new(Domain::for_address(place.front), Type::STREAM, None)?;
    socket.bind(&place.front.into())?;
    // As many as systemd lets wait by itself.
    socket.listen(4096)?;
    let backend = place.backend.to_string();
    let proxyd = find()?.path;
    let room = "--connections-max=4000";
    let mut plan = Plan::new(
        "/bin/sh",
        &[&"-c", &AS_SYSTEMD, &"sh", &proxyd, &room, &backend],
    );
    plan.socket = Some(socket.into());
    Ok(plan)
}
