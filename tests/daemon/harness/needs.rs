//! What is not there on every machine: programs, rights, descriptors. A test that lacks something
//! says so, and is over.

use std::{
    io::{self, Write},
    path::Path,
    thread,
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Where programs are looked for.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whether a program is there to be used; said, if not.
pub fn has(program: &str) -> bool {
    let found = PATH
        .split(':')
        .any(|directory| Path::new(directory).join(program).exists());
    if !found {
        skipped(&format!("there is no {program}"));
    }
    found
}

/// Whether this test, and the daemons that it starts, may have so many descriptors each.
pub fn may_open(descriptors: u64) -> bool {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // Root may raise the hard limit as well.
    let enough = soft >= descriptors
        || setrlimit(Resource::RLIMIT_NOFILE, descriptors, hard.max(descriptors)).is_ok();
    if !enough {
        skipped(&format!(
            "it needs {descriptors} open files, and the limit is {hard}"
        ));
    }
    enough
}

/// Whether this test is root's; said, if not.
pub fn is_root(what_for: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        skipped(&format!("it needs root, {what_for}"));
    }
    root
}

/// Says so even where the output of tests that pass is kept back.
pub fn skipped(why: &str) {
    let test = thread::current();
    let name = test.name().unwrap_or("a test");
    let _ = writeln!(io::stderr(), "SKIPPED {name}: {why}");
}
