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

/// The files, in the order of the manual.
const FILES: &[&[&KeyInfo]] = &[
    places::KEYS,
    lifecycle::KEYS,
    commands::KEYS,
    waking::KEYS,
    clients::KEYS,
    others::KEYS,
];

/// How many keys they have together.
const COUNT: usize = {
    let (mut count, mut file) = (0, 0);
    while file < FILES.len() {
        count += FILES[file].len();
        file += 1;
    }
    count
};

/// Every key, in the order of the manual.
pub static ALL: &[&KeyInfo] = &joined();

const fn joined() -> [&'static KeyInfo; COUNT] {
    let mut all = [FILES[0][0]; COUNT];
    let (mut count, mut file) = (0, 0);
    while file < FILES.len() {
        let mut at = 0;
        while at < FILES[file].len() {
            all[count] = FILES[file][at];
            count += 1;
            at += 1;
        }
        file += 1;
    }
    all
}
