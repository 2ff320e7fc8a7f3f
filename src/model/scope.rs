//! Whose daemon it is: the machine's, or a user's.

/// Which manager starts the daemon, and so where its files are and whose units it wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Scope {
    /// The machine's: `/etc/sleepingd`, `/run/sleepingd`.
    #[default]
    System,
    /// A user's, as with `systemctl --user`: `~/.config/sleepingd`, `$XDG_RUNTIME_DIR/sleepingd`.
    User,
}
