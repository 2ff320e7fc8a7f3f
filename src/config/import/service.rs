//! A service as ynetd is told of it: texts, whichever way they came.

use super::{Place, Said};

/// One service. What is not said is left to ynetd's defaults.
#[derive(Debug)]
pub(super) struct Service {
    /// Where it begins.
    pub(super) place: Place,
    /// Where it listens, and where that leads.
    pub(super) proxy: Vec<(Said, Said)>,
    /// The program and its arguments, and where they begin.
    pub(super) command: Option<(Vec<String>, Place)>,
    /// Start it without a client.
    pub(super) auto_start: Option<(bool, Place)>,
    /// How long nobody may have used it.
    pub(super) stop_after: Option<Said>,
    /// How it is ended.
    pub(super) stop_signal: Option<Said>,
    /// How long a client tries to reach it.
    pub(super) timeout: Option<Said>,
    /// How long it is left alone after its start.
    pub(super) wait_after_start: Option<Said>,
}

impl Service {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            proxy: Vec::new(),
            command: None,
            auto_start: None,
            stop_after: None,
            stop_signal: None,
            timeout: None,
            wait_after_start: None,
        }
    }

    /// Adds a pair. Of two that listen at the same address ynetd has the later.
    pub(super) fn lead(&mut self, from: Said, to: Said) -> Option<Said> {
        let twin = self
            .proxy
            .iter()
            .position(|(other, _)| other.text == from.text);
        let earlier = twin.map(|at| self.proxy.remove(at).1);
        self.proxy.push((from, to));
        earlier
    }
}
