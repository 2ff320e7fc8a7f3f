//! What the daemon has bound itself, and systemd's descriptor store has for the next one.

use std::{fs, io, os::fd::AsFd};

use tracing::warn;

use crate::{model::ListenAddr, sys::net::ListenSocket, systemd::notify::Notifier};

/// Names of ports that we bound, in systemd's descriptor store, begin so.
pub(super) const PREFIX: &str = "bound.";

/// Binds it, and has systemd keep it.
pub(super) fn bind(addr: &ListenAddr, notifier: &Notifier) -> io::Result<ListenSocket> {
    let socket = ListenSocket::bind(addr)?;
    keep(addr, &socket, notifier);
    Ok(socket)
}

/// So that a restart does not close the port, and nobody is refused meanwhile.
pub(super) fn keep(addr: &ListenAddr, socket: &ListenSocket, notifier: &Notifier) {
    if let Err(e) = notifier.store(&stored_name(addr), socket.as_fd()) {
        warn!("{addr} will be closed for a moment at the next restart: {e}");
    }
}

/// Nobody wants it any more: a restart is not to bring it back, and nobody to find its path.
pub(super) fn forget(addr: &ListenAddr, notifier: &Notifier) {
    if let Err(e) = notifier.remove(&stored_name(addr)) {
        warn!("{addr} stays in the descriptor store: {e}");
    }
    remove_path(addr);
}

/// Removes the path of a unix socket.
pub(super) fn remove_path(addr: &ListenAddr) {
    if let ListenAddr::Unix(path) = addr {
        // Gone already, or the directory is: either way it is not in anybody's way.
        let _ = fs::remove_file(path);
    }
}

/// FDNAME= has no colon, and at most 255 characters (sd_pid_notify_with_fds(3)).
fn stored_name(addr: &ListenAddr) -> String {
    let readable: String = addr
        .to_string()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '_'
            }
        })
        .take(200)
        .collect();
    // Two unix paths may read alike now; a hash that is the same in every build tells them apart.
    let hash = addr
        .to_string()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{PREFIX}{readable}.{hash:016x}")
}
