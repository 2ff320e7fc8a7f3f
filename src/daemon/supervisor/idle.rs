//! EXIT_IDLE_TIME: with everything asleep the process ends, and systemd starts it for the next
//! client. Nobody is lost in that moment: first every service stops accepting and says whether it
//! has anything under way, and only if none has does the process end. Who connects meanwhile waits
//! in a socket that systemd has too, and looks at as soon as we are gone.

use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};
use tracing::info;

use super::{LOOK_LIMIT, Supervisor};
use crate::{daemon::actor::Message, model::duration::show, systemd::Notifier};

impl Supervisor {
    /// When the daemon may exit if nothing happens until then; `None` while it may not.
    pub(super) fn exit_at(&self) -> Option<Instant> {
        let idle = self.exit_idle?;
        let may = self.notifier.is_connected()
            && self.sockets.are_all_inherited()
            && self.leaving.is_empty()
            && self.all_asleep();
        may.then(|| Instant::now() + idle)
    }

    /// Has all services stop accepting. If one of them has something under way, they all go on,
    /// and it says so.
    pub(super) async fn all_pause(&mut self) -> bool {
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
        let idle = self.exit_idle.map(|idle| show(idle).to_string());
        info!(
            "everything has slept for {}: the daemon exits, and systemd starts it for the next \
             client (EXIT_IDLE_TIME)",
            idle.unwrap_or_default()
        );
    }
}
