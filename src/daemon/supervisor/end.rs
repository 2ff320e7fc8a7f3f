//! The end: stop or restart, drain, put to sleep.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{EXTEND_BY, EXTEND_EVERY, EndSignals, Running, Supervisor};
use crate::{
    config::Loaded,
    daemon::actor::Message,
    model::{CommandExit, StopPlan, StopSignal},
    service::{Input, Retirement},
    systemd::{Job, Notifier, job::JobError, stop_sockets, unit_job},
};

/// What has no limit in the configuration has this one at the end.
const UNLIMITED: Duration = Duration::from_secs(90);

/// Beyond the limits of the configuration, for all that lies between them.
const SLACK: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Stops accepting, drains, and puts to sleep what is awake; not at a restart.
    /// A signal more hurries it: relays are cut, commands killed.
    pub(super) async fn end(
        mut self,
        by: StopSignal,
        signals: &mut EndSignals,
    ) -> Option<CommandExit> {
        self.tell(Notifier::stopping);
        if self.passes_on {
            self.pass_end_on(by);
        }
        // Before systemd is asked anything: who comes from now on waits for the next daemon.
        self.tell_all(|| Message::Listen(Vec::new()));
        let how = self.retirement().await;
        match how {
            Retirement::Stop => {
                info!("stopping: {}", self.words());
                // The descriptor store ends with the unit, and these ports with it. Now: who is
                // killed on the way must not leave them held.
                self.held.set(&BTreeSet::new());
                // Nobody will mend the sections that had errors before it is too late.
                self.look_after_forgotten(&Loaded::default());
            }
            Retirement::Keep => {
                info!("restarting: {}; what is awake stays awake", self.words());
            }
        }
        self.retire_all(how, signals).await;
        if how == Retirement::Stop {
            self.sockets.remove_paths();
        }
        info!("ended");
        self.command_exit
    }

    /// What ends us ends what we run, at once: it may finish what it has open.
    fn pass_end_on(&self, by: StopSignal) {
        for running in self.services.values() {
            if let Some(command) = &running.definition.recipe.command {
                let signal = by;
                running.tell(Message::EndBackends(StopPlan {
                    signal,
                    ..command.stop
                }));
            }
        }
    }

    /// Until every service has ended.
    pub(super) async fn retire_all(&mut self, how: Retirement, signals: &mut EndSignals) {
        // What was to come back after its old self does not.
        self.leaving.values_mut().for_each(|left| left.next.clear());
        self.tell_all(|| Message::Input(Input::Retire(how)));
        let mut extend = tokio::time::interval(EXTEND_EVERY);
        let mut patience = Instant::now() + self.patience();
        while !self.actors.is_empty() || !self.strays.is_empty() {
            tokio::select! {
                Some(ended) = self.actors.join_next() => self.ended(ended),
                () = self.strays.next(), if !self.strays.is_empty() => {}
                _ = signals.next() => {
                    warn!("told again to end: connections are cut, commands killed");
                    self.hurry();
                }
                () = tokio::time::sleep_until(patience) => {
                    warn!(
                        "ending takes too long; waiting no more for {}: connections are cut, \
                         commands killed",
                        self.not_ended()
                    );
                    self.hurry();
                    patience += EXTEND_BY;
                }
                _ = extend.tick() => {
                    self.tell(|notifier| notifier.extend_timeout(EXTEND_BY));
                    let status = format!("ending: waiting for {}", self.not_ended());
                    self.tell(|notifier| notifier.status(&status));
                    if self.notifier.watchdog_interval().is_some() {
                        self.tell(Notifier::watchdog);
                    }
                }
            }
        }
    }

    fn tell_all(&self, message: impl Fn() -> Message) {
        for running in self.services.values() {
            running.tell(message());
        }
    }

    fn hurry(&self) {
        let leaving = self.leaving.values().map(|left| &left.running);
        for running in self.services.values().chain(leaving) {
            running.tell(Message::Input(Input::Hurry));
        }
        self.strays.kill();
    }

    fn not_ended(&self) -> String {
        let leaving = self.leaving.values().map(|left| &left.running);
        let names: Vec<String> = self
            .services
            .values()
            .chain(leaving)
            .map(|r| r.definition.name.to_string())
            .collect();
        format!("{} ({})", names.join(", "), self.words())
    }

    /// How long the end may take by the configuration: as long as the slowest service, those that
    /// leave already among them. What has no limit has one now: it must not hold up a shutdown for
    /// ever.
    fn patience(&self) -> Duration {
        let leaving = self.leaving.values().map(|left| &left.running);
        let all = self.services.values().chain(leaving);
        let slowest = all.map(|running| self.ends_within(running)).max();
        let strays = (!self.strays.is_empty()).then_some(UNLIMITED);
        slowest.max(strays).unwrap_or_default() + SLACK
    }

    /// Its drain; STOP_CMD, and the time that the backend may take after it; or the time that
    /// COMMAND may take.
    fn ends_within(&self, running: &Running) -> Duration {
        let policy = &running.definition.policy;
        let gone = policy.timeouts.stop.unwrap_or(UNLIMITED);
        let stop = policy.command_timeouts.stop;
        let stop = stop.map_or(gone, |limit| limit + gone);
        let record = self.common.records.read(&running.definition.slug);
        let plans = running.stop_plans(record.as_ref());
        let command = plans.iter().map(|plan| plan.timeout.unwrap_or(UNLIMITED));
        policy.timeouts.drain.unwrap_or(UNLIMITED) + command.max().unwrap_or(stop)
    }

    async fn retirement(&self) -> Retirement {
        // Nobody would look after it; and its sockets are for whoever wrote its units to stop.
        if !self.notifier.is_connected() || self.passes_on {
            return Retirement::Stop;
        }
        match unit_job().await {
            Ok(Job::Restart) => Retirement::Keep,
            Ok(Job::Stop) => {
                if let Err(e) = stop_sockets().await {
                    // It says so while the machine shuts down, and stops them by itself.
                    let shutdown = e.to_string().contains("destructive");
                    if shutdown {
                        debug!("the sockets are left to systemd: {e}");
                    } else {
                        warn!("the sockets stay open, and start the daemon again: {e}");
                    }
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
