//! Identities of the messages worth explaining: `journalctl -x` shows their texts, which are in
//! `systemd/sleepingd.catalog`, and `journalctl MESSAGE_ID=` finds them.
//!
//! An identity is for ever: programs and people filter by it. What changes its meaning gets a new
//! one (`systemd-id128 new`).

/// Each entry makes a constant, and a line of [`ALL`].
macro_rules! message_ids {
    ($($(#[doc = $doc:literal])+ $name:ident = $id:literal;)+) => {
        $($(#[doc = $doc])+ pub const $name: &str = $id;)+

        /// The name and the identity of each.
        pub const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),+];
    };
}

message_ids! {
    /// A service is awake.
    WOKEN = "8c49dda2d3d54918ad0ed8045fb8b3cb";
    /// A wake failed, and its clients were reset.
    WAKE_FAILED = "54036defa728419d8d0ef4fcf4c50f0c";
    /// A command ran longer than it may.
    COMMAND_TIMED_OUT = "20f5dc1a31dc422d82ee10a49ea142dd";
    /// A command failed.
    COMMAND_FAILED = "255a8e2940764c9aaa491fe9e4835de2";
    /// A COMMAND has ended by itself.
    COMMAND_ENDED = "b763e33bec734682baaceb05b9a05b93";
    /// A service was put to sleep.
    ASLEEP = "d32122adf6bc4ec0bfb3d62eced82947";
    /// A service could not be put to sleep.
    STILL_UP = "defacfe7fc8d4ff091e7514b82192bb5";
    /// A backend that was awake does not answer any more.
    LOST = "150e119c6e2b4946bd2569b07db07974";
    /// A backend that already ran was found.
    ADOPTED = "99934b8d57b1474198625abaaf68e3bd";
    /// The configuration has errors, and is not in force.
    CONFIGURATION_REJECTED = "2e39b143b43b45eea57f18da9e3e9236";
    /// The configuration was read again, and is in force.
    RELOADED = "d8c2399eacbc4282839b23ed8fb4dc10";
}
