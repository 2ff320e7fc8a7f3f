//! The heart, free of I/O: what a service does, and when.
//!
//! A [`Service`] is told what happened ([`Input`], with `now`) and answers with what is to be done
//! ([`Output`]); [`crate::daemon`] carries it out. No clock, no task, no process, no socket: so
//! that seeded simulation (`tests/simulation`) can show what holds in every order of events.
//!
//! | file | the idea in it |
//! | --- | --- |
//! | `lifecycle` | the states of a generation and the arrows between them, as a table |
//! | `generation/` | one generation of a backend: its state, how it wakes, idles, ends, and its clients |
//! | `wake/` | the steps of one wake: CHECK, START, wait until somebody listens, READY |
//! | `stop` | the steps of one stop: STOP, then wait until the backend is gone |
//! | `failure` | a command that failed, in words |
//! | `idle` | when is it idle? |
//! | `hold` | clients that wait for a wake |
//! | `balance` | which destination first |
//! | `backoff` | how long to wait after a failed wake |
//! | `record` | what survives a restart of the daemon |
//! | `machine/` | the service: admits clients, holds them, wakes, relays, sleeps |
//! | `cx` | what every step has at hand: the moment, the configuration, free identities |
//! | `port` | the inputs and outputs |

mod backoff;
mod balance;
mod cx;
mod failure;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod generation;
mod hold;
mod idle;
pub mod lifecycle;
mod machine;
mod port;
mod record;
mod stop;
mod wake;

pub use machine::{DrainingSnapshot, Service, Snapshot};
pub use port::{
    Cause, ConnectFailure, Input, Output, ProbeKind, ProbeVerdict, Refusal, Report, Retirement,
};
pub use record::{BackendRecord, Record};
