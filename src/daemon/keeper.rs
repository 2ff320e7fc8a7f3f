//! Descriptors that systemd keeps for the next daemon: pipes of commands, ports that we bound.

use std::os::fd::BorrowedFd;

use tracing::warn;

use crate::{command::PipeKeeper, systemd::notify::Notifier};

/// Keeps descriptors in systemd's store (sd_pid_notify_with_fds(3)). Without systemd, nothing.
pub(super) struct Store(pub(super) std::sync::Arc<Notifier>);

impl PipeKeeper for Store {
    fn keep(&self, name: &str, fd: BorrowedFd<'_>) {
        if let Err(e) = self.0.store_and_wait(name, fd) {
            warn!("'{name}' is not kept over a restart: {e}");
        }
    }

    fn release(&self, name: &str) {
        if let Err(e) = self.0.remove(name) {
            warn!("'{name}' stays in the descriptor store: {e}");
        }
    }
}
