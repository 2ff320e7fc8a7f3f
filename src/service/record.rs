//! What survives a restart of the daemon.

use serde::{Deserialize, Serialize};

use crate::model::{Destination, ServiceName, Timestamp};

/// What is awake: written at each change, read by the next daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Of which service.
    pub service: ServiceName,
    /// Since when it is awake.
    pub since: Timestamp,
    /// When it was last used.
    pub last_use: Timestamp,
    /// Whether somebody used it when this was written: then the last use is later, and the next
    /// daemon takes the moment of its own start for it.
    pub in_use: bool,
    /// Where it is. Empty: START decides for each connection, or nobody has said.
    pub destinations: Vec<Destination>,
}
