//! One task per service: tells the service what happens, and carries out what it decides.
//!
//! The service itself ([`crate::service::Service`]) is pure; this is where its events and its timer
//! are waited for. Clients come in by [`admission`], what it decides is carried out in [`effects`];
//! [`backends`] is COMMAND's part of that.

mod admission;
mod backends;
mod effects;

use std::{collections::HashMap, io, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tracing::{debug, error};

use super::{
    accept::Listeners,
    budget::{Budget, Place},
    connection::{Shared, Told, Verdict},
    headers::Headers,
    probes::Answer,
    records::Records,
    status::Gauge,
    threads::Threads,
};
use crate::{
    command::{BackendControl, Canceller, Runner},
    model::{
        BackendId, CommandExit, CommandId, ConnId, ConnMap, Definition, Destination, GenerationId,
        ProbeId, StopPlan, StopSignal, Timestamp,
    },
    relay::Activity,
    service::{
        ConnectFailure, Input, Record, Service, Snapshot,
        lifecycle::{State, Table},
    },
    sys::{
        clock,
        net::{ListenSocket, Socket},
    },
};

/// Without a deadline the timer waits this long, for nothing.
const NO_DEADLINE: Duration = Duration::from_secs(365 * 24 * 3600);

/// What an actor is told.
pub(super) enum Message {
    /// Something for the service.
    Input(Input),
    /// A client could not be connected; it waits for the next decision.
    ConnectFailed(ConnId, ConnectFailure, oneshot::Sender<Verdict>),
    /// A client cannot be watched: there is no memory for it. It has been reset.
    Unwatched(ConnId, io::Error),
    /// These are the listeners now.
    Listen(Vec<ListenSocket>),
    /// The same, and the others are about to be closed: whoever is in their queues is taken first.
    LetGo(Vec<ListenSocket>),
    /// What ends us ends its COMMAND, in this way.
    EndBackends(StopPlan),
    /// This signal means its COMMAND no more than us. The other is dropped when it has been passed
    /// on.
    PassOn(StopSignal, oneshot::Sender<()>),
    /// How does it look?
    Look(oneshot::Sender<Snapshot>),
    /// Accept nobody. Is there anything under way? (`true`: nothing.)
    Pause(oneshot::Sender<bool>),
    /// Accept again.
    GoOn,
}

/// What all actors share.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) runner: Runner,
    pub(super) budget: Budget,
    pub(super) records: Arc<Records>,
    pub(super) threads: Threads,
}

/// One service, and all that it has under way.
pub(super) struct Actor {
    service: Service,
    common: Common,
    listeners: Listeners,
    headers: Headers,
    gauge: Arc<Gauge>,
    inbox: mpsc::UnboundedReceiver<Message>,
    to_self: mpsc::UnboundedSender<Message>,
    shared: Arc<Shared>,
    clients: ConnMap<Conversation>,
    next_conn: u64,
    commands: HashMap<CommandId, Canceller>,
    backends: HashMap<BackendId, BackendControl>,
    probes: HashMap<ProbeId, tokio::task::AbortHandle>,
    answers: JoinSet<Answer>,
    /// The connection by which a remote backend was found, for the first client.
    spare: Option<(Destination, Socket)>,
    /// It accepts nobody, for the daemon may be about to exit.
    paused: bool,
    finished: bool,
    /// How its COMMAND is ended with us.
    ending: Option<StopPlan>,
    /// How it has ended then.
    exit: Option<CommandExit>,
}

/// What the actor can say to a client's task.
struct Conversation {
    /// While it is held.
    decision: Option<oneshot::Sender<Verdict>>,
    /// Since it is being connected.
    relay: Option<OpenRelay>,
    /// Given back when the client's end is told.
    _place: Place,
}

struct OpenRelay {
    generation: GenerationId,
    cut: oneshot::Sender<Told>,
    activity: Activity,
}

impl Actor {
    pub(super) fn new(
        definition: &Arc<Definition>,
        record: Option<Record>,
        common: Common,
        gauge: Arc<Gauge>,
        inbox: mpsc::UnboundedReceiver<Message>,
        to_self: mpsc::UnboundedSender<Message>,
    ) -> Self {
        let seed = fastrand::u64(..);
        let (record, found) = backends::reclaim(definition, record, &common);
        let service = Service::new(
            Arc::clone(definition),
            Table::sound(),
            record,
            seed,
            clock::now(),
        );
        let shared = shared(definition, &to_self);
        let mut actor = Self {
            service,
            common,
            listeners: Listeners::none(),
            headers: Headers::new(),
            gauge,
            inbox,
            to_self,
            shared,
            clients: ConnMap::default(),
            next_conn: 0,
            commands: HashMap::new(),
            backends: HashMap::new(),
            probes: HashMap::new(),
            answers: JoinSet::new(),
            spare: None,
            paused: false,
            finished: false,
            ending: None,
            exit: None,
        };
        if let Some((id, found)) = actor.service.restored_backend().zip(found) {
            actor.adopt_backend(id, found);
        }
        actor
    }

    /// Serves until every generation of the service is gone. To be called once. Gives how its
    /// COMMAND has ended, if it was told to.
    pub(super) async fn run(&mut self) -> Option<CommandExit> {
        let now = clock::now();
        let outputs = self.service.start(now);
        self.carry_out(now, outputs);
        let timer = tokio::time::sleep(NO_DEADLINE);
        tokio::pin!(timer);
        // Where it is later than it could be, it finds out: most deadlines are put off by every
        // client, and few come.
        let mut armed: Option<Timestamp> = None;
        while !self.finished {
            self.admit_named();
            let sooner = |at: &Timestamp| armed.is_none_or(|armed| *at < armed);
            if let Some(at) = self.service.deadline().filter(sooner) {
                let pause = pause_until(at, clock::now());
                timer.as_mut().reset(tokio::time::Instant::now() + pause);
                armed = Some(at);
            }
            tokio::select! {
                // What is known already comes before new clients: a service that has just ended
                // must not take another.
                biased;
                Some(message) = self.inbox.recv() => self.told(message),
                Some(answer) = self.answers.join_next(), if !self.answers.is_empty() => {
                    self.answered(answer);
                }
                () = &mut timer, if armed.is_some() => {
                    armed = None;
                    self.time_passed();
                }
                Some(outcome) = self.headers.next(self.shared.policy.timeouts.wake) => {
                    if let Err(error) = self.headers.done(&self.shared.service, outcome) {
                        self.unwatched(&error);
                    }
                }
                accepted = self.listeners.accept(&self.shared.service, &self.common.budget),
                    if self.accepting() => self.accepted(accepted),
            }
        }
        self.exit.take()
    }

    fn told(&mut self, message: Message) {
        match message {
            Message::Input(input) => {
                self.take_note(&input);
                self.step(input);
            }
            Message::ConnectFailed(conn, failure, decision) => {
                debug!(
                    sleepingd_service = %self.shared.service,
                    "a client was not connected: {failure}",
                );
                if let Some(conversation) = self.clients.get_mut(&conn) {
                    conversation.decision = Some(decision);
                    conversation.relay = None;
                }
                self.step(Input::ConnectFailed(conn, failure));
            }
            Message::Unwatched(conn, error) => {
                self.unwatched(&error);
                self.step(Input::ClientLost(conn, error.to_string()));
            }
            Message::Listen(sockets) => self.listen(sockets),
            Message::LetGo(sockets) => {
                self.accept_all();
                self.listen(sockets);
            }
            Message::EndBackends(plan) => self.end_backends(plan),
            Message::PassOn(signal, done) => self.pass_on(signal, done),
            Message::Look(to) => {
                // Who asked may have gone.
                let _ = to.send(self.service.snapshot(clock::now()));
            }
            Message::Pause(to) => {
                self.paused = true;
                // Who asked may have waited too long; it says then that we go on.
                let _ = to.send(self.has_nothing_to_do());
            }
            Message::GoOn => self.paused = false,
        }
    }

    /// What it means for what we keep, before the service hears of it.
    fn take_note(&mut self, input: &Input) {
        match input {
            Input::RelayEnded(conn) => {
                self.clients.remove(conn);
            }
            Input::BackendEnded(id, end) => {
                self.backends.remove(id);
                self.exit = end.exit.clone().filter(|_| self.ending.is_some());
            }
            Input::Configured(definition) => {
                self.shared = shared(definition, &self.to_self);
            }
            Input::Retire(_) => {
                self.listeners = Listeners::none();
                self.headers.clear();
            }
            _ => {}
        }
    }

    fn answered(&mut self, answer: Result<Answer, tokio::task::JoinError>) {
        match answer {
            Ok(Answer::Command(id, outcome)) => {
                self.commands.remove(&id);
                debug!(
                    sleepingd_service = %self.shared.service,
                    "a command {} after {:.3} s", outcome.exit,
                    outcome.took.as_secs_f64(),
                );
                self.step(Input::CommandDone(id, outcome));
            }
            Ok(Answer::Probe { id, verdict, spare }) => {
                self.probes.remove(&id);
                if spare.is_some() {
                    self.spare = spare;
                }
                self.step(Input::ProbeDone(id, verdict));
            }
            Ok(Answer::Activity(generation, last)) => {
                self.step(Input::Activity(generation, last));
            }
            // A probe that was not wanted any more.
            Err(e) if e.is_cancelled() => {}
            Err(e) => error!(
                sleepingd_service = %self.shared.service,
                "a bug of ours, the answer of a command or probe is lost: {e}",
            ),
        }
    }

    /// Whether the process could end now, and nobody would miss it.
    fn has_nothing_to_do(&self) -> bool {
        let seen = self.service.snapshot(clock::now());
        let sleeps = seen.state == State::Asleep
            || (seen.state == State::Awake && self.shared.wakes_nothing);
        sleeps
            && seen.held == 0
            && seen.relays == 0
            && seen.draining.is_empty()
            && self.clients.is_empty()
            && self.headers.is_empty()
            && self.commands.is_empty()
            && self.backends.is_empty()
            && self.answers.is_empty()
    }

    fn time_passed(&mut self) {
        let now = clock::now();
        if self.service.deadline().is_some_and(|at| at <= now) {
            self.step_at(now, Input::Tick);
        }
    }

    fn step(&mut self, input: Input) {
        self.step_at(clock::now(), input);
    }

    fn step_at(&mut self, now: Timestamp, input: Input) {
        let outputs = self.service.handle(now, input);
        self.carry_out(now, outputs);
    }
}

fn shared(definition: &Definition, to_actor: &mpsc::UnboundedSender<Message>) -> Arc<Shared> {
    Arc::new(Shared {
        service: definition.name.clone(),
        policy: Arc::clone(&definition.policy),
        wakes_nothing: definition.recipe.wakes_nothing(),
        to_actor: to_actor.clone(),
    })
}

/// The timer's clock stands still while the machine is suspended, the service's does not: a timer
/// may be late by the time of a suspend, never early.
fn pause_until(at: Timestamp, now: Timestamp) -> Duration {
    at.since(now).min(NO_DEADLINE)
}
