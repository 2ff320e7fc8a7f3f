//! Talks to the daemon.
fn main() {}
