//! Connect, a byte there, a byte back, close; and again.

use std::{
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        socket::{MsgFlags, recv, send, setsockopt, sockopt::IpBindAddressNoPort},
    },
};
use socket2::{Domain, SockAddr, Socket, Type};

use super::window::{Phase, Samples, Window};
use crate::{
    Result,
    backend::Purpose,
    common::clock::now,
    order::{LIMIT, Order, Report},
};

/// One connection of the moment.
struct Lane {
    socket: Socket,
    begun: Duration,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    /// For the byte to come back.
    Waiting,
}

/// Where they all go.
struct Target {
    domain: Domain,
    address: SockAddr,
    /// Each lane has an address of its own, and with it all ports: those of connections that have
    /// been closed are not free for a second, and that many go by in one.
    sources: Vec<SockAddr>,
    epoll: Epoll,
}

/// So many side by side, each again as soon as it is done.
pub fn play(order: &Order, lanes: usize) -> Result<Report> {
    let target = Target::new(order.front, lanes)?;
    let mut window = Window::new(order);
    let mut all: Vec<Lane> = (0..lanes)
        .map(|number| target.connect(number))
        .collect::<Result<_>>()?;
    let mut events = vec![EpollEvent::empty(); lanes];
    let (mut count, mut samples, mut since) = (0, Samples::default(), None);
    loop {
        let ready = match target
            .epoll
            .wait(&mut events, EpollTimeout::try_from(LIMIT)?)
        {
            Err(Errno::EINTR) => 0,
            Ok(0) => return Err(format!("nothing has moved for {LIMIT:?}").into()),
            other => other?,
        };
        for event in &events[..ready] {
            let number = usize::try_from(event.data())?;
            let Some(took) = all[number].step(&target, number)? else {
                continue;
            };
            count += 1;
            if since.is_some_and(|since| all[number].begun >= since) {
                samples.add(took);
            }
            all[number] = target.connect(number)?;
        }
        match window.phase(now())? {
            Phase::Warming | Phase::Open => {}
            Phase::Opened => (since, count) = (Some(now()), 0),
            Phase::Over(seen) => return seen.report(count, samples.latency()),
        }
    }
}

// === impl Target ===

impl Target {
    fn new(address: SocketAddr, lanes: usize) -> Result<Self> {
        let source = |lane: usize| {
            let lane = u8::try_from(lane)?;
            Ok(SocketAddr::from(([127, 77, 1, lane], 0)).into())
        };
        Ok(Self {
            sources: (0..lanes).map(source).collect::<Result<_>>()?,
            domain: Domain::for_address(address),
            address: address.into(),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
        })
    }

    fn connect(&self, number: usize) -> Result<Lane> {
        let begun = now();
        let socket = Socket::new(self.domain, Type::STREAM.nonblocking(), None)?;
        setsockopt(&socket, IpBindAddressNoPort, &true)?;
        socket.bind(&self.sources[number])?;
        // On loopback it is mostly through at once.
        let (state, ready) = match socket.connect(&self.address) {
            Ok(()) => (State::Waiting, EpollFlags::EPOLLIN),
            Err(e) if e.raw_os_error() == Some(Errno::EINPROGRESS as i32) => {
                (State::Connecting, EpollFlags::EPOLLOUT)
            }
            Err(e) => return Err(e.into()),
        };
        if state == State::Waiting {
            greet(&socket)?;
        }
        self.epoll
            .add(&socket, EpollEvent::new(ready, number as u64))?;
        Ok(Lane {
            socket,
            begun,
            state,
        })
    }
}

// === impl Lane ===

impl Lane {
    /// How long it took, once it is done.
    fn step(&mut self, target: &Target, number: usize) -> Result<Option<Duration>> {
        match self.state {
            State::Connecting => {
                if let Some(e) = self.socket.take_error()? {
                    return Err(e.into());
                }
                greet(&self.socket)?;
                self.state = State::Waiting;
                let mut waiting = EpollEvent::new(EpollFlags::EPOLLIN, number as u64);
                target.epoll.modify(self.socket.as_fd(), &mut waiting)?;
                Ok(None)
            }
            State::Waiting => {
                let mut answer = [0];
                match recv(self.socket.as_raw_fd(), &mut answer, MsgFlags::empty()) {
                    Ok(1) if answer == [Purpose::Echo as u8] => Ok(Some(now() - self.begun)),
                    Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
                    Ok(_) => Err("a connection has ended too soon".into()),
                    Err(e) => Err(e.into()),
                }
            }
        }
    }
}

fn greet(socket: &Socket) -> Result<()> {
    send(
        socket.as_raw_fd(),
        &[Purpose::Echo as u8],
        MsgFlags::empty(),
    )?;
    Ok(())
}
