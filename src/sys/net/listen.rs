//! Listening sockets: inherited or our own.

use std::{
    fs::{OpenOptions, Permissions},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt},
    },
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use nix::errno::Errno;
use socket2::{Domain, SockAddr, SockRef, Type};

use super::{
    Socket, is_inet, local_addr, open,
    options::{keep_alive, tune},
    set_flags,
};
use crate::model::{ClientAddr, ListenAddr, LocalAddr};

/// How many clients may wait in the kernel; it caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Everybody may connect, as by default with systemd (SocketMode=, systemd.socket(5)).
const UNIX_MODE: u32 = 0o666;

/// A listening stream socket, nonblocking and close-on-exec.
///
/// Dropping it closes the listener, but leaves a unix socket's path behind, as systemd does:
/// removing it could remove a successor's.
#[derive(Debug)]
pub struct ListenSocket {
    fd: OwnedFd,
    tcp: bool,
    /// Where every client of it has connected to, if that can be said of all of them.
    at: Option<LocalAddr>,
    /// Whether its queue has been empty since it was tuned. Before that it may hold clients that
    /// have inherited nothing: systemd starts us because the first of them has come.
    drained: AtomicBool,
}

/// A client that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// Its connection.
    pub socket: Socket,
    /// Where it comes from.
    pub client: ClientAddr,
    /// Where it has connected to; `None`: the socket has to be asked.
    pub local: Option<LocalAddr>,
}

/// Why a descriptor cannot be accepted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAListener {
    /// It is a datagram socket or the like.
    #[error("it is not a stream socket")]
    NotStream,
    /// Nobody called listen(2); systemd does not for `Accept=yes`, which hands out connections.
    #[error("it does not listen; a socket unit must have ListenStream= and Accept=no")]
    NotListening,
    /// It speaks neither IP nor unix.
    #[error("it is neither an IPv4, an IPv6 nor a unix socket")]
    Family,
}

// === impl ListenSocket ===

impl ListenSocket {
    /// Takes a descriptor that somebody else opened: systemd, or an earlier run of ours.
    ///
    /// # Errors
    /// [`NotAListener`] inside an `InvalidInput`; those of getsockopt(2) and fcntl(2), such as
    /// ENOTSOCK.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let refuse = |why| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        let sock = SockRef::from(&fd);
        if sock.r#type()? != Type::STREAM {
            return refuse(NotAListener::NotStream);
        }
        if !sock.is_listener()? {
            return refuse(NotAListener::NotListening);
        }
        let Some(tcp) = is_inet(sock.domain()?) else {
            return refuse(NotAListener::Family);
        };
        set_flags(fd.as_fd())?;
        Self::new(fd, tcp).tuned()
    }

    /// Opens a listener of our own.
    ///
    /// [`ListenAddr::Any`] is one socket for IPv6 and IPv4, or IPv4 alone where the machine has
    /// no IPv6. The path of a unix socket may exist if it is a socket nobody listens on.
    ///
    /// # Errors
    /// Those of socket(2), bind(2) and listen(2).
    pub fn bind(addr: &ListenAddr) -> io::Result<Self> {
        match addr {
            ListenAddr::Any(port) => {
                match Self::bind_tcp((Ipv6Addr::UNSPECIFIED, *port).into(), true) {
                    Err(error) if no_ipv6(&error) => {
                        Self::bind_tcp((Ipv4Addr::UNSPECIFIED, *port).into(), false)
                    }
                    bound => bound,
                }
            }
            ListenAddr::Tcp(addr) => Self::bind_tcp(*addr, false),
            ListenAddr::Unix(path) => Self::bind_unix(path),
        }
    }

    /// The address it listens on; `Any` only for the one socket that serves both families.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn listen_addr(&self) -> io::Result<ListenAddr> {
        match self.local_addr()? {
            LocalAddr::Unix(path) => Ok(ListenAddr::Unix(path)),
            LocalAddr::Tcp(addr) => {
                let any6 = addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
                if any6 && !SockRef::from(&self.fd).only_v6()? {
                    return Ok(ListenAddr::Any(addr.port()));
                }
                Ok(ListenAddr::Tcp(addr))
            }
        }
    }

    /// Whether this is the socket that `addr` asks for: the same address, or another wildcard
    /// of the same port where the configuration gives the port alone.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn serves(&self, addr: &ListenAddr) -> io::Result<bool> {
        let own = self.listen_addr()?;
        Ok(own == *addr
            || match (&own, addr) {
                (ListenAddr::Tcp(own), ListenAddr::Any(port)) => {
                    own.ip().is_unspecified() && own.port() == *port
                }
                // `[::]:80` written out is the same socket as `80`, made by somebody else.
                (ListenAddr::Any(port), ListenAddr::Tcp(addr)) => {
                    addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && addr.port() == *port
                }
                _ => false,
            })
    }

    /// The address it listens on, as getsockname(2) says it.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<LocalAddr> {
        local_addr(self.fd.as_fd())
    }

    /// Takes the next client. Never blocks.
    ///
    /// # Errors
    /// Those of accept4(2), one by one: `WouldBlock` when nobody waits, and the network errors
    /// of a client that has left again, which are no reason to stop.
    pub fn accept(&self) -> io::Result<Accepted> {
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: `try_init` gives storage and its length; accept4 writes no more than that
        // length and sets it to what it wrote, which is the contract of `try_init`.
        let accepted = unsafe {
            SockAddr::try_init(|storage, len| {
                let fd = Errno::result(libc::accept4(
                    self.fd.as_raw_fd(),
                    storage.cast(),
                    len,
                    flags,
                ))?;
                // SAFETY: the kernel has just made it, and nobody else knows of it.
                Ok(OwnedFd::from_raw_fd(fd))
            })
        };
        if matches!(&accepted, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            self.drained.store(true, Relaxed);
        }
        let (fd, addr) = accepted?;
        if self.tcp && !self.drained.load(Relaxed) {
            // Fails for no socket of ours; a client that is slower without is a client still.
            let _ = tune(fd.as_fd()).and_then(|()| keep_alive(fd.as_fd()));
        }
        Ok(Accepted {
            socket: Socket { fd, tcp: self.tcp },
            client: addr.as_socket().map_or(ClientAddr::Unix, ClientAddr::tcp),
            local: self.at.clone(),
        })
    }

    fn bind_tcp(addr: SocketAddr, dual_stack: bool) -> io::Result<Self> {
        let socket = open(Domain::for_address(addr))?;
        // Without it a restart would wait for the last connections' TIME_WAIT.
        socket.set_reuse_address(true)?;
        if addr.is_ipv6() {
            // Set either way: net.ipv6.bindv6only decides otherwise.
            socket.set_only_v6(!dual_stack)?;
        }
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Self::new(socket.into(), true).tuned()
    }

    fn bind_unix(path: &Path) -> io::Result<Self> {
        let addr = SockAddr::unix(path)?;
        let socket = open(Domain::UNIX)?;
        match socket.bind(&addr) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path, &addr)? => {
                std::fs::remove_file(path)?;
                socket.bind(&addr)?;
            }
            bound => bound?,
        }
        // Before anybody can connect.
        open_to_everybody(path)?;
        socket.listen(BACKLOG)?;
        Ok(Self::new(socket.into(), false))
    }

    fn new(fd: OwnedFd, tcp: bool) -> Self {
        Self {
            at: only_address(fd.as_fd()),
            fd,
            tcp,
            drained: AtomicBool::new(false),
        }
    }

    /// Sets what accepted sockets are to have: they inherit it when their connection is made,
    /// which saves six system calls for each client.
    fn tuned(self) -> io::Result<Self> {
        if self.tcp {
            tune(self.fd.as_fd())?;
            keep_alive(self.fd.as_fd())?;
        }
        Ok(self)
    }
}

impl AsFd for ListenSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for ListenSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<ListenSocket> for OwnedFd {
    fn from(socket: ListenSocket) -> Self {
        socket.fd
    }
}

/// The address of a listener that has just one, so that no client's socket need be asked for it. A
/// transparent one (IP_TRANSPARENT, ip(7)) gets clients of other addresses too.
fn only_address(fd: BorrowedFd<'_>) -> Option<LocalAddr> {
    let LocalAddr::Tcp(addr) = local_addr(fd).ok()? else {
        // A unix client's end is asked as before: it is rarer.
        return None;
    };
    let sock = SockRef::from(&fd);
    let transparent = match addr {
        SocketAddr::V4(_) => sock.ip_transparent_v4(),
        SocketAddr::V6(_) => sock.ip_transparent_v6(),
    };
    (!addr.ip().is_unspecified() && matches!(transparent, Ok(false)))
        .then_some(LocalAddr::Tcp(addr))
}

fn no_ipv6(error: &io::Error) -> bool {
    // Compiled out or blacklisted; or disabled by sysctl on every interface.
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

/// Gives the socket its mode; bind(2) makes it as the umask says.
///
/// By a descriptor: in a directory that others may write to, the path may be a link by now, and
/// what it leads to must not be opened to everybody.
fn open_to_everybody(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_NOFOLLOW)
        .open(path)?;
    if !file.metadata()?.file_type().is_socket() {
        return Err(io::Error::other("somebody has replaced the socket"));
    }
    let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
    std::fs::set_permissions(itself, Permissions::from_mode(UNIX_MODE))
}

/// Whether the path is a socket that nobody listens on any more.
fn is_stale(path: &Path, addr: &SockAddr) -> io::Result<bool> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    // A full backlog (EAGAIN) is alive; only a refusal says that nobody is there.
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    Ok(open(Domain::UNIX)?.connect(addr).is_err_and(refused))
}
