//! Sections to socket units: what `sleepingd-generator` writes at boot and at each daemon-reload.
//!
//! Pure but for [`write`], and [`is_open`] that no generator asks: no process, no name service, no network, since none of them is there
//! when generators run (systemd.generator(7)).

mod name;
mod open;
mod plan;
mod unit;
mod write;

pub use name::unit_name;
pub use open::is_open;
pub use plan::{PATTERN, PROPERTIES, Plan};
pub use unit::{Unit, units};
pub use write::{WriteError, write};
