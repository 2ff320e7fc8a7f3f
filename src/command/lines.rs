//! Lines out of bytes, and how many of them are logged: both have limits, since what a command
//! prints has none.

use std::{borrow::Cow, time::Duration};

use crate::model::Timestamp;

/// How much of a line is kept; the rest of it is dropped.
pub(super) const LINE_MAX: usize = 4096;
/// How many lines of a command are logged in one [`WINDOW`].
pub(super) const WINDOW_LINES: u32 = 200;
/// How long a window lasts, from its first line.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// Cuts a stream of bytes into lines.
#[derive(Debug, Default)]
pub(super) struct LineSplitter {
    /// What there is of the line that has no end yet.
    partial: Vec<u8>,
    /// More came than fits.
    cut: bool,
}

/// One line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// At most [`LINE_MAX`] bytes of it; what is not UTF-8 is replaced.
    pub(super) text: Cow<'a, str>,
    /// It was longer.
    pub(super) cut: bool,
}

/// Lets so many lines through in so long, and counts the others.
#[derive(Debug, Default)]
pub(super) struct RateLimit {
    /// When the window began; `None` before the first line.
    began: Option<Timestamp>,
    passed: u32,
    suppressed: u64,
}

// === impl LineSplitter ===

impl LineSplitter {
    /// Takes bytes, and gives each line that they complete.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(Line<'_>)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.partial.is_empty() && line.len() <= LINE_MAX {
                // The common case, a line that came whole: no copy.
                each(Line {
                    text: text(line),
                    cut: false,
                });
            } else {
                self.add(line);
                self.finish(&mut each);
            }
            bytes = rest;
        }
        self.add(bytes);
    }

    /// Gives the last line, where it has no end. The stream may go on.
    pub(super) fn finish(&mut self, mut each: impl FnMut(Line<'_>)) {
        if !self.partial.is_empty() {
            each(Line {
                text: text(&self.partial),
                cut: self.cut,
            });
        }
        self.partial.clear();
        self.cut = false;
    }

    fn add(&mut self, bytes: &[u8]) {
        let room = LINE_MAX - self.partial.len();
        self.cut |= bytes.len() > room;
        self.partial
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// A carriage return before the end belongs to the end.
fn text(line: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line))
}

// === impl RateLimit ===

impl RateLimit {
    /// Whether a line may be logged now. Ask [`Self::suppressed`] first.
    pub(super) fn admit(&mut self, now: Timestamp) -> bool {
        let expired = match self.began {
            None => true,
            Some(began) => now.since(began) >= WINDOW,
        };
        if expired {
            self.began = Some(now);
            self.passed = 0;
        }
        if self.passed < WINDOW_LINES {
            self.passed += 1;
            return true;
        }
        self.suppressed += 1;
        false
    }

    /// How many lines were not logged, once their window is over: to be said once.
    pub(super) fn suppressed(&mut self, now: Timestamp) -> Option<u64> {
        self.due_in(now)
            .is_some_and(|wait| wait.is_zero())
            .then(|| std::mem::take(&mut self.suppressed))
    }

    /// How many lines were not logged and not yet spoken of, whatever the time.
    pub(super) fn rest(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.suppressed)).filter(|count| *count > 0)
    }

    /// How long until there is something to say of suppressed lines.
    pub(super) fn due_in(&self, now: Timestamp) -> Option<Duration> {
        let began = self.began.filter(|_| self.suppressed > 0)?;
        Some(WINDOW.saturating_sub(now.since(began)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(splitter: &mut LineSplitter, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        splitter.feed(bytes, |line| lines.push(line.text.into_owned()));
        lines
    }

    #[test]
    fn lines_come_out_however_they_are_cut_up() {
        let mut splitter = LineSplitter::default();
        assert_eq!(lines(&mut splitter, b"one\ntw"), ["one"]);
        assert_eq!(lines(&mut splitter, b"o\r\n\nthree"), ["two", ""]);
        let mut last = Vec::new();
        splitter.finish(|line| last.push(line.text.into_owned()));
        assert_eq!(last, ["three"]);
        splitter.finish(|_| panic!("there is nothing left"));
    }

    #[test]
    fn a_line_without_end_takes_no_more_than_its_limit() {
        let mut splitter = LineSplitter::default();
        for _ in 0..1000 {
            assert!(lines(&mut splitter, &[b'x'; 4096]).is_empty());
        }
        assert!(splitter.partial.capacity() <= 2 * LINE_MAX);
        let mut got = Vec::new();
        splitter.feed(b"tail\nnext\n", |line| {
            got.push((line.text.len(), line.cut))
        });
        assert_eq!(got, [(LINE_MAX, true), (4, false)]);
    }

    #[test]
    fn a_long_line_that_came_whole_is_cut_too() {
        let mut long = vec![b'x'; LINE_MAX + 1];
        long.push(b'\n');
        let mut got = Vec::new();
        LineSplitter::default().feed(&long, |line| got.push((line.text.len(), line.cut)));
        assert_eq!(got, [(LINE_MAX, true)]);
    }

    #[test]
    fn what_is_not_text_is_replaced() {
        assert_eq!(
            lines(&mut LineSplitter::default(), b"a\xffb\n"),
            ["a\u{fffd}b"]
        );
    }

    #[test]
    fn a_flood_is_counted_and_spoken_of_once_its_window_is_over() {
        let mut limit = RateLimit::default();
        let start = Timestamp::BOOT + Duration::from_secs(100);
        let passed = (0..1000).filter(|_| limit.admit(start)).count();
        assert_eq!(passed, WINDOW_LINES as usize);
        assert_eq!(limit.suppressed(start), None);
        assert_eq!(limit.due_in(start), Some(WINDOW));
        let later = start + WINDOW;
        assert_eq!(limit.suppressed(later), Some(800));
        assert_eq!(limit.suppressed(later), None);
        assert_eq!(limit.due_in(later), None);
        assert!(limit.admit(later));
        assert_eq!(limit.rest(), None);
    }
}
