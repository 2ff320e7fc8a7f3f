//! HAProxy in TCP mode, with splicing where it finds it worth while.

use std::fs;

use super::{Missing, Place, Plan, Program, Room, Threads};
use crate::Result;

pub(super) fn find() -> std::result::Result<Program, Missing> {
    Program::find("haproxy", &["/usr/sbin", "/usr/bin"], "-v", "haproxy")
}

pub(super) fn plan(threads: Threads, place: &Place<'_>) -> Result<Plan> {
    let threads = match threads {
        Threads::Its => "",
        Threads::One => "  nbthread 1\n",
    };
    // By itself it takes as many as descriptors allow.
    let room = match place.room {
        Room::Usual => "",
        Room::Crowd => "  maxconn 4000\n",
    };
    let (front, backend) = (place.front, place.backend);
    let text = format!(
        "global\n{room}{threads}\
         defaults\n  mode tcp\n  option splice-auto\n  \
         timeout connect 10s\n  timeout client 1h\n  timeout server 1h\n\
         listen relay\n  bind {front}\n  server backend {backend}\n"
    );
    let file = place.directory.join("haproxy.cfg");
    fs::write(&file, text)?;
    // -db: in the foreground, and no process beside it.
    Ok(Plan::new(find()?.path, &[&"-db", &"-f", &file]))
}
