//! What a daemon that was stopped and had to be killed could not do: put to sleep what is awake.

use std::sync::Arc;

use tracing::info;

use super::{Signals, Supervisor};
use crate::{
    config::Loaded,
    daemon::{
        listeners::Share,
        startup::{Options, Runtime, StartError},
    },
    model::Definition,
    service::Retirement,
};

/// Puts to sleep what a daemon has left awake: as one that is started again, without a port, and
/// told to stop at once. To be called when that daemon has ended, and is not to come back.
///
/// # Errors
/// See [`StartError`]; what is awake runs on then.
pub async fn put_to_sleep(options: Options) -> Result<(), StartError> {
    let mut signals = Signals::of_daemon().map_err(StartError::Signals)?;
    let runtime = Runtime::claim(options.runtime_directory.as_deref(), options.scope)?;
    let mut supervisor = Supervisor::without_services(options, runtime.as_ref())?;
    supervisor.take_over();
    let awake = supervisor.services.len() + supervisor.leaving.len();
    if awake == 0 && supervisor.strays.is_empty() {
        return Ok(());
    }
    info!("the daemon was killed while it was being stopped; {awake} service(s) are put to sleep");
    supervisor
        .retire_all(Retirement::Stop, &mut signals.end)
        .await;
    info!("put to sleep");
    Ok(())
}

impl Supervisor {
    /// Has a service for each that was awake: what slept has nothing to be done about it.
    fn take_over(&mut self) {
        let mut served = self.source.served();
        let awake = self.common.records.slugs();
        served.definitions.retain(|d| awake.contains(&d.slug));
        // Nobody will mend them before it is too late for what they have woken.
        served.broken.clear();
        // Before the others: a record of these may be gone as soon as they begin.
        self.look_after_forgotten(&served);
        let Loaded { definitions, .. } = served;
        for definition in definitions {
            self.order.push(definition.slug.clone());
            self.spawn(Arc::new(without_ports(definition)), Share::default());
        }
        // They have asked for what is theirs.
        self.end_strays();
    }
}

/// It is to wake for nobody.
fn without_ports(mut definition: Definition) -> Definition {
    definition.listen.clear();
    definition.sockets.clear();
    definition.auto_start = false;
    definition
}
