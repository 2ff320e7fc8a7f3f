//! Small typed wrappers around system calls. The only module with `unsafe`: each block says why
//! it is sound. One subject a file or folder; policy lives with the callers.
#![allow(unsafe_code)]

pub mod cgroup;
pub mod clock;
pub mod diag;
pub mod fd;
pub mod inherit;
pub mod listener;
pub mod memory;
pub mod net;
pub mod pipe;
#[cfg(test)]
mod planted;
pub mod process;
pub mod stream;
pub mod timer;
pub mod user;
