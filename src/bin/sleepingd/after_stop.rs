//! `sleepingd after-stop`: what systemd runs when the daemon has ended, however it did.
//!
//! One that ended well has closed its ports and put to sleep what was awake; one that is restarted
//! keeps both. What is left is one that hung while it was being stopped, and was killed.

use std::{env, process::ExitCode, time::Duration};

use sleepingd::{
    cli::sleepingd::AfterStopArgs,
    daemon::{self, Options, Scope},
    systemd::{Job, Notifier, journal, sockets::Inherited, stop_sockets, unit_job},
};
use tracing::{Level, error, warn};

use super::{FAILURE, SHUTDOWN_LIMIT, fail};

/// Until the services are asked how long they take; more than systemd may take to answer.
const FIRST_EXTENSION: Duration = Duration::from_secs(40);

pub(super) fn after_stop(args: AfterStopArgs) -> ExitCode {
    if env::var_os("SERVICE_RESULT").is_some_and(|result| result == "success") {
        return ExitCode::SUCCESS;
    }
    // Before any thread exists: the environment is changed here.
    let notifier = match Notifier::take() {
        Ok(notifier) => notifier,
        Err(e) => return fail(&e.to_string()),
    };
    let _log = match journal::init(Level::INFO) {
        Ok(guard) => guard,
        Err(e) => return fail(&e.to_string()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => return fail(&format!("no runtime: {e}")),
    };
    let done = runtime.block_on(clean_up(args, notifier));
    runtime.shutdown_timeout(SHUTDOWN_LIMIT);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            error!("{why}");
            ExitCode::from(FAILURE)
        }
    }
}

async fn clean_up(args: AfterStopArgs, notifier: Notifier) -> Result<(), String> {
    let scope = Scope::of(args.user);
    // Before systemd is asked, which may be slow to answer: TimeoutStopSec= holds for us as well.
    if let Err(e) = notifier.extend_timeout(FIRST_EXTENSION) {
        warn!("{e}");
    }
    match unit_job().await {
        Ok(Job::Stop) => {}
        Ok(Job::Restart | Job::None) => return Ok(()),
        Err(e) => return Err(format!("is this a stop or a restart? {e}")),
    }
    daemon::forget_held(scope);
    // First: nobody is to come while the rest is done.
    if let Err(e) = stop_sockets().await {
        warn!("the sockets are left to systemd: {e}");
    }
    let left = daemon::put_to_sleep(Options {
        given: None,
        config_file: args.config_file,
        scope,
        runtime_directory: None,
        inherited: Inherited::default(),
        notifier,
    });
    left.await
        .map_err(|e| format!("what was awake stays awake: {e}"))
}
