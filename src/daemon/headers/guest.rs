//! A client that the service has not heard of: how it ends is told here.

use std::{io, sync::Arc, thread, time::Duration};

use crate::{
    daemon::outcome::{ClientOutcome, Unserved},
    model::{ClientAddr, ServiceName, Timestamp},
    service::Refusal,
    sys::clock,
};

/// One such client. Dropped as it is, it is reset with all the others, at the end of the service:
/// nobody comes back to it then, and that is told too.
pub(super) struct Guest {
    service: Arc<ServiceName>,
    client: ClientAddr,
    since: Timestamp,
    over: bool,
}

impl Guest {
    /// It was accepted at `since`.
    pub(super) fn new(service: Arc<ServiceName>, client: ClientAddr, since: Timestamp) -> Self {
        Self {
            service,
            client,
            since,
            over: false,
        }
    }

    /// By which address it is known.
    pub(super) fn client(&self) -> ClientAddr {
        self.client
    }

    /// When it was accepted.
    pub(super) fn since(&self) -> Timestamp {
        self.since
    }

    /// It has said who it is.
    pub(super) fn named(&mut self, client: ClientAddr) {
        self.client = client;
    }

    /// From here on it is the service's.
    pub(super) fn admitted(mut self) {
        self.over = true;
    }

    /// It has ended.
    pub(super) fn ends(mut self, why: Unserved<'_>) {
        self.over = true;
        self.outcome(why).tell();
    }

    /// The same, for an administrator who has not asked; `more` were not told so since the last.
    pub(super) fn ends_loudly(mut self, why: Unserved<'_>, more: usize) {
        self.over = true;
        self.outcome(why).warn(more);
    }

    /// The same, for there is no memory to watch it.
    pub(super) fn ends_unwatched(self, error: &io::Error) {
        let why = Refusal::NoRoom(error.to_string());
        self.ends(Unserved::Refused(&why));
    }

    fn outcome<'a>(&'a self, why: Unserved<'a>) -> ClientOutcome<'a> {
        ClientOutcome::unserved(Some(&self.service), self.client, self.held(), why)
    }

    fn held(&self) -> Duration {
        clock::now().since(self.since)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Of a panic somebody else hears.
        if !self.over && !thread::panicking() {
            self.outcome(Unserved::Refused(&Refusal::Ending)).tell();
        }
    }
}
