//! What the last daemon has left awake, and no section is for any more.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{sync::oneshot, task::JoinSet};
use tracing::{error, info, warn};

use super::{Running, Supervisor};
use crate::{
    command::{BackendControl, BackendNews, FoundBackend, Runner},
    config::Loaded,
    daemon::listeners::Share,
    model::{
        CommandLine, Definition, Origin, Policy, Recipe, ServiceName, Slug, StopPlan, Supervised,
    },
    service::Record,
};

/// COMMANDs that run and are in nobody's books: they are ended, and that is waited for.
#[derive(Default)]
pub(super) struct Strays {
    controls: Vec<Arc<BackendControl>>,
    ending: JoinSet<()>,
}

impl Supervisor {
    /// A COMMAND is ended with its section, whenever that was removed: as a service on its way out,
    /// so that nobody else takes its backend for its own meanwhile, and its record stays until it is
    /// gone. Where the section only has an error, it waits for a better one, or for our own end.
    ///
    /// What other means have woken is left as it is; gives whose that is.
    pub(super) fn look_after_forgotten(&mut self, loaded: &Loaded) -> Vec<Slug> {
        let mut left = Vec::new();
        for slug in self.common.records.slugs() {
            let has_section = loaded.definitions.iter().any(|d| d.slug == slug);
            if has_section || self.services.contains_key(&slug) || self.leaving.contains_key(&slug)
            {
                continue;
            }
            let Some(record) = self.common.records.read(&slug) else {
                continue;
            };
            let is_it = |name: &ServiceName| name.slug().as_ref() == Some(&slug);
            let broken = loaded.broken.iter().any(is_it);
            match &record.backend {
                Some(backend) if broken => {
                    let runner = &self.common.runner;
                    if let Some(found) = runner.find_backend(&slug, &backend.process) {
                        // So that it is not taken for a stray.
                        runner.put_back(found);
                    }
                }
                Some(backend) => {
                    info!("'{slug}' was awake, and its section is gone: its COMMAND is ended");
                    let definition = stand_in(&slug, &record, backend.stop);
                    self.spawn(Arc::new(definition), Share::default());
                    self.remove(&slug);
                }
                None => {
                    warn!(
                        "'{slug}' was awake, and its section is gone: its backend is left as it \
                         is; stop it by hand, or bring the section back"
                    );
                    left.push(slug);
                }
            }
        }
        left
    }

    /// The same, for a configuration that somebody has put into effect: what it does not know is
    /// not remembered any longer.
    pub(super) fn forget(&mut self, loaded: &Loaded) {
        for slug in self.look_after_forgotten(loaded) {
            if let Err(e) = self.common.records.write(&slug, None) {
                error!("what was written down of '{slug}' cannot be removed: {e}");
            }
        }
    }

    /// What systemd has kept, and nobody has asked for.
    pub(super) fn end_strays(&mut self) {
        for (name, found) in self.common.runner.unclaimed_backends() {
            warn!("'{name}' runs, and is in no service's books; it is ended");
            self.strays.end(&self.common.runner, &name, found);
        }
    }
}

/// A service for a backend that has lost its own: all that is known of it.
fn stand_in(slug: &Slug, record: &Record, stop: StopPlan) -> Definition {
    let command = CommandLine::ourselves(&[]);
    let recipe = Recipe {
        command: Some(Supervised { command, stop }),
        ..Recipe::default()
    };
    Definition {
        name: record.service.clone(),
        slug: slug.clone(),
        origin: Origin {
            file: PathBuf::new(),
            line: 0,
        },
        listen: Vec::new(),
        sockets: Vec::new(),
        targets: record.destinations.clone(),
        auto_start: false,
        recipe: Arc::new(recipe),
        policy: Arc::new(Policy::default()),
    }
}

// === impl Strays ===

impl Strays {
    fn end(&mut self, runner: &Runner, name: &str, found: FoundBackend) {
        let (to, ended) = oneshot::channel();
        let to = Mutex::new(Some(to));
        let control = runner.adopt_backend(name, found, move |news| {
            let mut to = to.lock().unwrap_or_else(PoisonError::into_inner);
            if let (BackendNews::Ended(_), Some(to)) = (news, to.take()) {
                // Who waits for it may have gone.
                let _ = to.send(());
            }
        });
        control.stop(StopPlan::default());
        self.controls.push(Arc::new(control));
        let name = name.to_owned();
        self.ending.spawn(async move {
            // One whose end nobody can tell has ended too.
            let _ = ended.await;
            info!("'{name}' has been ended");
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ending.is_empty()
    }

    /// Waits until one more has ended.
    pub(super) async fn next(&mut self) {
        // What it was is in the log.
        let _ = self.ending.join_next().await;
    }

    pub(super) fn kill(&self) {
        self.controls.iter().for_each(|control| control.kill());
    }
}

impl Running {
    /// How its backend is ended, where it is a COMMAND: by its section, and by what was written
    /// down when it was started, the longer of both.
    pub(super) fn stop_plans(&self, record: Option<&Record>) -> Vec<StopPlan> {
        let of_section = self.definition.recipe.command.as_ref();
        let of_record = record.and_then(|record| record.backend.as_ref());
        let plans = of_section.map(|command| command.stop).into_iter();
        plans.chain(of_record.map(|backend| backend.stop)).collect()
    }
}
