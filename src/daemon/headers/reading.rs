//! One client's header, read.

use std::{future::poll_fn, io, time::Duration};

use tokio::time::timeout;

use super::{Arrival, Read, Unread, guest::Guest};
use crate::{
    model::{ClientAddr, LocalAddr, Side, duration::show},
    proxy_protocol::{self, Header, Malformed, Parsed},
    sys::{net::Socket, stream::Stream},
};

/// How much is looked at in one go. Headers without TLVs fit.
const PIECE: usize = 256;

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub(in crate::daemon) enum NoHeader {
    /// As the health check of a balancer does.
    #[error("left without having sent anything")]
    Left,
    #[error("left in the middle of its PROXY header")]
    LeftEarly,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("sent no PROXY header within {} (PROXY_TIMEOUT)", show(*.0))]
    Silent(Duration),
    #[error("did not complete its PROXY header within {} (PROXY_TIMEOUT)", show(*.0))]
    Slow(Duration),
    #[error("cannot be read from: {0}")]
    Unreadable(#[from] io::Error),
}

/// Reads the header of this one, within `limit`.
pub(super) async fn read(arrival: Arrival, guest: Guest, limit: Duration) -> Read {
    let read = named(arrival, limit).await;
    Read { guest, read }
}

/// The client, with the addresses that its header names.
async fn named(arrival: Arrival, limit: Duration) -> Result<Arrival, Unread> {
    // However it is dropped here: nobody may take that for the end of an answer.
    arrival.socket.reset_on_close().map_err(NoHeader::from)?;
    let stream = Stream::new(arrival.socket).map_err(Unread::Unwatched)?;
    let mut head = Vec::new();
    let header = match timeout(limit, header(&stream, &mut head)).await {
        Ok(header) => header?,
        Err(_elapsed) if head.is_empty() => return Err(NoHeader::Silent(limit).into()),
        Err(_elapsed) => return Err(NoHeader::Slow(limit).into()),
    };
    let (addr, local) = match header.ends {
        Some(ends) => (
            ClientAddr::tcp(ends.source),
            LocalAddr::tcp(ends.destination),
        ),
        None => (arrival.addr, arrival.local),
    };
    Ok(Arrival {
        socket: stream.into_socket(),
        addr,
        local,
        ..arrival
    })
}

async fn header(stream: &Stream, head: &mut Vec<u8>) -> Result<Header, NoHeader> {
    loop {
        match take(stream.socket(), head) {
            Ok(Some(header)) => return Ok(header),
            // There may be more of it already.
            Ok(None) => {}
            Err(NoHeader::Unreadable(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                poll_fn(|cx| stream.poll_readable(cx)).await?;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Takes what has come of the header, and nothing behind it: a look first, for only the bytes
/// tell where it ends.
fn take(socket: &Socket, head: &mut Vec<u8>) -> Result<Option<Header>, NoHeader> {
    let mut piece = [0; PIECE];
    let before = head.len();
    let seen = match socket.peek(&mut piece) {
        Ok(seen) => seen,
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => 0,
        Err(e) => return Err(e.into()),
    };
    if seen == 0 {
        return Err(if before == 0 {
            NoHeader::Left
        } else {
            NoHeader::LeftEarly
        });
    }
    head.extend_from_slice(&piece[..seen]);
    let header = match proxy_protocol::parse(head)? {
        Parsed::NeedMore => None,
        Parsed::Whole(header) => Some(header),
    };
    head.truncate(header.map_or(head.len(), |header| header.length));
    let mut rest = &mut piece[..head.len().saturating_sub(before)];
    while !rest.is_empty() {
        // They have just been seen, so they are there.
        match socket.recv(rest)? {
            0 => return Err(NoHeader::LeftEarly),
            taken => rest = &mut rest[taken..],
        }
    }
    Ok(header)
}

// === impl NoHeader ===

impl NoHeader {
    /// Who ended it.
    pub(in crate::daemon) fn ended_by(&self) -> Side {
        match self {
            Self::Left | Self::LeftEarly => Side::Client,
            Self::Malformed(_) | Self::Silent(_) | Self::Slow(_) | Self::Unreadable(_) => {
                Side::Daemon
            }
        }
    }
}
