//! How long the daemon's threads were deaf: the turns of their event loops, as `turns.c` measures
//! them.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use crate::harness::Stage;

/// What a turn may take of a processor at most.
const LIMIT: Duration = Duration::from_millis(20);

/// One in so many may take longer, and one in any case: the kernel puts the packets of others,
/// whom a busy machine serves just then, on the account of whoever runs. What the program does by
/// itself it does again, and more often: there is a wake for each few hundred turns.
const ONE_IN: u64 = 100_000;

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
    /// Turns of more than the limit.
    late: u64,
}

// === impl Turns ===

impl Turns {
    const WORDS: usize = 6;

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
        let mut empty = [0; Self::WORDS];
        empty[Self::WORDS - 1] = u64::try_from(LIMIT.as_nanos()).unwrap();
        fs::write(&book, empty.map(u64::to_ne_bytes).concat()).unwrap();
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
            late: word(4),
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
        (self.late > 1 + self.turns / ONE_IN).then(|| {
            let Self { late, longest, .. } = self;
            format!(
                "{late} turns of event loops took {LIMIT:?} of a processor or more, up to {longest:?}"
            )
        })
    }

    pub fn words(&self) -> String {
        let Self {
            turns,
            longest,
            slept,
            longest_slept,
            late,
        } = self;
        format!(
            "{turns} turns of the event loops, {longest:.1?} of a processor at most, {late} too long; \
             {slept} of them slept, {longest_slept:.1?} by the clock at most"
        )
    }
}
