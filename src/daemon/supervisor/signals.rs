//! The signals that the daemon knows.

use std::{future::pending, io};

use tokio::signal::unix::{self, SignalKind, signal};

use crate::{model::StopSignal, sys::process::was_ignored_at_start};

/// All of them.
pub(super) struct Signals {
    pub(super) end: EndSignals,
    /// To read the files again.
    hang_up: Option<unix::Signal>,
    /// Of a person's terminal.
    job_control: Option<JobControl>,
}

/// Those that tell it to end.
pub(super) struct EndSignals {
    terminate: unix::Signal,
    interrupt: Option<unix::Signal>,
    /// Where there are no files to be read again.
    hang_up: Option<unix::Signal>,
}

/// Those that stop it for a while.
struct JobControl {
    stop: unix::Signal,
    go_on: unix::Signal,
}

/// One that does not end it.
pub(super) enum Signal {
    HangUp,
    /// Ctrl-Z.
    Stop,
    /// It was stopped, and goes on.
    GoOn,
}

impl Signals {
    /// Those of the daemon.
    pub(super) fn of_daemon() -> io::Result<Self> {
        Ok(Self {
            end: EndSignals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: Some(signal(SignalKind::interrupt())?),
                hang_up: None,
            },
            hang_up: Some(signal(SignalKind::hangup())?),
            job_control: None,
        })
    }

    /// Those of a program that a person runs. What was ignored when it was started stays so:
    /// nohup(1) holds for what it runs too.
    pub(super) fn of_forward() -> io::Result<Self> {
        let unless_ignored = |kind: SignalKind| {
            let ignored = was_ignored_at_start(kind.as_raw_value());
            (!ignored).then(|| signal(kind)).transpose()
        };
        let stop = unless_ignored(SignalKind::from_raw(libc::SIGTSTP))?;
        let go_on = signal(SignalKind::from_raw(libc::SIGCONT))?;
        Ok(Self {
            end: EndSignals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: unless_ignored(SignalKind::interrupt())?,
                hang_up: unless_ignored(SignalKind::hangup())?,
            },
            hang_up: None,
            job_control: stop.map(|stop| JobControl { stop, go_on }),
        })
    }

    /// Waits for one that tells it to end (`Err`), or for another. Dropped while it waits, it loses
    /// nothing.
    pub(super) async fn next(&mut self) -> Result<Signal, StopSignal> {
        let job_control = async {
            match &mut self.job_control {
                Some(JobControl { stop, go_on }) => tokio::select! {
                    _ = stop.recv() => Signal::Stop,
                    _ = go_on.recv() => Signal::GoOn,
                },
                None => pending().await,
            }
        };
        tokio::select! {
            end = self.end.next() => Err(end),
            () = heard(&mut self.hang_up) => Ok(Signal::HangUp),
            other = job_control => Ok(other),
        }
    }
}

impl EndSignals {
    /// Waits for one of them.
    pub(super) async fn next(&mut self) -> StopSignal {
        tokio::select! {
            _ = self.terminate.recv() => StopSignal::TERM,
            () = heard(&mut self.interrupt) => StopSignal::INT,
            () = heard(&mut self.hang_up) => StopSignal::HUP,
        }
    }
}

async fn heard(signal: &mut Option<unix::Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => pending().await,
    }
}
