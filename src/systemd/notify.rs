//! Telling systemd how we are (sd_notify(3)).
//!
//! The words come from the sd-notify crate; the sending does not. That crate looks up
//! `NOTIFY_SOCKET` at each message, so the variable would have to stay in our environment, where
//! children find it; it sends on a blocking socket, so a stalled manager would stop every relay;
//! and it does not know abstract sockets.

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, IoSlice},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg,
            setsockopt, socket, sockopt,
        },
        time::TimeVal,
    },
};
use sd_notify::NotifyState;

use super::outbox::{Letter, Outbox};
use crate::sys::{
    clock,
    inherit::{self, InheritError},
};

/// STATUS= is for one line of a terminal.
pub(super) const STATUS_LIMIT: usize = 512;

/// `FDNAME=` may be this long (sd_pid_notify_with_fds(3)).
const NAME_LIMIT: usize = 255;

/// How long a message that must arrive may wait for a manager that is busy.
const PATIENCE: Duration = Duration::from_millis(250);

/// Speaks to the manager that started us; says nothing where there is none. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Notifier {
    link: Option<Arc<Link>>,
    /// From the first message on that it is for: until then there must be no thread.
    outbox: Arc<Mutex<Option<Arc<Outbox>>>>,
    watchdog: Option<Duration>,
}

#[derive(Debug)]
struct Link {
    socket: OwnedFd,
    address: UnixAddr,
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

/// Whether a message may be lost when the manager is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    /// It comes again, or a newer one does: never wait.
    Lossy,
    /// Something hangs on it: wait for [`PATIENCE`].
    Needed,
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

// === impl Link ===

impl Link {
    fn new(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes().split_first() {
            Some((b'@', name)) => UnixAddr::new_abstract(name)?,
            Some((b'/', _)) => UnixAddr::new(address)?,
            // vsock: comes from virtual machine monitors to a guest's PID 1, not to services.
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "neither a path nor @name",
                ));
            }
        };
        let socket = socket(
            AddressFamily::Unix,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        let patience = i64::try_from(PATIENCE.as_micros()).unwrap_or(i64::MAX);
        // Blocking, but not for long; messages that may be lost ask not to wait at all.
        setsockopt(&socket, sockopt::SendTimeout, &TimeVal::new(0, patience))?;
        Ok(Self { socket, address })
    }

    fn send(&self, text: &[u8], fds: &[BorrowedFd<'_>], delivery: Delivery) -> io::Result<()> {
        let raw: Vec<_> = fds.iter().map(|fd| fd.as_fd().as_raw_fd()).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control = if raw.is_empty() {
            &rights[..0]
        } else {
            &rights[..]
        };
        let mut flags = MsgFlags::MSG_NOSIGNAL;
        flags.set(MsgFlags::MSG_DONTWAIT, delivery == Delivery::Lossy);
        loop {
            let text = [IoSlice::new(text)];
            let socket = self.socket.as_raw_fd();
            match sendmsg(socket, &text, control, flags, Some(&self.address)) {
                // A datagram goes whole or not at all.
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
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
mod tests {
    use std::{
        fs::File,
        io::{IoSliceMut, Read, Write},
        os::{
            fd::FromRawFd,
            linux::net::SocketAddrExt,
            unix::net::{SocketAddr, UnixDatagram},
        },
    };

    use nix::sys::socket::{ControlMessageOwned, recvmsg};

    use super::*;

    /// A manager that keeps what it is told.
    struct Manager {
        socket: UnixDatagram,
        notifier: Notifier,
        _directory: tempfile::TempDir,
    }

    impl Manager {
        fn new(watchdog: Option<Duration>) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("notify");
            let socket = UnixDatagram::bind(&path).unwrap();
            let notifier = Notifier::new(Some(path.into()), watchdog).unwrap();
            Self {
                socket,
                notifier,
                _directory: directory,
            }
        }

        fn heard(&self) -> String {
            let mut buffer = [0; 2048];
            let length = self.socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        }
    }

    #[test]
    fn every_message_is_what_the_manual_says() {
        let manager = Manager::new(Some(Duration::from_secs(30)));
        let notifier = &manager.notifier;
        notifier.ready().unwrap();
        assert_eq!(manager.heard(), "READY=1");
        notifier.stopping().unwrap();
        assert_eq!(manager.heard(), "STOPPING=1");
        notifier.watchdog().unwrap();
        assert_eq!(manager.heard(), "WATCHDOG=1");
        notifier.extend_timeout(Duration::from_secs(7200)).unwrap();
        assert_eq!(manager.heard(), "EXTEND_TIMEOUT_USEC=7200000000");
        notifier.remove("c.1").unwrap();
        assert_eq!(manager.heard(), "FDSTOREREMOVE=1\nFDNAME=c.1");
        assert_eq!(notifier.watchdog_interval(), Some(Duration::from_secs(15)));
    }

    #[test]
    fn a_reload_says_when_it_began_in_one_message() {
        let manager = Manager::new(None);
        let before = clock::monotonic().as_micros();
        manager.notifier.reloading().unwrap();
        let text = manager.heard();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "RELOADING=1");
        let at: u128 = lines[1]
            .strip_prefix("MONOTONIC_USEC=")
            .unwrap()
            .parse()
            .unwrap();
        assert!((before..=clock::monotonic().as_micros()).contains(&at));
        assert_eq!(lines[2..], ["STATUS=Reloading the configuration"]);
    }

    #[test]
    fn a_status_cannot_smuggle_an_assignment_and_is_cut_at_a_letter() {
        let manager = Manager::new(None);
        manager.notifier.status("a\nREADY=1\x07b").unwrap();
        assert_eq!(manager.heard(), "STATUS=a READY=1 b");
        manager.notifier.status(&"é".repeat(400)).unwrap();
        assert_eq!(manager.heard(), format!("STATUS={}", "é".repeat(256)));
    }

    #[test]
    fn a_stored_descriptor_arrives_under_its_name() {
        let manager = Manager::new(None);
        let (kept, mut written) = nix::unistd::pipe()
            .map(|(r, w)| (r, File::from(w)))
            .unwrap();
        manager.notifier.store("pipe.web", kept.as_fd()).unwrap();

        let mut buffer = [0; 256];
        let mut control = nix::cmsg_space!([std::os::fd::RawFd; 1]);
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let raw = manager.socket.as_raw_fd();
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(raw, &mut slices, Some(&mut control), flags).unwrap();
        let Some(ControlMessageOwned::ScmRights(fds)) = message.cmsgs().unwrap().next() else {
            panic!("no descriptor came");
        };
        let length = message.bytes;
        assert_eq!(&buffer[..length], b"FDSTORE=1\nFDNAME=pipe.web");
        written.write_all(b"x").unwrap();
        drop(written);
        let mut text = String::new();
        // SAFETY: recvmsg has just made this descriptor, and nobody else knows it.
        #[allow(unsafe_code)]
        let mut received = unsafe { File::from_raw_fd(fds[0]) };
        received.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn names_that_systemd_would_refuse_are_refused_here() {
        let manager = Manager::new(None);
        for bad in ["", "a:b", "a\nb", "é", &"x".repeat(256)] {
            assert!(
                matches!(manager.notifier.remove(bad), Err(NotifyError::Name(_))),
                "{bad}"
            );
        }
        manager.notifier.remove(&"x".repeat(255)).unwrap();
        manager.notifier.remove("Simple web server").unwrap();
    }

    #[test]
    fn a_manager_that_does_not_read_is_waited_for_no_longer_than_said() {
        let manager = Manager::new(None);
        let full = loop {
            if let Err(error) = manager.notifier.watchdog() {
                break error;
            }
        };
        let NotifyError::Send { message, source } = full else {
            panic!("{full}")
        };
        assert_eq!(
            (message.as_str(), source.kind()),
            ("WATCHDOG=1", io::ErrorKind::WouldBlock)
        );
        let before = clock::now();
        assert!(manager.notifier.ready().is_err());
        assert!(clock::now().since(before) >= PATIENCE / 2, "it did wait");
        assert!(
            clock::now().since(before) < PATIENCE * 20,
            "but not for ever"
        );
    }

    #[test]
    fn nobody_waits_to_store_or_remove_and_the_order_is_kept() {
        let manager = Manager::new(None);
        let mut stuffed = 0;
        while manager.notifier.watchdog().is_ok() {
            stuffed += 1;
        }
        let before = clock::now();
        manager.notifier.store("a", io::stdin().as_fd()).unwrap();
        manager.notifier.remove("a").unwrap();
        manager.notifier.store("b", io::stdin().as_fd()).unwrap();
        assert!(clock::now().since(before) < Duration::from_millis(20));
        for _ in 0..stuffed {
            assert_eq!(manager.heard(), "WATCHDOG=1");
        }
        assert_eq!(manager.heard(), "FDSTORE=1\nFDNAME=a");
        assert_eq!(manager.heard(), "FDSTOREREMOVE=1\nFDNAME=a");
        assert_eq!(manager.heard(), "FDSTORE=1\nFDNAME=b");
    }

    #[test]
    fn abstract_sockets_are_spoken_to() {
        let name = format!("sleepingd-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Notifier::new(Some(format!("@{name}").into()), None)
            .unwrap()
            .ready()
            .unwrap();
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
    }

    #[test]
    fn without_a_manager_nothing_is_said_and_nothing_fails() {
        let notifier = Notifier::new(None, Some(Duration::from_secs(1))).unwrap();
        assert!(!notifier.is_connected());
        assert_eq!(notifier.watchdog_interval(), None);
        notifier.ready().unwrap();
        notifier.store("a", io::stdin().as_fd()).unwrap();
        let error = Notifier::new(Some("vsock:2:1".into()), None)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "NOTIFY_SOCKET=vsock:2:1 cannot be used: neither a path nor @name"
        );
    }
}
