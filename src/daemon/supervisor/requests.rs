//! What is asked over the control socket, and a reload, which a signal asks for as well.

use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use super::{LOOK_LIMIT, Supervisor};
use crate::{
    config::Loaded,
    control::api,
    daemon::status,
    sys::clock,
    systemd::{Notifier, journal::message_id},
};

impl Supervisor {
    pub(super) async fn answer(&mut self, request: api::Request) -> api::Response {
        match request {
            api::Request::Status => api::Response::Status(Box::new(self.status().await)),
            api::Request::Check(stopped) => self.check(&stopped.units),
            api::Request::Reload(stopped) => self.reload(&stopped.units).await,
        }
    }

    /// Whether a reload would be taken.
    fn check(&self, stopped: &[String]) -> api::Response {
        match self.source.check(&self.sockets.names(stopped)) {
            Ok(loaded) => api::Response::Checked(reloaded(&loaded)),
            Err(wrong) => {
                let errors = wrong.lines().collect();
                api::Response::Rejected(api::Errors { errors })
            }
        }
    }

    /// Reads the files again, with these generated units stopped. With any error in the files,
    /// nothing changes; what comes back then are the warnings too.
    pub(super) async fn reload(&mut self, stopped: &[String]) -> api::Response {
        self.tell(Notifier::reloading);
        let stopped = &self.sockets.indeed_stopped(stopped);
        let outcome = self.source.load(&self.sockets.names(stopped));
        let result = match outcome {
            Ok(loaded) => {
                let reloaded = reloaded(&loaded);
                self.exit_idle = loaded.exit_idle;
                if loaded.threads != self.started_with {
                    warn!("THREADS has changed; that takes effect when the daemon is restarted");
                }
                // What cannot be bound is an error, but the rest has taken effect by then.
                self.forget(&loaded);
                self.caveats = self.apply(loaded, stopped).await;
                self.end_strays();
                if self.caveats.is_empty() {
                    info!(
                        message_id = message_id::RELOADED,
                        "reloaded: {} service(s)", reloaded.services
                    );
                    api::Response::Reloaded(reloaded)
                } else {
                    let closed = self.caveats.len();
                    warn!("reloaded, but {closed} port(s) are not open");
                    let errors = self.caveats.clone();
                    api::Response::Incomplete(api::Errors { errors })
                }
            }
            Err(wrong) => {
                wrong.log();
                error!(
                    message_id = message_id::CONFIGURATION_REJECTED,
                    "not reloaded, what ran goes on: {wrong}"
                );
                let errors = wrong.lines().collect();
                api::Response::Rejected(api::Errors { errors })
            }
        };
        self.tell(Notifier::ready);
        self.tell_status();
        result
    }

    async fn status(&self) -> api::Status {
        let now = clock::now();
        let until = Instant::now() + LOOK_LIMIT;
        let mut services = Vec::with_capacity(self.order.len());
        let in_order = self.order.iter().filter_map(|slug| self.services.get(slug));
        let asked: Vec<_> = in_order.map(|running| (running, running.look())).collect();
        for (running, seen) in asked {
            if let Ok(Ok(seen)) = timeout_at(until, seen).await {
                let service = status::of_service(&running.definition, &seen, &running.gauge, now);
                services.push(service);
            }
        }
        let mut warnings = self.caveats.clone();
        warnings.extend(self.sockets.unclaimed());
        if self.order.is_empty() {
            warnings.push(self.source.nothing_configured());
        }
        api::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            up_seconds: now.since(self.started).as_secs(),
            services,
            counters: status::counters(&self.totals),
            warnings,
        }
    }
}

fn reloaded(loaded: &Loaded) -> api::Reloaded {
    api::Reloaded {
        services: u64::try_from(loaded.definitions.len()).unwrap_or(u64::MAX),
        warnings: loaded.warnings().map(ToString::to_string).collect(),
    }
}
