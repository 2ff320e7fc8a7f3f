//! Control groups of commands.
