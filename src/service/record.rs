//! What survives a restart of the daemon.

use serde::{Deserialize, Serialize};

use crate::model::{BackendProcess, Destination, ServiceName, StopPlan, Timestamp};

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
    /// COMMAND, while it runs. Earlier versions did not write it.
    #[serde(default)]
    pub backend: Option<BackendRecord>,
}

/// A COMMAND that runs: all that the next daemon must know to end it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendRecord {
    /// Which process it is.
    pub process: BackendProcess,
    /// When it was started.
    pub since: Timestamp,
    /// How it is ended.
    pub stop: StopPlan,
}
