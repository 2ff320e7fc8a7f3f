//! What a daemon says: on standard error, or to the journal.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::net::{UnixDatagram, UnixStream},
    path::Path,
    sync::{Arc, Condvar, Mutex},
    thread,
};

use super::entry::fields;

/// Where journald reads.
const JOURNAL: &str = "/run/systemd/journal/socket";

#[derive(Default)]
pub struct Log {
    pub state: Mutex<LogState>,
    pub news: Condvar,
}

#[derive(Default)]
pub struct LogState {
    pub lines: Vec<String>,
    pub ended: bool,
}

/// Journald's socket, in the `/run` of a test alone.
pub struct Journal(UnixDatagram);

// === impl Journal ===

impl Journal {
    pub fn bound() -> Self {
        fs::create_dir_all(Path::new(JOURNAL).parent().unwrap()).unwrap();
        Self(UnixDatagram::bind(JOURNAL).unwrap())
    }
}

// === impl Log ===

impl Log {
    pub fn follow(stderr: impl Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let writer = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                writer.add(line);
            }
            writer.ends();
        });
        log
    }

    /// Until the stream has ended; nothing is said there.
    pub fn follow_journal(journal: Journal, stream: UnixStream) -> Arc<Self> {
        const END: &[u8] = b"the end";
        let log = Arc::new(Self::default());
        let writer = Arc::clone(&log);
        thread::spawn(move || {
            let mut entry = vec![0; 65536];
            loop {
                match journal.0.recv(&mut entry) {
                    Ok(length) if &entry[..length] == END => return writer.ends(),
                    // It is asked whether somebody reads.
                    Ok(0) => {}
                    Ok(length) => writer.add(fields(&entry[..length]).join("\t")),
                    Err(e) => panic!("the journal cannot be read: {e}"),
                }
            }
        });
        let writer = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                writer.add(format!("beside the journal: {line}"));
            }
            // Behind all that the daemon has sent.
            let end = UnixDatagram::unbound().unwrap();
            end.send_to(END, JOURNAL).unwrap();
        });
        log
    }

    fn add(&self, line: String) {
        self.state.lock().unwrap().lines.push(line);
        self.news.notify_all();
    }

    fn ends(&self) {
        self.state.lock().unwrap().ended = true;
        self.news.notify_all();
    }
}
