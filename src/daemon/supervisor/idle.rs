//! EXIT_IDLE_TIME: with everything asleep the process ends, and systemd starts it for the next
//! client. Nobody is lost in that moment: first every service stops accepting and says whether it
//! has anything under way, and only if none has does the process end. Who connects meanwhile waits
//! in a socket that systemd has too, and looks at as soon as we are gone.

use std::{fs, path::PathBuf};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};
use tracing::{info, warn};

use super::{LOOK_LIMIT, Supervisor};
use crate::{daemon::actor::Message, model::duration::show, systemd::Notifier};

/// In the runtime directory, from such an exit to the next start.
const IDLE_EXIT: &str = "idle-exit";

impl Supervisor {
    /// When the daemon may exit if nothing happens until then; `None` while it may not.
    ///
    /// Asking for the status is no use of a service, and puts nothing off.
    pub(super) fn exit_at(&mut self) -> Option<Instant> {
        // Behind sockets of systemd a proxy may be started without being asked to say how it is.
        let may = (self.notifier.is_connected() || self.passes_on)
            && self.sockets.are_all_inherited()
            && self.leaving.is_empty()
            && self.strays.is_empty()
            && self.all_asleep();
        if !may {
            self.asleep_since = None;
            return None;
        }
        let since = *self.asleep_since.get_or_insert_with(Instant::now);
        Some(since + self.exit_idle?)
    }

    /// Has all services stop accepting. If one of them has something under way, they all go on,
    /// and it says so.
    pub(super) async fn all_pause(&mut self) -> bool {
        // Whatever keeps it from exiting now: it is tried again after as much time.
        self.asleep_since = None;
        // A unit that was stopped, or went with a daemon-reload, has closed systemd's end: nobody
        // would start us for a client of that port, and with us it would be closed.
        // Nobody reloads what `forward` has, and it may be no user that could look.
        let kept = match self.passes_on {
            true => Ok(()),
            false => self.sockets.are_kept_by_manager(),
        };
        if let Err(why) = kept {
            warn!("EXIT_IDLE_TIME: the daemon stays, {why}; restart sleepingd to mend that");
            self.exit_idle = None;
            return false;
        }
        let ask = |running: &super::Running| {
            let (to, idle) = oneshot::channel();
            running.tell(Message::Pause(to));
            idle
        };
        let answers: Vec<_> = self.services.values().map(ask).collect();
        for answer in answers {
            // One that does not answer has something under way.
            if !matches!(timeout(LOOK_LIMIT, answer).await, Ok(Ok(true))) {
                self.services
                    .values()
                    .for_each(|running| running.tell(Message::GoOn));
                return false;
            }
        }
        true
    }

    /// Leaves, with every service paused.
    pub(super) fn depart(self) {
        self.tell(Notifier::stopping);
        if let Some(Err(e)) = self.idle_exit_file().map(|path| fs::write(path, "")) {
            warn!("AUTO_START will wake its services when the next client comes: {e}");
        }
        let idle = self.exit_idle.map(|idle| show(idle).to_string());
        info!(
            "everything has slept for {}: the daemon exits, and systemd starts it for the next \
             client (EXIT_IDLE_TIME)",
            idle.unwrap_or_default()
        );
    }

    /// Whether the last daemon left because everything slept. Then this start is no occasion for
    /// AUTO_START: what was put to sleep would be woken by any client of any other service. Once:
    /// the next start is one again.
    pub(super) fn was_idle_exit(&self) -> bool {
        // Not there, or it cannot be removed: then AUTO_START wakes, as at any start.
        self.idle_exit_file()
            .is_some_and(|path| fs::remove_file(path).is_ok())
    }

    fn idle_exit_file(&self) -> Option<PathBuf> {
        let runtime = self.source.runtime.as_ref();
        runtime.map(|runtime| runtime.join(IDLE_EXIT))
    }
}
