//! Telling systemd how we are (sd_notify(3)).
//!
//! The words come from the sd-notify crate; the sending does not. That crate looks up
//! `NOTIFY_SOCKET` at each message, so the variable would have to stay in our environment, where
//! children find it; it sends on a blocking socket, so a stalled manager would stop every relay;
//! and it does not know abstract sockets. The sending is `link`, and what hangs on its order goes
//! through the outbox.

mod link;

use std::{
    env,
    ffi::OsString,
    io,
    os::fd::BorrowedFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sd_notify::NotifyState;

use self::link::{Delivery, Link, PATIENCE};
use super::outbox::{Letter, Outbox};
use crate::sys::{
    clock,
    inherit::{self, InheritError},
};

/// STATUS= is for one line of a terminal.
pub(super) const STATUS_LIMIT: usize = 512;

/// `FDNAME=` may be this long (sd_pid_notify_with_fds(3)).
const NAME_LIMIT: usize = 255;

/// Speaks to the manager that started us; says nothing where there is none. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Notifier {
    link: Option<Arc<Link>>,
    /// From the first message on that it is for: until then there must be no thread.
    outbox: Arc<Mutex<Option<Arc<Outbox>>>>,
    watchdog: Option<Duration>,
}

/// Why systemd could not be told something.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The address in the variable cannot be used.
    #[error("NOTIFY_SOCKET={address} cannot be used: {source}")]
    Address {
        /// What the variable says.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The variables could not be removed.
    #[error(transparent)]
    Inherit(#[from] InheritError),
    /// A message did not go out.
    #[error("systemd could not be told {message}: {source}")]
    Send {
        /// The first word of the message.
        message: String,
        /// Why not; `WouldBlock` where it does not read.
        source: io::Error,
    },
    /// A name that systemd would not take for a descriptor.
    #[error("'{0}' cannot name a stored descriptor; use up to 255 ASCII letters without ':'")]
    Name(String),
}

// === impl Notifier ===

impl Notifier {
    /// Takes `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` out of the environment. To be
    /// called at the top of `main`, before any thread exists.
    ///
    /// # Errors
    /// Where the address cannot be used or the variables cannot be removed.
    pub fn take() -> Result<Self, NotifyError> {
        let address = env::var_os("NOTIFY_SOCKET");
        // Checks WATCHDOG_PID as well.
        let watchdog = sd_notify::watchdog_enabled();
        inherit::unset(&["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"])?;
        Self::new(address, watchdog)
    }

    /// Speaks to the socket at `address` (a path, or `@` and an abstract name), which wants to
    /// hear from us at least once per `watchdog`.
    ///
    /// # Errors
    /// Where the address cannot be used.
    pub fn new(address: Option<OsString>, watchdog: Option<Duration>) -> Result<Self, NotifyError> {
        let link = address.filter(|a| !a.is_empty()).map(|address| {
            Link::new(&address)
                .map(Arc::new)
                .map_err(|source| NotifyError::Address {
                    address: address.to_string_lossy().into_owned(),
                    source,
                })
        });
        Ok(Self {
            link: link.transpose()?,
            outbox: Arc::default(),
            watchdog: watchdog.filter(|w| !w.is_zero()),
        })
    }

    /// Whether anybody listens to us.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link.is_some()
    }

    /// Start-up, or a reload, is complete.
    ///
    /// # Errors
    /// Where the message did not go out.
    pub fn ready(&self) -> Result<(), NotifyError> {
        self.send(&[NotifyState::Ready], &[], Delivery::Needed)
    }

    /// A reload begins. In one message, because systemd compares the time with its own request.
    ///
    /// # Errors
    /// Where the message did not go out.
    pub fn reloading(&self) -> Result<(), NotifyError> {
        let now = i128::try_from(clock::monotonic().as_micros()).unwrap_or(i128::MAX);
        let states = [
            NotifyState::Reloading,
            NotifyState::MonotonicUsec(now),
            NotifyState::Status("Reloading the configuration"),
        ];
        self.send(&states, &[], Delivery::Needed)
    }

    /// Shutdown begins. Final since systemd 259: there is no way back to ready.
    ///
    /// # Errors
    /// Where the message did not go out.
    pub fn stopping(&self) -> Result<(), NotifyError> {
        self.send(&[NotifyState::Stopping], &[], Delivery::Needed)
    }

    /// A line for `systemctl status`. Control characters become spaces, because a newline would
    /// begin another assignment; what is beyond 512 bytes is cut off.
    ///
    /// # Errors
    /// Where the message did not go out, which may be ignored: a newer one follows.
    pub fn status(&self, text: &str) -> Result<(), NotifyError> {
        self.send(
            &[NotifyState::Status(&one_line(text))],
            &[],
            Delivery::Lossy,
        )
    }

    /// Asks for this much more time, from now, before start or stop counts as hung.
    ///
    /// # Errors
    /// Where the message did not go out.
    pub fn extend_timeout(&self, by: Duration) -> Result<(), NotifyError> {
        // The crate's own state is 32 bits wide, which is 71 minutes.
        let text = format!("EXTEND_TIMEOUT_USEC={}", by.as_micros());
        self.send(&[NotifyState::Custom(&text)], &[], Delivery::Needed)
    }

    /// We are alive. To be sent every [`Self::watchdog_interval`].
    ///
    /// # Errors
    /// Where the message did not go out, which may be ignored once: the next comes in time.
    pub fn watchdog(&self) -> Result<(), NotifyError> {
        self.send(&[NotifyState::Watchdog], &[], Delivery::Lossy)
    }

    /// How often [`Self::watchdog`] is due: half of what systemd allows. `None` where it does not
    /// watch us.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.link.as_ref().and(self.watchdog).map(|limit| limit / 2)
    }

    /// Stores a copy of the descriptor with systemd, which hands it to our successor under this
    /// name. systemd drops it by itself once its other end has hung up, and beyond
    /// FileDescriptorStoreMax= it takes none.
    ///
    /// # Errors
    /// Where the name cannot be one, or nothing can be queued. Returns at once: it goes out in
    /// its turn, before what is asked later, and what does not is logged.
    pub fn store(&self, name: &str, fd: BorrowedFd<'_>) -> Result<(), NotifyError> {
        self.post(NotifyState::FdStore, name, Some(fd)).map(drop)
    }

    /// The same, and waits a moment until it is done. Not for a runtime's thread.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub fn store_and_wait(&self, name: &str, fd: BorrowedFd<'_>) -> Result<(), NotifyError> {
        if let Some((outbox, number)) = self.post(NotifyState::FdStore, name, Some(fd))? {
            outbox.wait(number);
        }
        Ok(())
    }

    /// Has systemd forget every descriptor stored under this name.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub fn remove(&self, name: &str) -> Result<(), NotifyError> {
        self.post(NotifyState::FdStoreRemove, name, None).map(drop)
    }

    fn post(
        &self,
        what: NotifyState<'_>,
        name: &str,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<Option<(Arc<Outbox>, u64)>, NotifyError> {
        check_name(name)?;
        let Some(link) = &self.link else {
            return Ok(None);
        };
        let failed = |source| NotifyError::Send {
            message: what.to_string(),
            source,
        };
        let fd = fd.map(|fd| fd.try_clone_to_owned()).transpose();
        let fd = fd.map_err(failed)?;
        let mut outbox = self.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        let outbox = match &*outbox {
            Some(outbox) => Arc::clone(outbox),
            None => {
                let link = Arc::clone(link);
                let send = move |letter: &Letter| {
                    link.send(letter.text.as_bytes(), &letter.fds(), Delivery::Needed)
                };
                let started = Arc::new(Outbox::start(PATIENCE, send).map_err(failed)?);
                *outbox = Some(Arc::clone(&started));
                started
            }
        };
        let text = format!("{what}\n{}", NotifyState::FdName(name));
        let number = outbox.post(Letter { text, fd });
        Ok(Some((outbox, number)))
    }

    fn send(
        &self,
        states: &[NotifyState<'_>],
        fds: &[BorrowedFd<'_>],
        delivery: Delivery,
    ) -> Result<(), NotifyError> {
        let Some(link) = &self.link else {
            return Ok(());
        };
        let lines: Vec<String> = states.iter().map(ToString::to_string).collect();
        link.send(lines.join("\n").as_bytes(), fds, delivery)
            .map_err(|source| NotifyError::Send {
                message: lines.into_iter().next().unwrap_or_default(),
                source,
            })
    }
}

pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(STATUS_LIMIT));
    for c in text.chars() {
        if line.len() + c.len_utf8() > STATUS_LIMIT {
            break;
        }
        line.push(if c.is_control() { ' ' } else { c });
    }
    line
}

/// As systemd's fdname_is_valid().
pub(super) fn check_name(name: &str) -> Result<(), NotifyError> {
    let fits = !name.is_empty() && name.len() <= NAME_LIMIT;
    if fits
        && name
            .bytes()
            .all(|b| (b' '..=b'~').contains(&b) && b != b':')
    {
        Ok(())
    } else {
        Err(NotifyError::Name(name.to_owned()))
    }
}

#[cfg(test)]
mod tests;
