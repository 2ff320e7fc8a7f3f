//! sleepingd keeps TCP services asleep until somebody connects.
//!
//! # The map
//!
//! | module | what lives there | may use |
//! | --- | --- | --- |
//! | [`model`] | names, addresses, durations, policies: plain data, no I/O | nothing of ours |
//! | [`service`] | the heart: generations and their lifecycle, the hold queue, idle policy, balancing. Inputs and `now` in, outputs out | `model` |
//! | [`proxy_protocol`] | the header that says where a client really comes from: read and written, no I/O | `model` |
//! | [`config`] | the INI file: lines, keys, validation, explanation | `service`, `model` |
//! | [`command`] | START/CHECK/STOP/IDLE: spawn, user, timeout, output, exit | `model`, `sys` |
//! | [`container`] | `sleepingd container`: what CONTAINER stands for, by docker or podman | `model` |
//! | [`readiness`] | is anybody listening there yet? | `model`, `sys` |
//! | [`relay`] | the two-way copy between a client and a destination | `model`, `sys` |
//! | [`discovery`] | where destinations come from | `model`, `sys` |
//! | [`control`] | the HTTP API on a unix socket, server and client side by side | `model`, `sys` |
//! | [`systemd`] | socket activation, notification, descriptor store, journal | `model`, `sys` |
//! | [`sys`] | small typed wrappers around system calls; the only `unsafe` | `model` |
//! | [`cli`] | the command lines of the programs: types for the parser, the manual and the shells | nothing of ours |
//! | [`daemon`] | carries out what `service` decides: one task per service | all of the above but `cli` |
//!
//! And for tests alone:
//!
//! | module | what lives there | may use |
//! | --- | --- | --- |
//! | `choices` | what simulations choose by: a seed, or the bytes of a fuzzer | nothing of ours |
//! | `fuzzing` | the targets of the fuzzers; what must hold is in each module's `fuzz.rs` | all of the above |
//!
//! Siblings never import one another: what one of them needs from another is a request among
//! the outputs of [`service`], and [`daemon`] carries it out. `tests/layering.rs` guards this.

#[cfg(any(test, fuzzing))]
#[allow(
    dead_code,
    reason = "the simulation of the lifecycle has it too, and draws more"
)]
mod choices;
pub mod cli;
pub mod command;
pub mod config;
pub mod container;
pub mod control;
pub mod daemon;
pub mod discovery;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod model;
pub mod proxy_protocol;
pub mod readiness;
pub mod relay;
pub mod service;
pub mod sys;
pub mod systemd;
