//! What happens between fork and exec, and signals to process groups.
//!
//! | file | the idea in it |
//! | --- | --- |
//! | `child` | what a child does on its way to exec |
//! | `signals` | which signals it finds ignored |
//! | `progress` | how far it came, told without memory in common |
//! | `group` | process groups: signals to them, and whether one lives |
//! | `init` | process 1 of a container: reaps orphans, passes signals on |
//! | `pidfd` | one process, whoever is its parent: that it has ended is an event |

mod child;
mod group;
mod init;
mod pidfd;
mod progress;
mod signals;

pub use child::{ChildSetup, spared_by_oom_killer};
pub use group::{group_lives, is_group_of, send_signal, signal_group};
pub use init::leave_init_behind;
pub use pidfd::{PidFd, Unwatched, WatchedProcess, start_time};
pub use progress::{Progress, Report, Step};
pub use signals::{remember_ignored, stop_ourselves, was_ignored_at_start};

/// write(2), which neither allocates nor takes a lock: for what happens after fork.
fn write_all(fd: i32, bytes: &[u8]) -> bool {
    // SAFETY: the buffer is as long as is said.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    usize::try_from(written) == Ok(bytes.len())
}

#[cfg(test)]
mod tests;
