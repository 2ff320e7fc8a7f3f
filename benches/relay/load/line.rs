//! Connections to the backend, through the relay or past it.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::AsRawFd,
};

use nix::{
    errno::Errno,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};

use crate::{
    Result,
    backend::{Purpose, Received},
    order::LIMIT,
};

/// Several connections, and which of them can go on.
pub struct Lines {
    /// All of them; events name them by their place.
    pub all: Vec<TcpStream>,
    epoll: Epoll,
}

/// Opens one for this purpose; the backend has confirmed it.
pub fn open(to: SocketAddr, purpose: Purpose) -> Result<TcpStream> {
    let mut stream = connect(to)?;
    stream.write_all(&[purpose as u8])?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    if answer != [purpose as u8] {
        return Err("the backend speaks another language".into());
    }
    Ok(stream)
}

/// Opens one; whether it leads anywhere is not known yet.
pub fn connect(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, LIMIT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// How much the sinks of the backend have received by now, and when that was.
pub fn received(count: &mut TcpStream) -> Result<Received> {
    count.write_all(&[0])?;
    let mut answer = [0; Received::SIZE];
    count.read_exact(&mut answer)?;
    Ok(Received::from_bytes(answer))
}

// === impl Lines ===

impl Lines {
    /// Opens so many, and will say when each is ready for this.
    pub fn open(to: SocketAddr, purpose: Purpose, count: usize, ready: EpollFlags) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut all = Vec::new();
        for number in 0..count {
            let stream = open(to, purpose)?;
            epoll.add(&stream, EpollEvent::new(ready, number as u64))?;
            all.push(stream);
        }
        Ok(Self { all, epoll })
    }

    /// Waits for some of them. None ready for so long is a failure.
    pub fn ready<'a>(&self, events: &'a mut [EpollEvent]) -> Result<&'a [EpollEvent]> {
        let timeout = EpollTimeout::try_from(LIMIT)?;
        let count = match self.epoll.wait(events, timeout) {
            Err(Errno::EINTR) => 0,
            Ok(0) => return Err(format!("nothing has moved for {LIMIT:?}").into()),
            other => other?,
        };
        Ok(&events[..count])
    }

    /// The descriptor of one.
    pub fn fd(&self, number: usize) -> i32 {
        self.all[number].as_raw_fd()
    }
}
