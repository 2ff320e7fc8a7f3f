//! Asking the kernel who listens at an address, without touching the listener (sock_diag(7)).
//!
//! An exact lookup takes two microseconds and no privilege, and the listener never learns of it:
//! no connection is made that a one-shot server would take for its only client. Only listeners of
//! our own network namespace are seen; whoever is reached through a forwarder or another
//! namespace is not.

use std::{
    io,
    net::SocketAddr,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
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
        stat::{FileStat, SFlag, major, minor, stat},
    },
};

use crate::model::addr::canonical;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;

/// `NLMSG_HDRLEN`: length, type, flags, sequence, port.
const HEADER: usize = 16;

/// `NLMSG_GOODSIZE` is a page, but dumps come in up to 32 KiB at a time (netlink(7)).
const BUFFER: usize = 32 * 1024;

/// A dump may have so many of them: tens of thousands of listeners.
const DUMP_LIMIT: usize = 512;

/// `SOCK_DIAG_BY_FAMILY`, for requests and replies alike.
const BY_FAMILY: u16 = 20;

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

/// One message of the kernel.
struct Reply<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

// === impl Reply ===

impl<'a> Reply<'a> {
    /// The first message, and those after it; `None` where no whole one is left.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
        let body = bytes.get(HEADER..length)?;
        let reply = Self {
            kind: u16_at(bytes, 4)?,
            sequence: u32_at(bytes, 8)?,
            body,
        };
        let next = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((reply, next))
    }

    /// What an error, or the end of a dump, says: a negative errno, or zero.
    fn result(&self) -> io::Result<()> {
        let code = self
            .body
            .first_chunk()
            .map_or(0, |bytes| i32::from_ne_bytes(*bytes));
        if code == 0 {
            Ok(())
        } else {
            Err(io::Error::from_raw_os_error(code.saturating_neg()))
        }
    }
}

fn with_header(request: &[u8], flags: libc::c_int, sequence: u32) -> Vec<u8> {
    let length = u32::try_from(HEADER + request.len()).expect("requests have a fixed, small size");
    let flags = u16::try_from(flags).expect("netlink flags have 16 bits");
    let mut message = Vec::with_capacity(HEADER + request.len());
    message.extend(length.to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend(sequence.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    message.extend(request);
    message
}

/// `struct inet_diag_req_v2` for a listener at this address.
fn inet_request(address: &SocketAddr, states: u32) -> Vec<u8> {
    let (family, ip, interface) = match address {
        SocketAddr::V4(v4) => {
            let mut ip = [0; 16];
            ip[..4].copy_from_slice(&v4.ip().octets());
            (libc::AF_INET, ip, 0)
        }
        // A link-local address means something on one interface only.
        SocketAddr::V6(v6) => (libc::AF_INET6, v6.ip().octets(), v6.scope_id()),
    };
    let mut request = Vec::with_capacity(56);
    request.push(u8::try_from(family).expect("AF_INET and AF_INET6 fit"));
    request.push(u8::try_from(libc::IPPROTO_TCP).expect("it is 6"));
    request.extend([0, 0]);
    request.extend(states.to_ne_bytes());
    // struct inet_diag_sockid: our side, the peer's (none), interface, no cookie.
    request.extend(address.port().to_be_bytes());
    request.extend(0_u16.to_be_bytes());
    request.extend(ip);
    request.extend([0; 16]);
    request.extend(interface.to_ne_bytes());
    request.extend([0xff; 8]);
    request
}

/// Reads `struct inet_diag_msg`.
fn inet_listener(reply: &[u8]) -> Option<Listener> {
    if *reply.get(1)? != LISTEN {
        return None;
    }
    Some(Listener {
        uid: Some(u32_at(reply, 64)?),
        inode: u32_at(reply, 68)?,
    })
}

/// `struct unix_diag_req` for every listening socket with its name, its file and its user.
fn unix_request() -> Vec<u8> {
    const SHOW_NAME_VFS_UID: u32 = 0x01 | 0x02 | 0x40;

    let mut request = Vec::with_capacity(24);
    request.push(u8::try_from(libc::AF_UNIX).expect("it is 1"));
    request.extend([0, 0, 0]);
    request.extend((1_u32 << LISTEN).to_ne_bytes());
    request.extend(0_u32.to_ne_bytes());
    request.extend(SHOW_NAME_VFS_UID.to_ne_bytes());
    request.extend([0xff; 8]);
    request
}

/// Reads `struct unix_diag_msg` and its attributes: is it a listener whose file this is?
///
/// The inode says so, so that neither a relative name nor a symbolic link deceives, nor an old
/// listener whose path somebody else has taken. The device must agree too, or at least the name:
/// some file systems (btrfs, overlayfs) show another device than the kernel's own.
fn unix_listener(reply: &[u8], path: &Path, file: &FileStat) -> Option<Listener> {
    const NAME: u16 = 0;
    const VFS: u16 = 1;
    const UID: u16 = 7;

    let (kind, state) = (i32::from(*reply.get(1)?), *reply.get(2)?);
    if state != LISTEN || !matches!(kind, libc::SOCK_STREAM) {
        return None;
    }
    let (mut same_name, mut same_inode, mut same_device, mut uid) = (false, false, false, None);
    let mut rest = reply.get(16..)?;
    while let (Some(length), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let length = usize::from(length);
        let Some(value) = rest.get(4..length) else {
            break;
        };
        match kind {
            NAME => {
                let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
                same_name = name == path.as_os_str().as_bytes();
            }
            VFS => {
                // The kernel cuts the inode to 32 bits, and writes a device its own way.
                let device = (major(file.st_dev) << 20) | minor(file.st_dev);
                same_inode = u32_at(value, 0).map(u64::from) == Some(file.st_ino & 0xffff_ffff);
                same_device = u32_at(value, 4).map(u64::from) == Some(device);
            }
            UID => uid = u32_at(value, 0),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let found = same_inode && (same_device || same_name);
    found.then_some(Listener {
        uid,
        inode: u32_at(reply, 4)?,
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
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
mod tests {
    use std::{
        net::IpAddr,
        os::unix::net::{UnixListener, UnixStream},
    };

    use socket2::{Domain, Protocol, Socket, Type};

    use super::*;

    /// A bound socket, not listening yet.
    fn bound(address: &str, only_v6: bool) -> (Socket, u16) {
        let address: SocketAddr = address.parse().unwrap();
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).unwrap();
        if domain == Domain::IPV6 {
            socket.set_only_v6(only_v6).unwrap();
        }
        socket.bind(&address.into()).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        (socket, port)
    }

    fn found(address: (&str, u16)) -> bool {
        let ip: IpAddr = address.0.parse().unwrap();
        Diag::open()
            .unwrap()
            .tcp(SocketAddr::new(ip, address.1))
            .unwrap()
            .is_some()
    }

    #[test]
    fn a_listener_is_found_once_it_listens_and_not_before() {
        let (socket, port) = bound("127.0.0.1:0", false);
        let mut diag = Diag::open().unwrap();
        let address = ([127, 0, 0, 1], port).into();
        assert_eq!(diag.tcp(address).unwrap(), None, "bound is not listening");
        socket.listen(1).unwrap();
        let listener = diag.tcp(address).unwrap().unwrap();
        let inode = nix::sys::stat::fstat(&socket).unwrap().st_ino;
        assert_eq!(u64::from(listener.inode), inode);
        assert_eq!(listener.uid, Some(nix::unistd::geteuid().as_raw()));
        drop(socket);
        assert_eq!(diag.tcp(address).unwrap(), None, "closed");
    }

    #[test]
    fn wildcard_and_dual_stack_listeners_are_found_at_every_address_they_serve() {
        let (wildcard, port) = bound("0.0.0.0:0", false);
        wildcard.listen(1).unwrap();
        assert!(found(("127.0.0.1", port)) && found(("127.0.0.9", port)));
        assert!(!found(("::1", port)));

        let (dual, port) = bound("[::]:0", false);
        dual.listen(1).unwrap();
        assert!(found(("::1", port)) && found(("127.0.0.1", port)));
        assert!(found(("::ffff:127.0.0.1", port)));

        let (v6, port) = bound("[::]:0", true);
        v6.listen(1).unwrap();
        assert!(found(("::1", port)) && !found(("127.0.0.1", port)));

        let (one, port) = bound("127.0.0.1:0", false);
        one.listen(1).unwrap();
        assert!(!found(("127.0.0.2", port)));
    }

    #[test]
    fn a_unix_listener_is_found_by_its_file_whatever_the_path_looks_like() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let mut diag = Diag::open().unwrap();
        assert_eq!(diag.unix(&path).unwrap(), None, "nothing there");
        let listener = UnixListener::bind(&path).unwrap();
        let inode = nix::sys::stat::fstat(&listener).unwrap().st_ino;
        assert_eq!(
            diag.unix(&path).unwrap().map(|l| u64::from(l.inode)),
            Some(inode)
        );
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(diag.unix(&link).unwrap().is_some());

        // The file of a dead listener, and a path that somebody else has taken meanwhile.
        let moved = directory.path().join("old");
        std::fs::rename(&path, &moved).unwrap();
        let taken = UnixListener::bind(&path).unwrap();
        drop(taken);
        assert_eq!(diag.unix(&path).unwrap(), None);
        assert!(diag.unix(&moved).unwrap().is_some());
    }

    #[test]
    fn a_unix_socket_with_clients_only_is_not_a_listener() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        let (_served, _) = listener.accept().unwrap();
        drop(listener);
        assert_eq!(Diag::open().unwrap().unix(&path).unwrap(), None);
    }

    #[test]
    fn a_long_list_of_listeners_is_read_to_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = |n: usize| directory.path().join(format!("{n}-{}", "x".repeat(60)));
        let _many: Vec<_> = (0..600)
            .map(|n| UnixListener::bind(path(n)).unwrap())
            .collect();
        let mut diag = Diag::open().unwrap();
        for n in [0, 299, 599] {
            assert!(diag.unix(&path(n)).unwrap().is_some(), "{n}");
        }
        // Nothing is left over for the next question.
        let (socket, port) = bound("127.0.0.1:0", false);
        socket.listen(1).unwrap();
        assert!(diag.tcp(([127, 0, 0, 1], port).into()).unwrap().is_some());
    }

    #[test]
    fn a_protocol_that_the_kernel_does_not_know_is_told_from_an_empty_list() {
        let mut diag = Diag::open().unwrap();
        let mut request = inet_request(&([0, 0, 0, 0], 0).into(), 0);
        request[1] = 254; // RFC 3692: for experiments, so nobody's.
        let error = diag.ask(&request, libc::NLM_F_DUMP, |_| ()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn a_truncated_reply_is_no_reply() {
        assert!(Reply::split(&[]).is_none());
        assert!(Reply::split(&[200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_none());
        assert!(Reply::split(&[3; 15]).is_none());
        assert_eq!(inet_listener(&[2, LISTEN, 0]), None);
    }
}
