//! Plain data that every module speaks: names, addresses, durations, policies. No I/O, no clock.

pub mod addr;
pub mod backend;
pub mod cidr;
pub mod command;
pub mod container;
pub mod definition;
pub mod duration;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub mod ids;
pub mod name;
pub mod outcome;
pub mod proxy_protocol;
pub mod scope;
pub mod time;
pub mod unit;

pub use addr::{ClientAddr, Destination, ListenAddr, LocalAddr};
pub use backend::{BackendEnd, BackendProcess, ProcessId, StopPlan, StopSignal, Supervised};
pub use cidr::{Cidr, CidrError, CidrList};
pub use command::{Action, CommandExit, CommandLine, CommandOutcome, CommandRequest, Execution};
pub use container::{ContainerRef, ContainerRefError, Engine};
pub use definition::{
    Access, Account, Balance, CommandTimeouts, Definition, Environment, IdleOn, IdlePolicy, Limits,
    Mode, Origin, Policy, Recipe, Timeouts, WakeOn,
};
pub use ids::{BackendId, CommandId, ConnId, ConnMap, GenerationId, ProbeId};
pub use name::{ServiceName, Slug};
pub use outcome::{End, Outcome, Side};
pub use proxy_protocol::{ProxyProtocol, ProxyVersion, TrustedSource, TrustedSources};
pub use scope::Scope;
pub use time::Timestamp;
pub use unit::{UnitName, UnitNameError};
