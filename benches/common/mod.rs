//! What all benches use: one clock, free addresses, what /proc says of a process.

// Not every bench uses all of it.
#![allow(dead_code)]

pub mod clock;
pub mod machine;
pub mod ports;
pub mod process;
pub mod rank;

/// Whatever goes wrong ends the run: a figure with a hole in it is none.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;
