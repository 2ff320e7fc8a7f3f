//! Identities. Each is its own type, so that one is never taken for another.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasherDefault, Hasher},
};

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
    /// One life of a COMMAND.
    BackendId
);
id!(
    /// One look, or one wait, for a listening backend.
    ProbeId
);
id!(
    /// One generation of a service's backend: the current one, or one that drains.
    GenerationId
);

/// A table by client.
pub type ConnMap<V> = HashMap<ConnId, V, BuildHasherDefault<PlainHasher>>;

/// A hash for numbers that we count up ourselves. A client cannot choose its own; one that keeps
/// few of very many connections could make those collide, but only as many as may be open at once.
#[derive(Debug, Default, Clone, Copy)]
pub struct PlainHasher(u64);

// === impl PlainHasher ===

impl Hasher for PlainHasher {
    fn write_u64(&mut self, number: u64) {
        // Fibonacci hashing (Knuth, TAOCP 6.4): the table looks at the highest bits and the lowest.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
