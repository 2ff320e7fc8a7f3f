//! What a service is told, and what it wants done.

use std::{fmt, sync::Arc, time::Duration};

use super::{Record, lifecycle::State};
use crate::model::{
    Action, BackendEnd, BackendId, BackendProcess, ClientAddr, CommandExit, CommandId,
    CommandOutcome, CommandRequest, ConnId, Definition, Destination, End, GenerationId, LocalAddr,
    ProbeId, StopPlan, Timestamp,
};

/// Something happened.
#[derive(Debug, Clone)]
pub enum Input {
    /// A client was accepted.
    ClientArrived {
        /// Its identity from now on.
        conn: ConnId,
        /// Where it comes from.
        client: ClientAddr,
        /// The address it connected to.
        local: LocalAddr,
        /// When it was accepted: before now, where it had to say first who it is.
        at: Timestamp,
    },
    /// A held client has sent something (which is still unread).
    ClientSpoke(ConnId),
    /// A held client has reset its connection, or closed it without having sent anything.
    ClientGone(ConnId),
    /// A client was lost by the daemon itself, for this reason; it has been reset.
    ClientLost(ConnId, String),
    /// A client's connect succeeded, and its relay has begun.
    Connected(ConnId, Destination),
    /// No candidate could be reached; the client is held again.
    ConnectFailed(ConnId, ConnectFailure),
    /// A relay has ended, or what was to become one.
    RelayEnded(ConnId),
    /// A command has ended (or START has said its line).
    CommandDone(CommandId, CommandOutcome),
    /// A COMMAND runs, as this process.
    BackendStarted(BackendId, BackendProcess),
    /// A COMMAND has ended, or could not be started, and nothing of it is left.
    BackendEnded(BackendId, BackendEnd),
    /// A probe has an answer.
    ProbeDone(ProbeId, ProbeVerdict),
    /// The answer to [`Output::SampleActivity`]: when the last byte moved in an open relay.
    Activity(GenerationId, Option<Timestamp>),
    /// The moment of [`super::Service::deadline`] has come.
    Tick,
    /// Wake it, for this reason.
    WakeWanted(Cause),
    /// The configuration was reloaded, and this section has changed.
    Configured(Arc<Definition>),
    /// End.
    Retire(Retirement),
    /// End at once: relays are cut, commands killed.
    Hurry,
}

/// Something is to be done.
#[derive(Debug, Clone)]
pub enum Output {
    /// Run a command; answer with [`Input::CommandDone`].
    Run(CommandId, Box<CommandRequest>),
    /// Kill it, with all it started; the answer still comes.
    CancelCommand(CommandId),
    /// Run COMMAND; answer with [`Input::BackendStarted`] when it is a process, and with
    /// [`Input::BackendEnded`] when it is none any more.
    StartBackend(BackendId, Box<CommandRequest>),
    /// End it in this way; the answer is its end.
    StopBackend(BackendId, StopPlan),
    /// Kill it, with all it started; the answer is its end.
    KillBackend(BackendId),
    /// Look, or wait, for somebody to listen; answer with [`Input::ProbeDone`].
    Probe(ProbeId, ProbeKind, Vec<Destination>),
    /// The answer is not wanted any more.
    CancelProbe(ProbeId),
    /// Connect this client to the first of these that can be reached, and relay. Answer with
    /// [`Input::Connected`] or [`Input::ConnectFailed`], later with [`Input::RelayEnded`].
    Connect {
        /// The client.
        conn: ConnId,
        /// The generation that its relay belongs to.
        generation: GenerationId,
        /// In the order to try them.
        candidates: Vec<Destination>,
        /// SETTLE_TIME, for the first connections of a wake: a backend that closes within it was
        /// not ready, which is a [`ConnectFailure::ClosedEarly`].
        settle: Duration,
    },
    /// Reset this client; it is not heard of again.
    Refuse(ConnId, Refusal),
    /// End this relay now, for this reason: both sides are reset. [`Input::RelayEnded`] follows.
    Cut(ConnId, End),
    /// The backend of this relay is gone. If the backend has not ended its side itself, both are
    /// reset, the client after what had been sent to it.
    BackendGone(ConnId),
    /// Say when the last byte moved, at once.
    SampleActivity(GenerationId),
    /// Write this down for the next daemon; `None`: nothing is awake, forget what was written.
    Persist(Option<Box<Record>>),
    /// Tell the administrator.
    Report(Report),
    /// Every generation is gone. The last output there is.
    Finished,
}

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeKind {
    /// Is a backend there now? One round, connecting where the kernel cannot be asked.
    Look,
    /// The same, but without any connect: only local listeners are found.
    LookLocal,
    /// Wait until one is there.
    Wait,
    /// Fetch READY_URL once.
    Url,
}

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeVerdict {
    /// Somebody is there (or, for a URL, it said 200).
    Up,
    /// Nobody is; why we think so.
    Down(String),
    /// It cannot be known: not a local address, and connecting was not asked for.
    Unknown,
    /// An error that waiting does not cure.
    Failed(String),
}

/// Why a connect did not come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectFailure {
    /// Refused, unreachable, silent for CONNECT_TIMEOUT: not up.
    NotUp(String),
    /// It accepted, and closed within SETTLE_TIME without a word: a forwarder whose backend is
    /// not up yet.
    ClosedEarly,
    /// The daemon has no descriptor, port or memory for another connection just now.
    NoRoom(String),
    /// Anything else; trying again does not help.
    Failed(String),
}

/// Who wants it awake?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A client.
    Client(ClientAddr),
    /// AUTO_START.
    AutoStart,
    /// An administrator.
    Control,
    /// Nobody: the daemon looks for what already runs.
    Adoption,
}

/// Why a client is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// DENY, or not in ALLOW.
    Denied,
    /// MAX_CONNECTIONS_PER_SOURCE.
    TooManyFromSource,
    /// IGNORE, and the service is not awake.
    IgnoredAsleep,
    /// The wake failed.
    WakeFailed,
    /// WAKE_TIMEOUT has run out.
    HeldTooLong,
    /// The destination could not be reached, for a reason that waiting does not cure.
    Unreachable(String),
    /// The service is ending.
    Ending,
    /// The daemon has no memory to watch its connection.
    NoRoom(String),
}

/// How to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retirement {
    /// The daemon stops: STOP for what is awake.
    Stop,
    /// The daemon is restarted: what is awake stays awake, for the next one.
    Keep,
}

/// What the administrator is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// A wake begins.
    Waking(Cause),
    /// It is awake.
    Woken {
        /// Who wanted it.
        cause: Cause,
        /// From the beginning of the wake.
        took: Duration,
        /// Where the backend is; empty: known for each connection alone.
        destinations: Vec<Destination>,
        /// Whether START ran, or it was found up.
        started: bool,
    },
    /// The wake failed.
    WakeFailed {
        /// Why.
        why: String,
        /// How many clients were reset for it.
        refused: usize,
        /// How long until the next try at the earliest.
        back_off: Option<Duration>,
    },
    /// START for one connection failed.
    StartFailed {
        /// Whose.
        client: Option<ClientAddr>,
        /// Why.
        why: String,
    },
    /// COMMAND has ended by itself.
    BackendEnded {
        /// How.
        end: BackendEnd,
        /// How long it had run.
        ran: Duration,
        /// Open relays that it had.
        relays: usize,
        /// How long until the next start at the earliest, where it had failed soon.
        back_off: Option<Duration>,
    },
    /// A known destination does not answer any more.
    Lost(String),
    /// A backend that already ran was found.
    Adopted(Vec<Destination>),
    /// What was written down as awake is not there any more.
    NotThere,
    /// Idle: STOP begins.
    Sleeping {
        /// How long nobody had used it.
        idle: Duration,
    },
    /// It is asleep.
    Asleep {
        /// How long STOP, and the backend's going, took.
        took: Duration,
        /// How long it had been awake.
        awake: Duration,
    },
    /// STOP failed, but the backend is gone all the same.
    StopFailed(String),
    /// STOP did not take; it is awake again.
    StillUp(String),
    /// A command failed.
    CommandFailed {
        /// What for.
        action: Action,
        /// How it ended.
        exit: CommandExit,
        /// The last lines of its standard error.
        stderr: Vec<String>,
        /// What happens next.
        then: &'static str,
    },
    /// Open relays were cut at the end of DRAIN_TIMEOUT.
    DrainTimedOut(usize),
    /// A client was refused.
    Refused {
        /// Who.
        client: ClientAddr,
        /// Why.
        why: Refusal,
        /// How long it had been held.
        held: Duration,
    },
    /// A held client left before the backend was ready.
    GaveUp {
        /// Who.
        client: ClientAddr,
        /// How long it had been held.
        held: Duration,
    },
    /// A client had left before the service heard of it.
    ClientLeft(ClientAddr),
    /// An event had no arrow: a bug of ours, and nothing was done.
    NoArrow(State, super::lifecycle::Event),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(addr) => addr.fmt(f),
            Self::AutoStart => f.write_str("AUTO_START"),
            Self::Control => f.write_str("the administrator"),
            Self::Adoption => f.write_str("the start of the daemon"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied => f.write_str("not allowed to connect"),
            Self::TooManyFromSource => f.write_str("too many connections from this address"),
            Self::IgnoredAsleep => f.write_str("asleep, and this address does not wake it"),
            Self::WakeFailed => f.write_str("the wake failed"),
            Self::HeldTooLong => f.write_str("held for WAKE_TIMEOUT"),
            Self::Unreachable(why) => write!(f, "the destination cannot be reached: {why}"),
            Self::Ending => f.write_str("the service is ending"),
            Self::NoRoom(why) => write!(f, "its connection cannot be watched: {why}"),
        }
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotUp(why) | Self::NoRoom(why) | Self::Failed(why) => f.write_str(why),
            Self::ClosedEarly => f.write_str("it accepted and closed at once"),
        }
    }
}
