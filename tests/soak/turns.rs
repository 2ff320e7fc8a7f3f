//! How long the daemon's threads were deaf: the turns of their event loops, as `turns.c` measures
//! them.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use crate::harness::Stage;

/// What a turn may take of a processor at most.
const LIMIT: Duration = Duration::from_millis(20);

/// What stands between the daemon and the kernel.
pub struct Turns {
    library: PathBuf,
    book: PathBuf,
}

/// What has been seen.
#[derive(Debug)]
pub struct Seen {
    turns: u64,
    /// Of processor time.
    longest: Duration,
    /// Turns in which a thread went to sleep elsewhere than where it waits for events.
    slept: u64,
    /// Of such a turn, by the clock: the wait for a processor is in it.
    longest_slept: Duration,
}

// === impl Turns ===

impl Turns {
    const WORDS: usize = 4;

    /// Whoever can link a Rust program has a C compiler.
    pub fn new(stage: &Stage) -> Self {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/soak/turns.c");
        let library = stage.path("turns.so");
        let mut compiler = Command::new("cc");
        let flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"];
        compiler.args(flags).args(["-shared", "-fPIC", "-o"]);
        let compiled = compiler.arg(&library).arg(source).status().unwrap();
        assert!(compiled.success(), "{compiler:?}");
        let book = stage.path("turns");
        fs::write(&book, [0; Self::WORDS * 8]).unwrap();
        Self { library, book }
    }

    /// What this command runs is measured.
    pub fn measure(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("TURNS", &self.book);
    }

    pub fn seen(&self) -> Seen {
        let bytes = fs::read(&self.book).unwrap();
        let word = |at: usize| u64::from_ne_bytes(bytes[at * 8..][..8].try_into().unwrap());
        Seen {
            turns: word(0),
            longest: Duration::from_nanos(word(1)),
            slept: word(2),
            longest_slept: Duration::from_nanos(word(3)),
        }
    }
}

// === impl Seen ===

impl Seen {
    /// What is wrong with them.
    pub fn wrong(&self) -> Option<String> {
        if self.turns == 0 {
            return Some("no turn of the event loops was seen".to_owned());
        }
        let Self { longest, .. } = self;
        (*longest >= LIMIT).then(|| {
            format!("a turn of an event loop took {longest:?} of a processor, and may {LIMIT:?}")
        })
    }

    pub fn words(&self) -> String {
        let Self {
            turns,
            longest,
            slept,
            longest_slept,
        } = self;
        format!(
            "{turns} turns of the event loops, {longest:.1?} of a processor at most; \
             {slept} of them slept, {longest_slept:.1?} by the clock at most"
        )
    }
}
