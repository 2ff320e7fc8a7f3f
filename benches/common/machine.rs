//! Where the figures were measured: they belong to that machine.

use std::{
    fs,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::{Map, Value};

use super::Result;

/// Date, kernel, processor, cores, and what else the machine does.
pub fn facts() -> Result<Map<String, Value>> {
    let read = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned());
    let model = read("/proc/cpuinfo")?;
    let model = model.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1));
    let mut facts = Map::new();
    let mut say = |name: &str, value: Value| facts.insert(name.to_owned(), value);
    let seconds = unix_time();
    say("unix_time", seconds.into());
    let date = UNIX_EPOCH + Duration::from_secs(seconds);
    say(
        "date",
        humantime::format_rfc3339_seconds(date).to_string().into(),
    );
    say("kernel", read("/proc/sys/kernel/osrelease")?.into());
    say("processor", model.unwrap_or("unknown").into());
    let cores = std::thread::available_parallelism()?.get();
    say("cores", cores.into());
    say("load_before", load()?.into());
    Ok(facts)
}

/// What runs at this moment, as /proc/loadavg says it.
pub fn load() -> Result<String> {
    Ok(fs::read_to_string("/proc/loadavg")?.trim().to_owned())
}

fn unix_time() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME);
    now.map_or(0, |time| time.tv_sec().unsigned_abs())
}
