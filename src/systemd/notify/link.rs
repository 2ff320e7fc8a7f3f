//! The way to the manager: a datagram, with descriptors or without.

use std::{
    ffi::OsStr,
    io::{self, IoSlice},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
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

/// How long a message that must arrive may wait for a manager that is busy.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);

/// The socket that the manager reads.
#[derive(Debug)]
pub(super) struct Link {
    socket: OwnedFd,
    address: UnixAddr,
}

/// Whether a message may be lost when the manager is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It comes again, or a newer one does: never wait.
    Lossy,
    /// Something hangs on it: wait for [`PATIENCE`].
    Needed,
}

// === impl Link ===

impl Link {
    pub(super) fn new(address: &OsStr) -> io::Result<Self> {
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

    pub(super) fn send(
        &self,
        text: &[u8],
        fds: &[BorrowedFd<'_>],
        delivery: Delivery,
    ) -> io::Result<()> {
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
