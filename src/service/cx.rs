//! What every step of a service has at hand: the moment, the configuration, identities that are
//! free, and where outputs go.

use std::sync::Arc;

use super::{
    lifecycle::Table,
    port::{Output, ProbeKind, Report},
};
use crate::model::{
    Action, BackendId, ClientAddr, CommandId, CommandLine, CommandRequest, Definition, Destination,
    GenerationId, LocalAddr, ProbeId, Recipe, Timestamp,
};

/// The context of one step.
pub(super) struct Cx<'a> {
    pub(super) now: Timestamp,
    pub(super) definition: &'a Definition,
    pub(super) table: &'a Table,
    pub(super) ids: &'a mut Ids,
    pub(super) out: &'a mut Vec<Output>,
    /// Arrows followed so far.
    pub(super) followed: usize,
}

/// Identities not yet given.
#[derive(Debug, Default)]
pub(super) struct Ids {
    command: u64,
    backend: u64,
    probe: u64,
    generation: u64,
}

// === impl Cx ===

impl Cx<'_> {
    pub(super) fn run(
        &mut self,
        action: Action,
        command: &CommandLine,
        recipe: &Arc<Recipe>,
        destination: Option<Destination>,
        client: Option<(ClientAddr, LocalAddr)>,
    ) -> CommandId {
        let id = self.ids.next_command();
        let request = self.request(action, command, recipe, destination, client);
        self.out.push(Output::Run(id, Box::new(request)));
        id
    }

    pub(super) fn request(
        &self,
        action: Action,
        command: &CommandLine,
        recipe: &Arc<Recipe>,
        destination: Option<Destination>,
        client: Option<(ClientAddr, LocalAddr)>,
    ) -> CommandRequest {
        let timeouts = &self.definition.policy.command_timeouts;
        let timeout = match action {
            Action::Start => timeouts.start,
            Action::Stop => timeouts.stop,
            Action::Check => timeouts.check,
            Action::Idle => timeouts.idle,
            Action::Ready => timeouts.ready,
            // It is to run for as long as it is used.
            Action::Command => None,
        };
        CommandRequest {
            service: self.definition.name.clone(),
            slug: self.definition.slug.clone(),
            action,
            command: command.clone(),
            recipe: Arc::clone(recipe),
            timeout,
            destination,
            client,
        }
    }

    pub(super) fn probe(&mut self, kind: ProbeKind, destinations: Vec<Destination>) -> ProbeId {
        let id = self.ids.next_probe();
        self.out.push(Output::Probe(id, kind, destinations));
        id
    }

    pub(super) fn report(&mut self, report: Report) {
        self.out.push(Output::Report(report));
    }
}

// === impl Ids ===

impl Ids {
    fn next_command(&mut self) -> CommandId {
        self.command += 1;
        CommandId(self.command)
    }

    fn next_probe(&mut self) -> ProbeId {
        self.probe += 1;
        ProbeId(self.probe)
    }

    pub(super) fn next_backend(&mut self) -> BackendId {
        self.backend += 1;
        BackendId(self.backend)
    }

    pub(super) fn next_generation(&mut self) -> GenerationId {
        self.generation += 1;
        GenerationId(self.generation)
    }
}
