//! Asking the kernel who listens at an address, without touching the listener (sock_diag(7)).
//!
//! An exact lookup takes two microseconds and no privilege, and the listener never learns of it:
//! no connection is made that a one-shot server would take for its only client. Only listeners of
//! our own network namespace are seen; whoever is reached through a forwarder or another
//! namespace is not.
//!
//! | file | the idea in it |
//! | --- | --- |
//! | `mod` | the socket that asks, and what is asked |
//! | `message` | netlink's own: the head of a request, replies one by one |
//! | `tcp` | the question for a TCP address, and what is read from the answer |
//! | `unix` | the question for unix sockets, and which of them is at a path |

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod message;
mod tcp;
mod unix;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
            socket,
        },
        stat::{SFlag, stat},
    },
};

use self::{
    message::{BY_FAMILY, Reply, with_header},
    tcp::{connection_request, inet_listener, inet_request, is_held_open},
    unix::{unix_listener, unix_request},
};
use crate::model::{ListenAddr, addr::canonical};

/// `NLMSG_GOODSIZE` is a page, but dumps come in up to 32 KiB at a time (netlink(7)).
const BUFFER: usize = 32 * 1024;

/// A dump may have so many of them: tens of thousands of listeners.
const DUMP_LIMIT: usize = 512;

/// `TCP_LISTEN`, which unix sockets use too.
const LISTEN: u8 = 10;

/// A socket that asks.
#[derive(Debug)]
pub struct Diag {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

/// Who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// The user the listener belongs to, where the kernel says it (always for TCP, since 4.20 for
    /// unix).
    pub uid: Option<u32>,
    /// The inode of the socket, as `/proc/PID/fd` shows it.
    pub inode: u32,
}

// === impl Diag ===

impl Diag {
    /// Makes the socket, and sees that the kernel answers for TCP.
    ///
    /// # Errors
    /// Where nobody can be asked: no AF_NETLINK for us (`RestrictAddressFamilies=`, seccomp), or a
    /// kernel without tcp_diag. An exact lookup alone would not tell the latter from "nobody
    /// listens": both are ENOENT.
    pub fn open() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
            SockProtocol::NetlinkSockDiag,
        )?;
        let mut diag = Self {
            socket,
            sequence: 0,
            buffer: vec![0; BUFFER],
        };
        // A dump of TCP sockets in no state at all: empty, but only where there is tcp_diag.
        let nothing = inet_request(&([0, 0, 0, 0], 0).into(), 0);
        diag.ask(&nothing, libc::NLM_F_DUMP, |_| ())?;
        Ok(diag)
    }

    /// Who would get a connection to this TCP address: a listener at it, at the wildcard address,
    /// or a dual-stack one for an IPv4 address. Bound but not listening is nobody.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub fn tcp(&mut self, address: SocketAddr) -> io::Result<Option<Listener>> {
        let mut found = None;
        let request = inet_request(&canonical(address), u32::MAX);
        match self.ask(&request, 0, |reply| found = inet_listener(reply)) {
            Ok(()) => Ok(found),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Who would get a connection to a listener of this address.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub fn listening_at(&mut self, address: &ListenAddr) -> io::Result<Option<Listener>> {
        let one_of_all = |ip: IpAddr| match ip {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        match address {
            ListenAddr::Any(port) => self.tcp((Ipv4Addr::LOCALHOST, *port).into()),
            ListenAddr::Tcp(at) => self.tcp(SocketAddr::new(one_of_all(at.ip()), at.port())),
            ListenAddr::Unix(path) => self.unix(path),
        }
    }

    /// Whether a process of this machine has the end at `local` of a TCP connection to `remote`, and
    /// has not ended it: not where it has closed it, and the rest is on its way.
    ///
    /// # Errors
    /// Where the kernel does not answer.
    pub fn holds_open(&mut self, local: SocketAddr, remote: SocketAddr) -> io::Result<bool> {
        let mut held = None;
        let request = connection_request(&canonical(local), &canonical(remote));
        match self.ask(&request, 0, |reply| held = is_held_open(reply)) {
            Ok(()) => Ok(held.unwrap_or(false)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Who would get a connection to the unix stream socket at this path. The kernel has no exact
    /// lookup by path, so it lists every listening unix socket, if there is a socket at the path
    /// at all: a tenth of a millisecond on a busy machine.
    ///
    /// # Errors
    /// Where the kernel does not answer, or the path cannot be examined for another reason than
    /// that nothing is there.
    pub fn unix(&mut self, path: &Path) -> io::Result<Option<Listener>> {
        let file = match stat(path) {
            Ok(file) if file.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFSOCK.bits() => file,
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let mut found = None;
        self.ask(&unix_request(), libc::NLM_F_DUMP, |reply| {
            found = found.or_else(|| unix_listener(reply, path, &file));
        })?;
        Ok(found)
    }

    /// Sends one request and hands each reply to it, without its header, to `each`.
    fn ask(
        &mut self,
        request: &[u8],
        flags: libc::c_int,
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let message = with_header(request, flags | libc::NLM_F_REQUEST, self.sequence);
        let kernel = NetlinkAddr::new(0, 0);
        retry(|| {
            sendto(
                self.socket.as_raw_fd(),
                &message,
                &kernel,
                MsgFlags::MSG_DONTWAIT,
            )
        })?;
        for _ in 0..DUMP_LIMIT {
            // The kernel has answered before sendto() returned, and goes on with a dump as we
            // read: EAGAIN would mean that there is no answer.
            let length = retry(|| {
                recv(
                    self.socket.as_raw_fd(),
                    &mut self.buffer,
                    MsgFlags::MSG_DONTWAIT,
                )
            })?;
            let mut rest = &self.buffer[..length];
            while let Some((reply, next)) = Reply::split(rest) {
                rest = next;
                if reply.sequence != self.sequence {
                    continue;
                }
                match i32::from(reply.kind) {
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => return reply.result(),
                    _ if reply.kind == BY_FAMILY => each(reply.body),
                    _ => {}
                }
                if flags & libc::NLM_F_DUMP == 0 {
                    return Ok(());
                }
            }
        }
        Err(io::Error::other(
            "sock_diag: the list of listeners does not end",
        ))
    }
}

fn retry(mut call: impl FnMut() -> nix::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result.map_err(Into::into),
        }
    }
}

#[cfg(test)]
mod tests;
