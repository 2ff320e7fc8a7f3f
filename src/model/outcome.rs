//! How a connection ended.

use std::{fmt, time::Duration};

/// Which side did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The client.
    Client,
    /// The backend.
    Backend,
    /// We did.
    Daemon,
}

/// Why a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Both sides sent FIN, and every byte was delivered.
    Finished,
    /// A side sent RST (or was found dead), and it was passed on.
    Reset,
    /// No byte for CLIENT_TIMEOUT.
    IdleTimeout,
    /// No byte for HALF_CLOSE_TIMEOUT after one side's FIN.
    HalfCloseTimeout,
    /// DRAIN_TIMEOUT ran out.
    DrainTimeout,
    /// Its backend was put to sleep: it did not count as use (IDLE_ON).
    PutToSleep,
    /// It had been refused while it was being connected, and that was said already.
    Refused,
    /// A system call failed in a way that is neither side's word; the errno is kept.
    Failed(i32),
}

/// The whole story of one relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes from the client to the backend.
    pub to_backend: u64,
    /// Bytes from the backend to the client.
    pub to_client: u64,
    /// Who ended it: the side whose FIN or RST came first, or we with a timeout.
    pub ended_by: Side,
    /// Why it ended.
    pub end: End,
    /// How long it was relayed.
    pub relayed: Duration,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Backend => "backend",
            Self::Daemon => "daemon",
        })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => f.write_str("finished"),
            Self::Reset => f.write_str("reset"),
            Self::IdleTimeout => f.write_str("idle-timeout"),
            Self::HalfCloseTimeout => f.write_str("half-close-timeout"),
            Self::DrainTimeout => f.write_str("drain-timeout"),
            Self::PutToSleep => f.write_str("put-to-sleep"),
            Self::Refused => f.write_str("refused"),
            Self::Failed(errno) => {
                write!(f, "failed: {}", std::io::Error::from_raw_os_error(*errno))
            }
        }
    }
}
