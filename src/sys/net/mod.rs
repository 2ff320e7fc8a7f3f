//! Sockets that are not yet with the runtime: listening, accepted, connecting.

mod listen;
mod options;
mod own_port;
mod pacing;
#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

pub use listen::{Accepted, ListenSocket, NotAListener};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    sys::socket::{MsgFlags, recv, send},
};
pub use own_port::never_own_port;
use socket2::{Domain, SockAddr, SockRef, Type};

use self::options::{hold_back_ack, tune};

use crate::model::LocalAddr;

/// A stream socket that is connected or being connected, nonblocking and close-on-exec.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    tcp: bool,
}

/// Who sends the first bytes of a connection that we make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// We do, as soon as it is made; or we say that we do not, by [`Socket::acknowledge_now`].
    Us,
    /// The other end may be waited for.
    Anybody,
}

/// What a look at a socket says, without reading from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Glance {
    /// Bytes wait to be read.
    pub data: bool,
    /// The peer has sent its last byte (FIN).
    pub ended: bool,
    /// The connection is dead: reset, timed out.
    pub dead: bool,
}

// === impl Socket ===

impl Socket {
    /// Takes a connected stream socket that somebody else opened.
    ///
    /// # Errors
    /// Those of getsockopt(2) and fcntl(2); `InvalidInput` if it is no IP or unix stream.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let sock = SockRef::from(&fd);
        let tcp = match (sock.r#type()?, is_inet(sock.domain()?)) {
            (Type::STREAM, Some(tcp)) => tcp,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        set_flags(fd.as_fd())?;
        if tcp {
            tune(fd.as_fd())?;
        }
        Ok(Self { fd, tcp })
    }

    /// Begins to connect. Whether it succeeds is known when it is writable, or has an error; see
    /// [`Self::is_connected`].
    ///
    /// With [`First::Us`] the handshake's last packet goes with our first bytes: one packet less
    /// for both, and the other end wakes up once, to find them there. Without them that packet
    /// is sent 200 ms later, unless [`Self::acknowledge_now`] is called.
    ///
    /// TCP_NODELAY is the caller's to set, before the second time that something is sent.
    ///
    /// # Errors
    /// Those of socket(2) and connect(2), but for EINPROGRESS.
    pub fn begin_connect(addr: SocketAddr, first: First) -> io::Result<Self> {
        let socket = open(Domain::for_address(addr))?;
        socket.set_out_of_band_inline(true)?;
        if first == First::Us {
            hold_back_ack(socket.as_fd())?;
        }
        match socket.connect(&addr.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
            _ => Ok(Self {
                fd: socket.into(),
                tcp: true,
            }),
        }
    }

    /// Whether a connection that was begun to `addr` is made by now; its failure is an error.
    ///
    /// # Errors
    /// Those of connect(2), but for EALREADY.
    pub fn is_connected(&self, addr: SocketAddr) -> io::Result<bool> {
        // The second connect(2) of a nonblocking socket tells it all in one call.
        match SockRef::from(&self.fd).connect(&addr.into()) {
            Ok(()) => Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::EISCONN) => Ok(true),
                Some(libc::EALREADY | libc::EINPROGRESS) => Ok(false),
                _ => Err(error),
            },
        }
    }

    /// Connects to a unix socket. Never blocks.
    ///
    /// # Errors
    /// Those of connect(2); `WouldBlock` when the listener's backlog is full, of which no
    /// readiness will tell.
    pub fn connect_unix(path: &Path) -> io::Result<Self> {
        let socket = open(Domain::UNIX)?;
        socket.connect(&SockAddr::unix(path)?)?;
        Ok(Self {
            fd: socket.into(),
            tcp: false,
        })
    }

    /// Whether it is TCP, and not a unix socket.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.tcp
    }

    /// Reads what is there. 0 is the end of the stream.
    ///
    /// # Errors
    /// Those of recv(2).
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        retry(|| recv(self.fd.as_raw_fd(), buffer, MsgFlags::empty()))
    }

    /// Reads what is there, and leaves it there. 0 is the end of the stream.
    ///
    /// # Errors
    /// Those of recv(2).
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        retry(|| recv(self.fd.as_raw_fd(), buffer, MsgFlags::MSG_PEEK))
    }

    /// Writes what there is room for; raises no SIGPIPE.
    ///
    /// # Errors
    /// Those of send(2).
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        retry(|| send(self.fd.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL))
    }

    /// Says that nothing more will be sent: FIN, after all that was sent before.
    ///
    /// # Errors
    /// ENOTCONN if the connection is dead.
    pub fn shutdown_write(&self) -> io::Result<()> {
        SockRef::from(&self.fd).shutdown(std::net::Shutdown::Write)
    }

    /// Takes the pending error (SO_ERROR). The kernel tells it once: whoever takes it must
    /// remember that an end of stream read later is not a clean one.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        SockRef::from(&self.fd).take_error()
    }

    /// How many bytes wait to be read (FIONREAD).
    ///
    /// # Errors
    /// Those of ioctl(2).
    pub fn pending_input(&self) -> io::Result<usize> {
        let mut bytes = 0;
        // SAFETY: FIONREAD writes one int (ioctl_tty(2)), which is what `bytes` is.
        unsafe { ioctl::input(self.fd.as_raw_fd(), &raw mut bytes) }?;
        Ok(usize::try_from(bytes).unwrap_or(0))
    }

    /// How many bytes that were sent the peer has not acknowledged (SIOCOUTQ, tcp(7)).
    ///
    /// # Errors
    /// Those of ioctl(2).
    pub fn unacknowledged(&self) -> io::Result<usize> {
        let mut bytes = 0;
        // SAFETY: SIOCOUTQ writes one int (tcp(7)), which is what `bytes` is.
        unsafe { ioctl::output(self.fd.as_raw_fd(), &raw mut bytes) }?;
        Ok(usize::try_from(bytes).unwrap_or(0))
    }

    /// Whether the connection is still one: not reset, not timed out, not over on both sides.
    /// After both FINs this tells what poll(2) does not: it calls that hung up, though what was
    /// sent may be on its way. Takes no error.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        // getpeername(2) says ENOTCONN of a closed one (`inet_getname` in net/ipv4/af_inet.c).
        self.peer_addr().is_ok()
    }

    /// Looks, without reading and without taking an error; for a socket on which we have not shut
    /// down anything.
    ///
    /// # Errors
    /// Those of poll(2) and ioctl(2).
    pub fn glance(&self) -> io::Result<Glance> {
        let mut poll = libc::pollfd {
            fd: self.fd.as_raw_fd(),
            events: libc::POLLIN | libc::POLLRDHUP,
            revents: 0,
        };
        // SAFETY: one pollfd, and the count says one.
        Errno::result(unsafe { libc::poll(&raw mut poll, 1, 0) })?;
        let has = |event| poll.revents & event != 0;
        let data = has(libc::POLLIN) && self.pending_input()? > 0;
        // Nothing was shut down by us, so POLLHUP is a dead TCP connection; of a unix
        // socket it is a peer that closed, and what it wrote can still be read.
        let hung_up = has(libc::POLLHUP);
        Ok(Glance {
            data,
            ended: has(libc::POLLRDHUP) || hung_up,
            dead: has(libc::POLLERR) || (hung_up && self.tcp),
        })
    }

    /// Our end of the connection.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<LocalAddr> {
        local_addr(self.fd.as_fd())
    }

    /// The other end; `None` for a unix socket, where it has no name.
    ///
    /// # Errors
    /// ENOTCONN while it is not connected yet, or no more.
    pub fn peer_addr(&self) -> io::Result<Option<SocketAddr>> {
        let addr = SockRef::from(&self.fd).peer_addr()?;
        Ok(addr.as_socket().map(crate::model::addr::canonical))
    }

    /// Whether a connection to `addr` is one to itself: both ends are one address. That happens
    /// to whoever connects again and again to a port of the ephemeral range that nobody listens
    /// on.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn is_self_connected(&self, addr: SocketAddr) -> io::Result<bool> {
        let own = SockRef::from(&self.fd).local_addr()?.as_socket();
        // Not the scope and the flow of IPv6, which a destination may lack.
        Ok(own.is_some_and(|own| (own.ip(), own.port()) == (addr.ip(), addr.port())))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.fd
    }
}

mod ioctl {
    nix::ioctl_read_bad!(input, libc::FIONREAD, libc::c_int);
    // SIOCOUTQ is TIOCOUTQ by another name (asm-generic/sockios.h).
    nix::ioctl_read_bad!(output, libc::TIOCOUTQ, libc::c_int);
}

fn open(domain: Domain) -> io::Result<socket2::Socket> {
    socket2::Socket::new(domain, Type::STREAM.nonblocking().cloexec(), None)
}

fn set_flags(fd: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// `Some(true)` for IP, `Some(false)` for unix, `None` for the rest.
fn is_inet(domain: Domain) -> Option<bool> {
    match domain {
        Domain::IPV4 | Domain::IPV6 => Some(true),
        Domain::UNIX => Some(false),
        _ => None,
    }
}

fn local_addr(fd: BorrowedFd<'_>) -> io::Result<LocalAddr> {
    let addr = SockRef::from(&fd).local_addr()?;
    if let Some(addr) = addr.as_socket() {
        return Ok(LocalAddr::tcp(addr));
    }
    // As ss(8) and systemd write them: an abstract name with `@` for its zero byte.
    let name = addr
        .as_abstract_namespace()
        .map(|name| PathBuf::from(format!("@{}", String::from_utf8_lossy(name))));
    Ok(LocalAddr::Unix(
        name.or_else(|| addr.as_pathname().map(PathBuf::from))
            .unwrap_or_default(),
    ))
}

fn retry(mut call: impl FnMut() -> nix::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            done => return Ok(done?),
        }
    }
}
