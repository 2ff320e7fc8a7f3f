//! A connected socket with the runtime.
