//! What systemd gives and is told: sockets, notifications, stored descriptors, the journal.
//!
//! Nothing here needs systemd: without its environment variables there are no sockets, nobody is
//! notified, and the log goes to standard error.

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod generator;
pub mod job;
pub mod journal;
pub mod notify;
mod outbox;
pub mod sockets;
pub mod systemctl;

pub use job::{Job, stop_sockets, unit_job};
pub use journal::LogGuard;
pub use notify::{Notifier, NotifyError};
pub use sockets::{Inherited, Named, SocketsError};
pub use systemctl::{Systemctl, SystemctlError};
