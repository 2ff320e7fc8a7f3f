//! The entries of the table, in the order of the manual.
//!
//! | file | the keys in it |
//! | --- | --- |
//! | `places` | where clients come in, and where they are led |
//! | `lifecycle` | what wakes the backend, and what puts it to sleep |
//! | `commands` | how commands are run: for how long, as whom, and with what |
//! | `waking` | how a wake goes, and when the backend is ready |
//! | `clients` | which clients are let in, how many, and for how long |
//! | `others` | the daemon itself; backends of other kinds; what sleeping-beauty had |

mod clients;
mod commands;
mod lifecycle;
mod others;
mod places;
mod waking;

pub(in crate::config) use self::{
    clients::*, commands::*, lifecycle::*, others::*, places::*, waking::*,
};
use super::KeyInfo;

/// The keys of a file: a chapter of the manual.
#[derive(Debug)]
pub struct Group {
    /// What they are about.
    pub title: &'static str,
    /// In the order of the manual.
    pub keys: &'static [&'static KeyInfo],
}

/// The files, in the order of the manual.
pub static GROUPS: &[Group] = FILES;

const FILES: &[Group] = &[
    Group {
        title: "Where clients come in, and where they are led",
        keys: places::KEYS,
    },
    Group {
        title: "What wakes the backend, and what puts it to sleep",
        keys: lifecycle::KEYS,
    },
    Group {
        title: "How commands are run",
        keys: commands::KEYS,
    },
    Group {
        title: "How a wake goes, and when the backend is ready",
        keys: waking::KEYS,
    },
    Group {
        title: "Which clients are let in, how many, and for how long",
        keys: clients::KEYS,
    },
    Group {
        title: "The daemon itself, and other keys",
        keys: others::KEYS,
    },
];

/// How many keys they have together.
const COUNT: usize = {
    let (mut count, mut file) = (0, 0);
    while file < FILES.len() {
        count += FILES[file].keys.len();
        file += 1;
    }
    count
};

/// Every key, in the order of the manual.
pub static ALL: &[&KeyInfo] = &joined();

const fn joined() -> [&'static KeyInfo; COUNT] {
    let mut all = [FILES[0].keys[0]; COUNT];
    let (mut count, mut file) = (0, 0);
    while file < FILES.len() {
        let mut at = 0;
        while at < FILES[file].keys.len() {
            all[count] = FILES[file].keys[at];
            count += 1;
            at += 1;
        }
        file += 1;
    }
    all
}
