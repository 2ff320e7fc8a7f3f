//! The relay between real sockets. Each test's name is a promise.
//!
//! A peer is an ordinary blocking socket in the test's thread; the relay runs on a runtime in a
//! thread of its own. So a test waits by reading. Every socket has a time limit that only a
//! relay that hangs can reach.

#![allow(clippy::unwrap_used)] // a test's helpers fail as the test does

mod ends;
mod fair;
mod held;
mod limits;
mod moves;
mod pressure;
mod resets;
mod rig;
