//! A listening socket with the runtime.

use std::{
    io,
    task::{Context, Poll, ready},
};

use tokio::io::{Interest, unix::AsyncFd};

use super::net::{Accepted, ListenSocket};

/// A listening socket.
#[derive(Debug)]
pub struct Listener(AsyncFd<ListenSocket>);

impl Listener {
    /// Gives a listening socket to the runtime.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    ///
    /// # Panics
    /// Outside of a runtime with I/O.
    pub fn new(socket: ListenSocket) -> io::Result<Self> {
        // SAFETY: `ListenSocket` owns its descriptor, always returns the same one from
        // `as_raw_fd`, and neither closes it nor lets it be replaced before it is dropped.
        let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self(registered?))
    }

    /// A client that waits already, whether the runtime has heard of it or not.
    ///
    /// # Errors
    /// Those of [`ListenSocket::accept`]; `WouldBlock` when nobody waits.
    pub fn accept_now(&self) -> io::Result<Accepted> {
        self.0.get_ref().accept()
    }

    /// The next client, once there is one.
    ///
    /// # Errors
    /// Those of accept4(2), as [`ListenSocket::accept`] passes them on.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        loop {
            let mut guard = ready!(self.0.poll_read_ready(cx))?;
            match self.0.get_ref().accept() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                done => return Poll::Ready(done),
            }
        }
    }
}
