//! Carries out what the services decide.
//!
//! | file | the idea in it |
//! | --- | --- |
//! | `supervisor` | the process: signals, reloads, requests, the end |
//! | `startup` | what is there before the first client: files, records, sockets |
//! | `actor` | one task per service: inputs in, outputs carried out |
//! | `connection` | one task per client: held, connected, relayed |
//! | `headers` | PROXY headers: read before a service hears of a client, sent before its first byte |
//! | `threads` | on which thread a client's task runs |
//! | `probes` | looks and waits, for the actor |
//! | `accept` | accepting, and what to do when it fails |
//! | `budget` | descriptors: so many for clients, the rest held back for commands |
//! | `listeners` | whose inherited sockets are, and what is bound beside them |
//! | `configuration` | reading the files, and what to serve when they are broken |
//! | `scope` | the machine's daemon or a user's, and where its files are |
//! | `held` | which generated socket units must stay away, since we have their port |
//! | `records` | what is awake, on disk |
//! | `outcome` | how a client ended: one struct, one line, one count |
//! | `reporting` | what the services report, as log lines |
//! | `status` | what `sleepingctl status` and `STATUS=` show |
//! | `keeper` | descriptors that systemd keeps for the next daemon |

mod accept;
mod actor;
mod budget;
mod configuration;
mod connection;
mod headers;
mod held;
mod keeper;
mod listeners;
mod outcome;
mod probes;
mod records;
mod reporting;
mod scope;
mod startup;
mod status;
mod supervisor;
mod threads;

pub use crate::model::Scope;
pub use configuration::{
    ConfigurationError, check_for_generator, keep_as_last_good, keep_first_good,
    load_for_foreground, load_for_generator, missing_accounts,
};
pub use held::{forget_held, held_units};
pub use startup::{Ended, Options, StartError};
pub use supervisor::{put_to_sleep, run};
