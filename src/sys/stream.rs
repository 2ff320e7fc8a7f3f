//! A connected socket with the runtime.
//!
//! The runtime watches it edge-triggered: an event says that something *has become* possible,
//! and is not repeated. Whoever uses a [`Stream`] therefore tries the system call first, and
//! waits only after the call has said that there is nothing (EAGAIN). Waiting consumes the
//! event; "closed" is the exception, that one stays.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    pin::pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{sleep, timeout},
};

use super::net::{First, Socket};
use crate::model::LocalAddr;

/// The longest pause before a unix socket with a full backlog is tried again.
const UNIX_RETRY_MAX: Duration = Duration::from_millis(50);

/// A connected stream socket.
#[derive(Debug)]
pub struct Stream(AsyncFd<Socket>);

/// What an unread connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// It has sent something. It may have ended since: that is a request to be served.
    Data,
    /// It is dead, or has ended without having sent anything.
    Gone,
}

/// Something has become possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Nothing more will come, or can be sent, that way.
    pub closed: bool,
}

impl Stream {
    /// Gives a connected socket to the runtime. One that cannot be given is closed with a reset:
    /// its peer must not take that for an empty answer.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    ///
    /// # Panics
    /// Outside of a runtime with I/O.
    pub fn new(socket: Socket) -> io::Result<Self> {
        // Urgent data is asked for because it breaks the rules about short reads.
        let interest = Interest::READABLE | Interest::WRITABLE | Interest::PRIORITY;
        // SAFETY: `Socket` owns its descriptor, always returns the same one from `as_raw_fd`, and
        // neither closes it nor lets it be replaced before it is dropped.
        let registered = unsafe { AsyncFd::register_with_interest(socket, interest) };
        registered.map(Self).map_err(|refused| {
            let (socket, error) = refused.into_parts();
            // Closing it is what is left to do, one way or the other.
            let _ = socket.reset_on_close();
            error
        })
    }

    /// Connects to a TCP address within `limit`; for `first` see [`Socket::begin_connect`].
    ///
    /// # Errors
    /// Those of connect(2); `TimedOut` after `limit`; `ConnectionRefused` also where the
    /// connection turned out to be to itself.
    pub async fn connect_tcp(addr: SocketAddr, limit: Duration, first: First) -> io::Result<Self> {
        let stream = Self::new(Socket::begin_connect(addr, first)?)?;
        // On loopback the handshake is over before connect returns, though it says EINPROGRESS.
        if !stream.socket().is_connected(addr)? {
            // Boxed: rarer, and the way of every client would be as large.
            Box::pin(timeout(limit, stream.connected(addr))).await??;
        }
        if stream.socket().is_self_connected(addr)? {
            // Reset, so that no TIME_WAIT keeps the port from the backend.
            stream.reset();
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(stream)
    }

    /// Connects to a unix socket within `limit`.
    ///
    /// # Errors
    /// Those of connect(2); `TimedOut` if its backlog is full for `limit`.
    pub async fn connect_unix(path: &Path, limit: Duration) -> io::Result<Self> {
        let attempts = async {
            let mut pause = Duration::from_millis(1);
            loop {
                match Socket::connect_unix(path) {
                    // The kernel does not tell when there is room again.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(pause).await,
                    done => return done,
                }
                pause = (pause * 2).min(UNIX_RETRY_MAX);
            }
        };
        Self::new(timeout(limit, attempts).await??)
    }

    /// The socket, for the calls that never wait.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        self.0.get_ref()
    }

    /// Closes with a reset, see [`Socket::reset_on_close`].
    pub fn reset(self) {
        // Fails only for a descriptor that is no socket; closing it is all that is left then.
        let _ = self.socket().reset_on_close();
    }

    /// Takes it from the runtime again.
    #[must_use]
    pub fn into_socket(self) -> Socket {
        self.0.into_inner()
    }

    /// Waits for an event after which reading may give something, and consumes it.
    ///
    /// After the end of the stream has been announced this is always ready, [`Event::closed`]:
    /// who has read the end does not ask any more.
    ///
    /// # Errors
    /// Only when the runtime is shutting down.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<Event>> {
        let mut guard = ready!(self.0.poll_read_ready(cx))?;
        let closed = guard.ready().is_read_closed();
        guard.clear_ready();
        Poll::Ready(Ok(Event { closed }))
    }

    /// Waits for an event after which writing may be possible, and consumes it. Of a dead
    /// connection this is always ready.
    ///
    /// # Errors
    /// Only when the runtime is shutting down.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<Event>> {
        let mut guard = ready!(self.0.poll_write_ready(cx))?;
        let closed = guard.ready().is_write_closed();
        guard.clear_ready();
        Poll::Ready(Ok(Event { closed }))
    }

    /// Whether urgent data (EPOLLPRI) has been announced. A read stops short at it.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        if self.0.try_io(Interest::PRIORITY, |_| Ok(())).is_err() {
            return false;
        }
        // The runtime has the peer's FIN among what one waits for with PRIORITY. The first poll
        // tells them apart, since one of the two is there.
        let announced = pin!(self.0.ready(Interest::PRIORITY));
        match announced.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(guard)) => guard.ready().is_priority(),
            Poll::Ready(Err(_)) | Poll::Pending => false,
        }
    }

    /// Waits until the socket has an error (reset, timed out), whatever else arrives, and takes
    /// it. For a connection that is not being read from just now.
    pub async fn failed(&self) -> io::Error {
        loop {
            let mut guard = match self.0.ready(Interest::ERROR).await {
                Ok(guard) => guard,
                Err(shutting_down) => return shutting_down,
            };
            // Before the look: an error that comes after it must be an event again.
            guard.clear_ready();
            match self.socket().take_error() {
                Ok(Some(error)) | Err(error) => return error,
                // A read or a write has already said it.
                Ok(None) => {}
            }
        }
    }

    /// Watches a connection that nobody reads from yet: a client that is held, a backend that
    /// may still close. Reads nothing, takes no error, and can be dropped at any time: what it
    /// consumes are events, and whoever uses the stream next tries before it waits.
    ///
    /// With `seen_data` only [`Sign::Gone`] is reported.
    pub async fn next_sign(&self, seen_data: bool) -> Sign {
        loop {
            let Ok(glance) = self.socket().glance() else {
                // poll(2) of one good descriptor; if even that fails it cannot be served.
                return Sign::Gone;
            };
            if glance.dead || (glance.ended && !glance.data) {
                return Sign::Gone;
            }
            if glance.data && !seen_data {
                return Sign::Data;
            }
            // After the end of the stream, "readable" is true for ever: only death is news.
            let news = if glance.ended {
                Interest::ERROR
            } else {
                Interest::READABLE | Interest::ERROR
            };
            match self.0.ready(news).await {
                // Unread data is no news either: forget it, so that the next event is.
                Ok(mut guard) => guard.clear_ready(),
                Err(_shutting_down) => return Sign::Gone,
            }
        }
    }

    /// Our end of the connection.
    ///
    /// # Errors
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<LocalAddr> {
        self.socket().local_addr()
    }

    /// The other end; `None` for a unix socket.
    ///
    /// # Errors
    /// ENOTCONN if it is not connected any more.
    pub fn peer_addr(&self) -> io::Result<Option<SocketAddr>> {
        self.socket().peer_addr()
    }

    async fn connected(&self, addr: SocketAddr) -> io::Result<()> {
        loop {
            let mut guard = self.0.writable().await?;
            let closed = guard.ready().is_write_closed();
            guard.clear_ready();
            if self.socket().is_connected(addr)? {
                return Ok(());
            }
            if closed {
                // Dead without an error: it was not us who took it, but waiting would spin.
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}
