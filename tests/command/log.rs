//! What is logged, for the test that it concerns.

use std::{
    cell::RefCell,
    io::Write,
    sync::{Once, mpsc as channel},
};

/// Gives each line of the log to the test that runs on the same thread. One subscriber for all:
/// those of single threads confuse one another's filters.
struct Log;

thread_local! {
    static LINES: RefCell<Option<channel::Sender<String>>> = const { RefCell::new(None) };
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.with_borrow(|lines| {
            if let Some(lines) = lines {
                // The test may be over: what is logged now concerns nobody.
                let _ = lines.send(String::from_utf8_lossy(bytes).into_owned());
            }
        });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Before any command runs: a place that logs while the subscriber is being set may never learn
/// of it.
pub fn set_up_logging() {
    static SUBSCRIBER: Once = Once::new();
    SUBSCRIBER.call_once(|| {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(|| Log)
            .init();
    });
}

/// What this thread logs from now on.
pub fn log() -> channel::Receiver<String> {
    let (tell, lines) = channel::channel();
    LINES.set(Some(tell));
    lines
}
