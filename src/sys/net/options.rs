//! What is set on a connection: by whoever makes it, once it lasts, and for its end.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    time::Duration,
};

use nix::errno::Errno;
use socket2::{SockRef, TcpKeepalive};

use super::{Socket, pacing};

/// A dead peer is noticed after 60 s + 4 x 15 s without an answer.
pub(super) const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
pub(super) const KEEPALIVE_PROBES: u32 = 4;

impl Socket {
    /// Sets what a connection needs only if it lasts: keepalive, no pacing on the loopback; and
    /// TCP_NODELAY, if that is not set. For one of a few messages these calls would be a tenth of
    /// all. Nothing for a unix socket.
    ///
    /// # Errors
    /// Those of setsockopt(2), and of getpeername(2): ENOTCONN if it is dead already.
    pub fn make_lasting(&self) -> io::Result<()> {
        let Some(peer) = self.tcp.then(|| self.peer_addr()).transpose()?.flatten() else {
            return Ok(());
        };
        pacing::unpace_loopback(self.fd.as_fd(), peer.ip());
        self.set_nodelay(true)?;
        keep_alive(self.fd.as_fd())
    }

    /// Sends the handshake's last packet now, if [`First::Us`] has held it back and there were no
    /// bytes to go with it; then the other end may speak first. Nothing for a unix socket.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn acknowledge_now(&self) -> io::Result<()> {
        if self.tcp {
            SockRef::from(&self.fd).set_tcp_quickack(true)?;
        }
        Ok(())
    }

    /// Makes the closing of this socket a reset: what was sent and not acknowledged is thrown
    /// away, the peer sees ECONNRESET.
    ///
    /// A unix socket knows no reset: its peer sees one only if it had sent what was never read,
    /// else the end of the stream.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn reset_on_close(&self) -> io::Result<()> {
        if self.tcp {
            SockRef::from(&self.fd).set_linger(Some(Duration::ZERO))?;
        }
        Ok(())
    }

    /// Takes [`Self::reset_on_close`] back: closing is a FIN after all that was sent.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn finish_on_close(&self) -> io::Result<()> {
        if self.tcp {
            SockRef::from(&self.fd).set_linger(None)?;
        }
        Ok(())
    }

    /// Sets TCP_NODELAY; nothing for a unix socket.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        if self.tcp {
            SockRef::from(&self.fd).set_tcp_nodelay(on)
        } else {
            Ok(())
        }
    }

    /// Sets TCP_USER_TIMEOUT (tcp(7)); nothing for a unix socket.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn set_user_timeout(&self, limit: Option<Duration>) -> io::Result<()> {
        if self.tcp {
            SockRef::from(&self.fd).set_tcp_user_timeout(limit)
        } else {
            Ok(())
        }
    }
}

/// What listeners pass on to those they accept, and what others made has.
pub(super) fn tune(fd: BorrowedFd<'_>) -> io::Result<()> {
    let sock = SockRef::from(&fd);
    // A relay passes on what it gets when it gets it; waiting for more costs 40 ms.
    sock.set_tcp_nodelay(true)?;
    // The urgent byte (RFC 6093) would be cut out of the stream otherwise.
    sock.set_out_of_band_inline(true)
}

/// Notices a peer that vanishes.
pub(super) fn keep_alive(fd: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&fd).set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(KEEPALIVE_PROBES),
    )
}

/// Holds the handshake's last ACK back until there are bytes to go with it.
///
/// Not in tcp(7): of a socket that connects TCP_DEFER_ACCEPT means that, see
/// `tcp_rcv_synsent_state_process` in net/ipv4/tcp_input.c.
pub(super) fn hold_back_ack(fd: BorrowedFd<'_>) -> io::Result<()> {
    let seconds: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&seconds)).expect("four");
    // SAFETY: the kernel reads one int, and the length says so.
    Errno::result(unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            length,
        )
    })?;
    Ok(())
}
