//! The socket unit for one address.

use std::path::Path;

use super::name::unit_name;
use crate::model::{Definition, ListenAddr};

/// A unit that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its file name.
    pub name: String,
    /// Where it listens.
    pub addr: ListenAddr,
    /// What is in the file.
    pub text: String,
}

/// The units for the addresses of these services, in their order. An address that a unit cannot
/// say is left out: the daemon binds it itself. A service with SOCKET has units of its own.
#[must_use]
pub fn units(definitions: &[Definition]) -> Vec<Unit> {
    let sockets = definitions
        .iter()
        .filter(|definition| definition.sockets.is_empty())
        .flat_map(|definition| definition.listen.iter().map(move |addr| (definition, addr)));
    sockets
        .filter_map(|(definition, addr)| Unit::new(definition, addr))
        .collect()
}

impl Unit {
    fn new(definition: &Definition, addr: &ListenAddr) -> Option<Self> {
        let (stream, options) = match addr {
            ListenAddr::Any(port) => (port.to_string(), "BindIPv6Only=both\n"),
            // Sockets are made before the network is up.
            ListenAddr::Tcp(addr) => (addr.to_string(), "BindIPv6Only=ipv6-only\nFreeBind=yes\n"),
            ListenAddr::Unix(path) => (sayable(path)?, "RemoveOnStop=yes\n"),
        };
        let name = unit_name(&definition.slug, addr);
        let (file, line) = (&definition.origin.file, definition.origin.line);
        let source = sayable(file)
            .map(|file| format!("SourcePath={file}\n"))
            .unwrap_or_default();
        let service = one_line(definition.name.as_str());
        let text = format!(
            "\
# Made by sleepingd-generator(8) from {file}:{line}.
# Made anew at each daemon-reload: what is changed here is lost.

[Unit]
Description=sleepingd listener {address} of {service}
Documentation=man:sleepingd-generator(8) man:sleepingd.conf(5)
{source}\
# The daemon opened this address at a reload and holds it until it is stopped.
ConditionPathExists=!%t/sleepingd/held/{name}
# `systemctl stop sleepingd-sockets.target` closes it. Not of the service: that would make another
# socket of it at each restart, and lose who waits.
PartOf=sleepingd-sockets.target

[Socket]
ListenStream={stream}
{options}\
FileDescriptorName={slug}
Service=sleepingd.service
# Who connects while the daemon starts waits here; net.core.somaxconn may allow fewer.
Backlog=4096
# systemd gives a socket up that triggers too often, and its port is dead then. PollLimit*, with
# systemd 255 and newer, only slows it down, and stays on.
TriggerLimitIntervalSec=0
",
            file = one_line(&file.to_string_lossy()),
            address = one_line(&addr.to_string()),
            slug = definition.slug,
        );
        Some(Self {
            name,
            addr: addr.clone(),
            text,
        })
    }
}

/// As a value of a unit file: specifiers are escaped. `None` for what its lines cannot carry.
fn sayable(path: &Path) -> Option<String> {
    let path = path.to_str()?;
    let odd = |c: char| c.is_control() || c == '\\';
    (!path.contains(odd) && path.trim() == path).then(|| path.replace('%', "%%"))
}

/// For people to read: nothing in it ends the line or is taken for a specifier.
fn one_line(text: &str) -> String {
    let plain = |c: char| if c.is_control() || c == '\\' { '?' } else { c };
    text.chars()
        .map(plain)
        .collect::<String>()
        .replace('%', "%%")
}
