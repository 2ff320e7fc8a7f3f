//! One generation of a backend: its state, what it does on entering one, and what ends it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{
    hold::Held,
    idle::{self, Facts, Inquiry, Uptime, Verdict},
    lifecycle::{Event, State, Table},
    port::{Cause, Output, ProbeKind, ProbeVerdict, Report},
    stop::{self, Stop},
    wake::{self, Beginning, Wake},
};
use crate::model::{
    Action, ClientAddr, CommandId, CommandLine, CommandOutcome, CommandRequest, ConnId, Definition,
    Destination, GenerationId, IdleOn, LocalAddr, Mode, ProbeId, Recipe, Timestamp,
};

/// What every step may use: the moment, the configuration, identities, and where outputs go.
pub(super) struct Cx<'a> {
    pub(super) now: Timestamp,
    pub(super) definition: &'a Definition,
    pub(super) table: &'a Table,
    pub(super) ids: &'a mut Ids,
    pub(super) out: &'a mut Vec<Output>,
    /// Arrows followed in this step.
    pub(super) followed: usize,
}

/// One step follows a handful of arrows; a table that leads in circles must not hang the daemon.
const MOST_ARROWS: usize = 64;

/// Identities not yet given.
#[derive(Debug, Default)]
pub(super) struct Ids {
    command: u64,
    probe: u64,
    generation: u64,
}

/// One generation.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) id: GenerationId,
    pub(super) mode: Mode,
    /// TARGET, as it was when this generation came to be.
    pub(super) targets: Vec<Destination>,
    /// What woke it; what puts it to sleep.
    pub(super) recipe: Arc<Recipe>,
    /// Where it is, while it is awake.
    pub(super) destinations: Vec<Destination>,
    /// While it is awake, or may have left something running.
    pub(super) uptime: Option<Uptime>,
    /// Whether a connection has been made since its START: until then a backend that accepts and
    /// closes is taken for one that is not ready.
    pub(super) settled: bool,
    /// Clients that are being connected; they are held again if no destination can be reached.
    pub(super) connecting: BTreeMap<ConnId, Held>,
    /// Open relays.
    pub(super) relays: HashMap<ConnId, Relay>,
    /// How many of both keep it awake (monitors do not): counted, for there may be thousands.
    counted: usize,
    /// Whether it is to end, once it is Asleep or Awake.
    pub(super) retire: Option<Retire>,
    /// Why the last wake failed; taken by the service.
    pub(super) failure: Option<WakeFailure>,
    /// What the next wake begins from.
    next_wake: Option<Beginning>,
    phase: Phase,
}

/// An open relay.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) destination: Destination,
    ignored: bool,
}

/// How a generation is to end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retire {
    /// The backend is to survive.
    pub(super) keep: bool,
    /// Until when open relays, and a wake under way, may take.
    pub(super) deadline: Option<Timestamp>,
    /// Whether another generation waits for this one's backend to be gone.
    pub(super) replaced: bool,
}

/// Why a wake failed.
#[derive(Debug)]
pub(super) struct WakeFailure {
    pub(super) why: String,
    /// It was only looked for.
    pub(super) adopting: bool,
    /// Whether trying again would run a command.
    pub(super) started: bool,
}

impl std::fmt::Debug for Beginning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Beginning")
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

/// A state with what belongs to it.
#[derive(Debug)]
enum Phase {
    Asleep,
    /// `None`: START decides for each connection, and each held client has a wake of its own.
    Waking(Option<Wake>),
    Awake(Inquiry),
    Stopping(Stop),
    Draining,
    Ending(Stop),
    Gone,
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
        self.ids.command += 1;
        let id = CommandId(self.ids.command);
        let timeouts = &self.definition.policy.command_timeouts;
        let timeout = match action {
            Action::Start => timeouts.start,
            Action::Stop => timeouts.stop,
            Action::Check => timeouts.check,
            Action::Idle => timeouts.idle,
            Action::Ready => timeouts.ready,
        };
        self.out.push(Output::Run(
            id,
            Box::new(CommandRequest {
                service: self.definition.name.clone(),
                slug: self.definition.slug.clone(),
                action,
                command: command.clone(),
                recipe: Arc::clone(recipe),
                timeout,
                destination,
                client,
            }),
        ));
        id
    }

    pub(super) fn probe(&mut self, kind: ProbeKind, destinations: Vec<Destination>) -> ProbeId {
        self.ids.probe += 1;
        let id = ProbeId(self.ids.probe);
        self.out.push(Output::Probe(id, kind, destinations));
        id
    }

    pub(super) fn report(&mut self, report: Report) {
        self.out.push(Output::Report(report));
    }
}

// === impl Generation ===

impl Generation {
    pub(super) fn asleep(definition: &Definition, ids: &mut Ids) -> Self {
        ids.generation += 1;
        Self {
            id: GenerationId(ids.generation),
            mode: definition.mode(),
            targets: definition.targets.clone(),
            recipe: Arc::clone(&definition.recipe),
            destinations: definition.targets.clone(),
            uptime: None,
            settled: true,
            connecting: BTreeMap::new(),
            relays: HashMap::new(),
            counted: 0,
            retire: None,
            failure: None,
            next_wake: None,
            phase: Phase::Asleep,
        }
    }

    /// As the last daemon left it.
    pub(super) fn restored(
        definition: &Definition,
        ids: &mut Ids,
        uptime: Uptime,
        destinations: Vec<Destination>,
        now: Timestamp,
    ) -> Self {
        let mut generation = Self::asleep(definition, ids);
        generation.uptime = Some(uptime);
        if generation.mode != Mode::Fixed {
            generation.destinations = destinations;
        }
        generation.phase = Phase::Awake(generation.next_inquiry(definition, now));
        generation
    }

    pub(super) fn state(&self) -> State {
        match self.phase {
            Phase::Asleep => State::Asleep,
            Phase::Waking(_) => State::Waking,
            Phase::Awake(_) => State::Awake,
            Phase::Stopping(_) => State::Stopping,
            Phase::Draining => State::Draining,
            Phase::Ending(_) => State::Ending,
            Phase::Gone => State::Gone,
        }
    }

    /// Whether an open relay, or a connect that is to become one, keeps it awake.
    pub(super) fn in_use(&self) -> bool {
        self.counted > 0
    }

    /// Follows the arrow of this event, and does what the state it leads to does on entry.
    pub(super) fn fire(&mut self, event: Event, cx: &mut Cx<'_>) {
        let from = self.state();
        cx.followed += 1;
        match cx.table.next(from, event) {
            Some(to) if cx.followed <= MOST_ARROWS => {
                // Its answer would be about a state that is no more; and it may hang.
                if let Phase::Awake(Inquiry::Running(id)) = self.phase {
                    cx.out.push(Output::CancelCommand(id));
                }
                self.enter(to, cx);
            }
            _ => cx.report(Report::NoArrow(from, event)),
        }
    }

    fn enter(&mut self, state: State, cx: &mut Cx<'_>) {
        match state {
            State::Asleep => self.phase = Phase::Asleep,
            State::Waking => self.enter_waking(cx),
            State::Awake => {
                if self.uptime.is_none() {
                    self.uptime = Some(Uptime::fresh(cx.now));
                }
                self.phase = Phase::Awake(self.next_inquiry(cx.definition, cx.now));
            }
            State::Stopping => {
                let (stop, progress) = self.begin_stop(true, cx);
                self.phase = Phase::Stopping(stop);
                self.stop_progress(progress, cx);
            }
            State::Draining => {
                self.phase = Phase::Draining;
                self.check_drained(cx);
            }
            State::Ending => {
                let thorough = self.retire.is_some_and(|retire| retire.replaced);
                let (stop, progress) = self.begin_stop(thorough, cx);
                self.phase = Phase::Ending(stop);
                // Nothing of it runs: there is nothing to stop.
                if self.uptime.is_none() {
                    self.fire(Event::Stopped, cx);
                } else {
                    self.stop_progress(progress, cx);
                }
            }
            State::Gone => self.phase = Phase::Gone,
        }
    }

    // === waking ===

    /// Begins a wake, from Asleep or (after a connect that failed) from Awake.
    pub(super) fn wake(
        &mut self,
        cause: Cause,
        client: Option<(ClientAddr, LocalAddr)>,
        known_down: Option<String>,
        cx: &mut Cx<'_>,
    ) {
        let event = match self.state() {
            State::Awake => Event::Lost,
            _ => Event::WakeWanted,
        };
        self.next_wake = Some(Beginning {
            cause,
            client,
            mode: self.mode,
            // What runs is asked about with the commands that woke it; START is always the newest.
            recipe: match event {
                Event::Lost => Arc::clone(&self.recipe),
                _ => Arc::clone(&cx.definition.recipe),
            },
            destinations: self.destinations.clone(),
            known_down,
            recorded: self.uptime.is_some(),
        });
        self.fire(event, cx);
    }

    fn enter_waking(&mut self, cx: &mut Cx<'_>) {
        self.phase = Phase::Waking(None);
        let Some(beginning) = self.next_wake.take() else {
            return;
        };
        if beginning.cause != Cause::Adoption {
            cx.report(Report::Waking(beginning.cause));
        }
        if self.mode == Mode::PerConnection && beginning.client.is_some() {
            return;
        }
        let (wake, progress) = Wake::begin(beginning, cx);
        self.phase = Phase::Waking(Some(wake));
        self.wake_progress(progress, cx);
    }

    /// Whether the wake is made of those of single clients.
    pub(super) fn wakes_by_attempts(&self) -> bool {
        matches!(self.phase, Phase::Waking(None))
    }

    /// The first START of those that each decide for one connection has succeeded.
    pub(super) fn woken_by_attempt(&mut self, wake: &Wake, cx: &mut Cx<'_>) {
        self.destinations.clone_from(&wake.destinations);
        self.recipe = Arc::clone(&wake.recipe);
        if self.state() == State::Waking {
            self.uptime = None;
            cx.report(woken(wake, cx.now));
            self.fire(Event::Ready, cx);
        }
        self.used(cx.now, cx);
    }

    /// The last of those STARTs has failed.
    pub(super) fn attempts_failed(&mut self, left_something: bool, cx: &mut Cx<'_>) {
        if self.state() == State::Waking {
            self.uptime = left_something.then(|| Uptime::fresh(cx.now));
            self.fire(Event::WakeFailed, cx);
        }
    }

    fn wake_progress(&mut self, progress: wake::Progress, cx: &mut Cx<'_>) {
        let Phase::Waking(slot) = &mut self.phase else {
            return;
        };
        let why = match progress {
            wake::Progress::Going => return,
            wake::Progress::Ready => return self.woken(cx),
            wake::Progress::Failed(why) => why,
        };
        let Some(wake) = slot.take() else { return };
        // START has done its work, or was killed at it: what it left is for the idle clock.
        self.uptime = wake.started.then(|| Uptime::fresh(cx.now));
        if wake.started {
            self.recipe = Arc::clone(&wake.recipe);
        }
        if self.mode == Mode::Told {
            self.destinations.clear();
        }
        self.failure = Some(WakeFailure {
            why,
            adopting: wake.adopting(),
            started: wake.recipe.start.is_some(),
        });
        self.fire(Event::WakeFailed, cx);
    }

    fn woken(&mut self, cx: &mut Cx<'_>) {
        let Phase::Waking(slot) = &mut self.phase else {
            return;
        };
        let Some(wake) = slot.take() else { return };
        self.destinations.clone_from(&wake.destinations);
        self.settled = !wake.started;
        if wake.started {
            self.recipe = Arc::clone(&wake.recipe);
            self.uptime = None;
        }
        match (wake.adopting(), self.uptime) {
            // As it was written down: its clock goes on.
            (true, Some(_)) => {}
            (true, None) => cx.report(Report::Adopted(wake.destinations.clone())),
            (false, _) => cx.report(woken(&wake, cx.now)),
        }
        self.fire(Event::Ready, cx);
        if !wake.adopting() {
            self.used(cx.now, cx);
        }
    }

    // === stopping ===

    fn begin_stop(&mut self, thorough: bool, cx: &mut Cx<'_>) -> (Stop, stop::Progress) {
        let destination = self.destinations.first().cloned();
        let runs = self.uptime.is_some();
        let none = Arc::new(Recipe::default());
        let recipe = if runs { &self.recipe } else { &none };
        Stop::begin(recipe, &self.targets, destination, thorough, cx)
    }

    fn stop_progress(&mut self, progress: stop::Progress, cx: &mut Cx<'_>) {
        let (Phase::Stopping(stop) | Phase::Ending(stop)) = &self.phase else {
            return;
        };
        let began = stop.began;
        match progress {
            stop::Progress::Going => {}
            stop::Progress::Stopped => {
                if let Some(failure) = stop.failure() {
                    cx.report(Report::StopFailed(failure.to_owned()));
                }
                if let Some(uptime) = self.uptime.take() {
                    cx.report(Report::Asleep {
                        took: cx.now.since(began),
                        awake: began.since(uptime.since),
                    });
                }
                // With IDLE_ON=bytes or command there may be some; their backend is gone.
                self.cut_relays(cx);
                if self.mode != Mode::Fixed {
                    self.destinations.clear();
                }
                self.fire(Event::Stopped, cx);
            }
            stop::Progress::StillUp(why) => {
                cx.report(Report::StillUp(why));
                self.used(cx.now, cx);
                self.fire(Event::StillUp, cx);
            }
        }
    }

    // === ending ===

    /// Ends it as soon as it is Asleep or Awake.
    pub(super) fn retire(&mut self, retire: Retire, cx: &mut Cx<'_>) {
        self.retire = Some(retire);
        if retire.replaced {
            return;
        }
        // A shutdown does not wait until a stopped backend is gone: no client will come.
        if let Phase::Stopping(stop) = &mut self.phase {
            let progress = stop.hurry();
            self.stop_progress(progress, cx);
        }
    }

    /// Follows the arrow that [`Self::retire`] has put off, if it is time. Held clients have been
    /// released by then.
    pub(super) fn retire_if_due(&mut self, cx: &mut Cx<'_>) {
        if self.retire.is_some() && matches!(self.phase, Phase::Asleep | Phase::Awake(_)) {
            self.fire(Event::Retire, cx);
        }
    }

    fn check_drained(&mut self, cx: &mut Cx<'_>) {
        if matches!(self.phase, Phase::Draining)
            && self.relays.is_empty()
            && self.connecting.is_empty()
        {
            let keep = self.retire.is_some_and(|retire| retire.keep);
            self.fire(if keep { Event::Kept } else { Event::Drained }, cx);
        }
    }

    /// Says how many there were; their ends are reported later.
    fn cut_relays(&self, cx: &mut Cx<'_>) -> usize {
        cx.out
            .extend(self.relays.keys().map(|conn| Output::Cut(*conn)));
        self.relays.len()
    }

    // === relays ===

    pub(super) fn connecting(&mut self, conn: ConnId, held: Held) {
        self.counted += usize::from(!held.ignored);
        self.connecting.insert(conn, held);
    }

    /// Whether this was one of its clients.
    pub(super) fn connected(&mut self, conn: ConnId, at: Destination, cx: &Cx<'_>) -> bool {
        let Some(held) = self.connecting.remove(&conn) else {
            return false;
        };
        self.relays.insert(
            conn,
            Relay {
                destination: at,
                ignored: held.ignored,
            },
        );
        self.settled = true;
        self.used_by_client(held.ignored, cx);
        true
    }

    /// Takes a client out that is being connected.
    pub(super) fn not_connected(&mut self, conn: ConnId, cx: &mut Cx<'_>) -> Option<Held> {
        let held = self.connecting.remove(&conn)?;
        self.one_less(held.ignored, cx);
        Some(held)
    }

    /// Takes a relay out that has ended.
    pub(super) fn relay_ended(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        if let Some(relay) = self.relays.remove(&conn) {
            self.one_less(relay.ignored, cx);
        }
    }

    fn one_less(&mut self, ignored: bool, cx: &mut Cx<'_>) {
        self.counted -= usize::from(!ignored);
        self.used_by_client(ignored, cx);
        self.check_drained(cx);
    }

    fn used_by_client(&mut self, ignored: bool, cx: &Cx<'_>) {
        // IDLE_ON=command: clients are none of its business.
        if !ignored && cx.definition.policy.idle.on != IdleOn::Command {
            self.used(cx.now, cx);
        }
    }

    /// Somebody uses it, or has used it until now.
    pub(super) fn used(&mut self, at: Timestamp, cx: &Cx<'_>) {
        if let Some(uptime) = &mut self.uptime {
            uptime.used(at);
        }
        if let Phase::Awake(Inquiry::At(_)) = self.phase {
            self.phase = Phase::Awake(self.next_inquiry(cx.definition, cx.now));
        }
    }

    // === idle ===

    fn next_inquiry(&self, definition: &Definition, now: Timestamp) -> Inquiry {
        match (&self.recipe.idle, idle::asks(&definition.policy.idle)) {
            (Some(_), Some(interval)) => Inquiry::At(now + interval),
            _ => Inquiry::None,
        }
    }

    /// The policy has changed under it.
    pub(super) fn reconfigured(&mut self, cx: &Cx<'_>) {
        if let Phase::Awake(Inquiry::None | Inquiry::At(_)) = self.phase {
            self.phase = Phase::Awake(self.next_inquiry(cx.definition, cx.now));
        }
    }

    fn facts(&self, definition: &Definition, held: bool) -> Option<Facts> {
        let inquiry = match self.phase {
            Phase::Awake(inquiry) => inquiry,
            Phase::Asleep => Inquiry::None,
            _ => return None,
        };
        let policy = &definition.policy.idle;
        // IDLE_CMD is set but never asked: idle sleep is off, as in sleeping-beauty.
        let mute = self.recipe.idle.is_some() && idle::asks(policy).is_none();
        let open = match policy.on {
            IdleOn::Connections => self.in_use(),
            IdleOn::Bytes | IdleOn::Command => self.connecting.values().any(|held| !held.ignored),
        };
        Some(Facts {
            uptime: self.uptime?,
            in_use: held || open,
            has_stop: self.recipe.stop.is_some() && !mute && self.retire.is_none(),
            inquiry,
        })
    }

    /// When it will be put to sleep if nobody uses it, as far as that is known.
    pub(super) fn sleeps_at(&self, definition: &Definition, held: bool) -> Option<Timestamp> {
        let facts = self.facts(definition, held)?;
        if !facts.has_stop || facts.in_use {
            return None;
        }
        idle::expiry(&definition.policy.idle, facts.uptime)
    }

    fn judge_idle(&mut self, held: bool, sampled: bool, cx: &mut Cx<'_>) {
        let policy = cx.definition.policy.idle;
        let Some(facts) = self.facts(cx.definition, held) else {
            return;
        };
        match idle::judge(&policy, facts, cx.now) {
            Verdict::Later(_) => {}
            Verdict::Expired if policy.on == IdleOn::Bytes && !sampled && self.relays_open() => {
                cx.out.push(Output::SampleActivity(self.id));
            }
            Verdict::Expired => self.sleep(facts.uptime, cx),
            Verdict::Ask => {
                let Some(command) = self.recipe.idle.clone() else {
                    return;
                };
                let destination = self.destinations.first().cloned();
                let recipe = Arc::clone(&self.recipe);
                let id = cx.run(Action::Idle, &command, &recipe, destination, None);
                self.phase = Phase::Awake(Inquiry::Running(id));
            }
        }
    }

    fn relays_open(&self) -> bool {
        self.relays.values().any(|relay| !relay.ignored)
    }

    fn sleep(&mut self, uptime: Uptime, cx: &mut Cx<'_>) {
        cx.report(Report::Sleeping {
            idle: cx.now.since(uptime.last_use),
        });
        self.fire(Event::Idle, cx);
    }

    /// When the last byte moved. A relay that was busy is use; else it is time to sleep.
    pub(super) fn on_activity(&mut self, last: Option<Timestamp>, held: bool, cx: &mut Cx<'_>) {
        if let (Some(last), Some(uptime)) = (last, &mut self.uptime) {
            uptime.used(last);
        }
        let policy = cx.definition.policy.idle;
        let Some(facts) = self.facts(cx.definition, held) else {
            return;
        };
        let expired = idle::expiry(&policy, facts.uptime).is_some_and(|at| at <= cx.now);
        if expired && facts.has_stop && !facts.in_use {
            self.sleep(facts.uptime, cx);
        }
    }

    fn inquired(&mut self, outcome: &CommandOutcome, held: bool, cx: &mut Cx<'_>) {
        self.phase = Phase::Awake(self.next_inquiry(cx.definition, cx.now));
        if !outcome.exit.success() {
            if !matches!(outcome.exit, crate::model::CommandExit::Exited(1..=125)) {
                cx.failed_command(Action::Idle, outcome, "taken for: somebody uses it");
            }
            self.used(cx.now, cx);
            return;
        }
        let policy = cx.definition.policy.idle;
        let Some(facts) = self.facts(cx.definition, held) else {
            return;
        };
        let expired = idle::expiry(&policy, facts.uptime).is_some_and(|at| at <= cx.now);
        if !expired || !facts.has_stop || facts.in_use {
            return;
        }
        if policy.on == IdleOn::Bytes && self.relays_open() {
            cx.out.push(Output::SampleActivity(self.id));
        } else {
            self.sleep(facts.uptime, cx);
        }
    }

    // === inputs ===

    pub(super) fn owns_command(&self, id: CommandId) -> bool {
        match &self.phase {
            Phase::Waking(Some(wake)) => wake.owns_command(id),
            Phase::Awake(Inquiry::Running(own)) => *own == id,
            Phase::Stopping(stop) | Phase::Ending(stop) => stop.owns_command(id),
            _ => false,
        }
    }

    pub(super) fn owns_probe(&self, id: ProbeId) -> bool {
        match &self.phase {
            Phase::Waking(Some(wake)) => wake.owns_probe(id),
            Phase::Stopping(stop) | Phase::Ending(stop) => stop.owns_probe(id),
            _ => false,
        }
    }

    pub(super) fn on_command(&mut self, outcome: &CommandOutcome, held: bool, cx: &mut Cx<'_>) {
        match &mut self.phase {
            Phase::Waking(Some(wake)) => {
                let progress = wake.on_command(outcome, cx);
                self.wake_progress(progress, cx);
            }
            Phase::Awake(_) => self.inquired(outcome, held, cx),
            Phase::Stopping(stop) | Phase::Ending(stop) => {
                let progress = stop.on_command(outcome, cx);
                self.stop_progress(progress, cx);
            }
            _ => {}
        }
    }

    pub(super) fn on_probe(&mut self, verdict: ProbeVerdict, cx: &mut Cx<'_>) {
        match &mut self.phase {
            Phase::Waking(Some(wake)) => {
                let progress = wake.on_probe(verdict, cx);
                self.wake_progress(progress, cx);
            }
            Phase::Stopping(stop) | Phase::Ending(stop) => {
                let progress = stop.on_probe(&verdict, cx);
                self.stop_progress(progress, cx);
            }
            _ => {}
        }
    }

    /// The next moment at which [`Self::on_tick`] has something to do.
    pub(super) fn due(&self, definition: &Definition, held: bool) -> Option<Timestamp> {
        let drain = self.retire.and_then(|retire| retire.deadline);
        match &self.phase {
            Phase::Waking(wake) => [wake.as_ref().and_then(Wake::due), drain]
                .into_iter()
                .flatten()
                .min(),
            Phase::Stopping(stop) | Phase::Ending(stop) => stop.due(),
            Phase::Draining => drain,
            Phase::Awake(_) | Phase::Asleep => {
                let facts = self.facts(definition, held)?;
                match idle::judge(&definition.policy.idle, facts, Timestamp::BOOT) {
                    Verdict::Later(at) => at,
                    // Judged at boot, everything is later but what is due from the beginning.
                    Verdict::Expired | Verdict::Ask => Some(Timestamp::BOOT),
                }
            }
            Phase::Gone => None,
        }
    }

    pub(super) fn on_tick(&mut self, held: bool, cx: &mut Cx<'_>) {
        let out_of_time = self
            .retire
            .and_then(|retire| retire.deadline)
            .is_some_and(|deadline| deadline <= cx.now);
        if let Some(retire) = self.retire.as_mut().filter(|_| out_of_time) {
            // What follows from it happens once, now.
            retire.deadline = None;
        }
        match &mut self.phase {
            Phase::Waking(Some(wake)) => {
                let progress = if out_of_time {
                    wake.give_up("DRAIN_TIMEOUT has passed", cx)
                } else {
                    wake.on_tick(cx)
                };
                self.wake_progress(progress, cx);
            }
            Phase::Stopping(stop) | Phase::Ending(stop) => {
                let progress = stop.on_tick(cx);
                self.stop_progress(progress, cx);
            }
            Phase::Draining if out_of_time => {
                let cut = self.cut_relays(cx);
                if cut > 0 {
                    cx.report(Report::DrainTimedOut(cut));
                }
                self.check_drained(cx);
            }
            Phase::Awake(_) | Phase::Asleep => self.judge_idle(held, false, cx),
            _ => {}
        }
    }

    /// SETTLE_TIME, until a connection of this wake has been made.
    pub(super) fn settle(&self, definition: &Definition) -> Duration {
        if self.settled {
            Duration::ZERO
        } else {
            definition.policy.timeouts.settle
        }
    }
}

fn woken(wake: &Wake, now: Timestamp) -> Report {
    Report::Woken {
        cause: wake.cause,
        took: now.since(wake.began),
        destinations: wake.destinations.clone(),
        started: wake.started,
    }
}
