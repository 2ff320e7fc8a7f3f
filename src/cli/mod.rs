//! The command lines: what the programs take. Types and texts, and nothing else.
//!
//! They are here, and not beside each `main`, because three things are made of them: the parser,
//! the manual pages and the completions of shells (`packaging/pages`). What a program does with
//! what it was given is its own business.
//!
//! | module | the program |
//! | --- | --- |
//! | [`sleepingd`] | the daemon |
//! | [`sleepingctl`] | who talks to the daemon |
//! | [`generator`] | what systemd runs at boot |

pub mod generator;
pub mod sleepingctl;
pub mod sleepingd;
