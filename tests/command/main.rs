//! Commands, as real processes: what they are given, when they are done, and what is left of them.
//!
//! | file | the question |
//! | --- | --- |
//! | `done` | when is a command done? |
//! | `ended` | how is it put down, and what is left? |
//! | `given` | what is it given? |
//! | `refused` | what cannot be run, and what is said of it? |
//! | `printed` | where does what it prints go, later and after the daemon? |
//! | `strays` | what was started, and never written down? |
#![allow(
    clippy::unwrap_used,
    reason = "clippy exempts test functions, not what they call"
)]

mod cgroup;
mod done;
mod ended;
mod given;
mod log;
mod printed;
mod refused;
mod rig;
mod strays;
