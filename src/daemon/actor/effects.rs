//! What is to be done: each output of the service, carried out.

use std::time::Duration;

use tokio::sync::oneshot;
use tracing::error;

use super::{Actor, OpenRelay};
use crate::{
    command::BackendControl,
    daemon::{
        connection::{Order, Told, Verdict},
        probes::{self, Answer},
        reporting,
    },
    model::{
        CommandId, CommandRequest, ConnId, Destination, End, GenerationId, ProbeId, Timestamp,
    },
    relay::Activity,
    service::{Output, ProbeKind, Record, Report, lifecycle::State},
};

impl Actor {
    pub(super) fn carry_out(&mut self, now: Timestamp, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Run(id, request) => self.run_command(id, *request),
                Output::CancelCommand(id) => {
                    if let Some(canceller) = self.commands.get(&id) {
                        canceller.cancel();
                    }
                }
                Output::StartBackend(id, request) => self.start_backend(id, *request),
                Output::StopBackend(id, plan) => self.stop_backend(id, plan),
                Output::KillBackend(id) => self.to_backend(id, BackendControl::kill),
                Output::BackendGone(conn) => self.backend_gone(conn),
                Output::Probe(id, kind, destinations) => self.probe(id, kind, destinations),
                Output::CancelProbe(id) => {
                    if let Some(probe) = self.probes.remove(&id) {
                        probe.abort();
                    }
                }
                Output::Connect {
                    conn,
                    generation,
                    candidates,
                    settle,
                } => {
                    let activity = Activity::new(now);
                    self.connect(conn, generation, activity, candidates, settle);
                }
                Output::Refuse(conn, _) => self.refuse(conn),
                Output::Cut(conn, why) => {
                    if let Some(relay) = self.clients.get_mut(&conn).and_then(|c| c.relay.take()) {
                        // A relay that has just ended hears it no more.
                        let _ = relay.cut.send(Told::End(why));
                    }
                }
                Output::SampleActivity(generation) => self.sample(generation),
                Output::Persist(record) => self.persist(record.as_deref()),
                Output::Report(report) => self.report(&report),
                Output::Finished => self.finished = true,
            }
        }
        // It was for the clients of this wake; a backend must not wonder who is silent there.
        if self.service.state() != State::Waking {
            self.spare = None;
        }
        self.gauge.set(self.service.state(), self.service.relays());
    }

    fn run_command(&mut self, id: CommandId, request: CommandRequest) {
        let running = self.common.runner.run(request);
        self.commands.insert(id, running.canceller());
        self.answers
            .spawn(async move { Answer::Command(id, running.await) });
    }

    fn backend_gone(&mut self, conn: ConnId) {
        let relay = self.clients.get_mut(&conn).and_then(|c| c.relay.as_mut());
        let Some(relay) = relay else { return };
        let (cut, is_cut) = oneshot::channel();
        let before = std::mem::replace(&mut relay.cut, cut);
        // A relay that has just ended hears it no more.
        let _ = before.send(Told::BackendGone(is_cut));
    }

    fn probe(&mut self, id: ProbeId, kind: ProbeKind, destinations: Vec<Destination>) {
        let definition = self.service.definition();
        let url = definition.recipe.ready_url.clone();
        let connect = definition.policy.timeouts.connect;
        let own = definition.listen.clone();
        let probe = probes::ask(id, kind, destinations, own, url, connect);
        self.probes.insert(id, self.answers.spawn(probe));
    }

    fn connect(
        &mut self,
        conn: ConnId,
        generation: GenerationId,
        activity: Activity,
        candidates: Vec<Destination>,
        settle: Duration,
    ) {
        let spare = self
            .spare
            .take_if(|(destination, _)| candidates.contains(destination));
        let Some(conversation) = self.clients.get_mut(&conn) else {
            return;
        };
        let Some(decision) = conversation.decision.take() else {
            return;
        };
        let (cut, is_cut) = oneshot::channel();
        conversation.relay = Some(OpenRelay {
            generation,
            cut,
            activity: activity.clone(),
        });
        let order = Order {
            candidates,
            settle,
            spare,
            cut: is_cut,
            activity,
        };
        // The task may have ended in this very moment; it says so itself.
        let _ = decision.send(Verdict::Connect(order));
    }

    fn refuse(&mut self, conn: ConnId) {
        let Some(mut conversation) = self.clients.remove(&conn) else {
            return;
        };
        if let Some(decision) = conversation.decision.take() {
            // As above.
            let _ = decision.send(Verdict::Refuse);
        }
        if let Some(relay) = conversation.relay.take() {
            // As above.
            let _ = relay.cut.send(Told::End(End::Refused));
        }
    }

    /// When did the last byte move? Answered in the next turn.
    fn sample(&mut self, generation: GenerationId) {
        let relays = self.clients.values().filter_map(|c| c.relay.as_ref());
        let last: Option<Timestamp> = relays
            .filter(|relay| relay.generation == generation)
            .map(|relay| relay.activity.last_byte())
            .max();
        self.answers
            .spawn(std::future::ready(Answer::Activity(generation, last)));
    }

    fn persist(&self, record: Option<&Record>) {
        let slug = &self.service.definition().slug;
        if let Err(e) = self.common.records.write(slug, record) {
            error!(
                sleepingd_service = %self.shared.service,
                "what is awake cannot be written down, a restart will not know it: {e}",
            );
        }
    }

    pub(super) fn report(&self, report: &Report) {
        reporting::report(&self.shared.service, report);
        self.gauge.reported(report);
    }
}
