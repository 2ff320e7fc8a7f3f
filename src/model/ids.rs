//! Identities. Each is its own type, so that one is never taken for another.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// One accepted client, for as long as it is held or relayed. Unique within a daemon's life.
    ConnId
);
id!(
    /// One run of a command.
    CommandId
);
id!(
    /// One look, or one wait, for a listening backend.
    ProbeId
);
id!(
    /// One generation of a service's backend: the current one, or one that drains.
    GenerationId
);
