//! The end: stop or restart, drain, put to sleep.

use std::time::Duration;

use tracing::{debug, info, warn};

use super::{EXTEND_BY, EXTEND_EVERY, Supervisor};
use crate::{
    daemon::actor::Message,
    service::{Input, Retirement},
    sys::clock,
    systemd::{Job, Notifier, job::JobError, stop_sockets, unit_job},
};

impl Supervisor {
    /// Stops accepting, drains, and puts to sleep what is awake; not at a restart.
    pub(super) async fn end(mut self) {
        self.tell(Notifier::stopping);
        let how = self.retirement().await;
        match how {
            Retirement::Stop => info!("stopping: {}", self.words()),
            Retirement::Keep => {
                info!("restarting: {}; what is awake stays awake", self.words());
            }
        }
        // What was to come back after its old self does not.
        self.leaving.values_mut().for_each(|next| *next = None);
        for running in self.services.values() {
            running.tell(Message::Input(Input::Retire(how)));
        }
        let mut extend = tokio::time::interval(EXTEND_EVERY);
        let patience = clock::now() + self.patience();
        loop {
            tokio::select! {
                ended = self.actors.join_next() => match ended {
                    Some(ended) => self.ended(ended),
                    None => break,
                },
                _ = extend.tick() => {
                    // A STOP that hangs must not hold up a shutdown for ever: from then on
                    // TimeoutStopSec= counts.
                    if clock::now() < patience {
                        self.tell(|notifier| notifier.extend_timeout(EXTEND_BY));
                    }
                    let status = format!("ending: {}", self.words());
                    self.tell(|notifier| notifier.status(&status));
                    self.tell(Notifier::watchdog);
                }
            }
        }
        if how == Retirement::Stop {
            self.sockets.remove_paths();
        }
        info!("ended");
    }

    /// How long the end may take by the configuration: the longest drain, and the longest STOP.
    fn patience(&self) -> Duration {
        let policies = || {
            self.services
                .values()
                .map(|running| &running.definition.policy)
        };
        let drain = policies().filter_map(|policy| policy.timeouts.drain).max();
        let stop = policies()
            .filter_map(|policy| policy.command_timeouts.stop.or(policy.timeouts.stop))
            .max();
        drain.unwrap_or_default() + stop.unwrap_or_default()
    }

    async fn retirement(&self) -> Retirement {
        if !self.notifier.is_connected() {
            return Retirement::Stop;
        }
        match unit_job().await {
            Ok(Job::Restart) => Retirement::Keep,
            Ok(Job::Stop) => {
                if let Err(e) = stop_sockets().await {
                    debug!("the sockets are left to systemd: {e}");
                }
                Retirement::Stop
            }
            // A signal by hand, or another manager than systemd.
            Ok(Job::None) | Err(JobError::NoUnit) => Retirement::Stop,
            Err(e) => {
                warn!("is this a stop or a restart? {e}; taken for a stop");
                Retirement::Stop
            }
        }
    }
}
