//! A COMMAND's descriptor with the keeper: whoever keeps it has it for the next daemon.

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use tokio::task::{JoinHandle, spawn_blocking};

use crate::{
    command::{Inner, backend_name::BackendName},
    model::Slug,
};

/// It is kept, or about to be.
#[derive(Debug)]
pub(super) struct Keeping {
    name: String,
    errand: Option<JoinHandle<()>>,
}

impl Keeping {
    /// A former daemon has had it kept.
    pub(super) fn already(name: &BackendName) -> Self {
        Self {
            name: name.to_string(),
            errand: None,
        }
    }

    /// Has it kept under a new name; returns at once, for the keeper may take a moment. Needs a
    /// runtime.
    pub(super) fn begin(inner: &Arc<Inner>, slug: &Slug, process: BorrowedFd<'_>) -> Self {
        let name = BackendName::new(slug, inner.next_number()).to_string();
        let errand = match process.try_clone_to_owned() {
            Ok(own) => {
                let (inner, name) = (Arc::clone(inner), name.clone());
                Some(spawn_blocking(move || {
                    inner.keeper.keep(&name, own.as_fd());
                }))
            }
            Err(why) => {
                tracing::warn!(
                    "'{name}' is not kept over a restart, and will be found by its number: {why}"
                );
                None
            }
        };
        Self { name, errand }
    }

    /// Nobody keeps it from here on.
    pub(super) async fn end(&mut self, inner: &Inner) {
        if let Some(errand) = self.errand.take() {
            // Not before it is kept: it would be for ever. An errand that has panicked, or that
            // the end of the runtime has kept from its work, has nobody keep it.
            let _ = errand.await;
        }
        inner.keeper.release(&self.name);
    }
}
