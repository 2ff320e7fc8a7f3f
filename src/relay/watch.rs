//! The events of a relay's sides, and how a side that is not being read from is watched.

use std::{
    io,
    task::{Context, Poll, ready},
};

use super::{
    driver::Ends,
    flow::{Source, Wants, Way, Wires},
    pair::Pair,
};
use crate::{model::Side, sys::stream::Stream};

/// How each side is watched while nothing is read from it.
#[derive(Debug, Default)]
pub(super) struct Watches {
    client: Watch,
    backend: Watch,
}

/// How a side that nothing is read from, because the other one is slow or because it has sent
/// FIN, is watched for its failure.
///
/// ```text
/// Reads --FIN, or read to its end--> Writes --closed, and no error--> Deaf or Over
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Watch {
    /// By what there is to read. New bytes are events too, but few: its window fills up.
    #[default]
    Reads,
    /// It has sent FIN, and would be readable for ever: by whether it can be written to.
    Writes,
    /// Both FINs have gone by a TCP socket, which "closed" is said of from then on, whether what
    /// it was sent has arrived or not. Only an ear hears of its failure, see
    /// [`Driver::listen`](super::driver::Driver::listen).
    Deaf,
    /// A unix socket's peer has closed, which is no error, and none comes after it.
    Over,
}

// === impl Watches ===

impl Watches {
    fn of(&mut self, side: Side) -> &mut Watch {
        match side {
            Side::Client => &mut self.client,
            _ => &mut self.backend,
        }
    }

    /// Whether this side's failure would not be an event any more.
    pub(super) fn is_deaf_to(&self, side: Side) -> bool {
        let watch = match side {
            Side::Client => self.client,
            _ => self.backend,
        };
        watch == Watch::Deaf
    }
}

// === impl Watch ===

impl Watch {
    /// The stream has been read to its end, and whoever reads that has heard of no error.
    fn is_read(&mut self) {
        if *self == Self::Reads {
            *self = Self::Writes;
        }
    }
}

/// Takes the events that have come. `Ready` if there was one; `Pending` means that each one that
/// matters will wake the task.
pub(super) fn poll_events(
    cx: &mut Context<'_>,
    ends: &Ends,
    pair: &mut Pair,
    wires: &mut impl Wires,
    watches: &mut Watches,
) -> Poll<io::Result<()>> {
    let mut news = Poll::Pending;
    for way in Way::BOTH {
        let (source, sink) = (ends.source(way), ends.source(way.back()));
        let wants = pair.wants(way, wires);
        match wants {
            Wants::Read if source.poll_readable(cx)?.is_ready() => {
                pair.flow_mut(way).set_readable();
                news = Poll::Ready(Ok(()));
            }
            Wants::Write if sink.poll_writable(cx)?.is_ready() => {
                pair.flow_mut(way).set_writable();
                news = Poll::Ready(Ok(()));
            }
            _ => {}
        }
        // Whoever waits for a read hears of a failure by it. Of a side that is not being read
        // from only this tells.
        if wants != Wants::Read && pair.heeds_failure(way) {
            let watch = watches.of(way.source());
            if pair.flow(way).source == Source::Ended {
                watch.is_read();
            }
            if let Poll::Ready(error) = poll_failure(cx, source, way, pair, wires, watch)? {
                if *watch == Watch::Reads {
                    pair.side_failed(way, &error, wires);
                } else {
                    pair.side_failed_after_fin(way, &error, wires);
                }
                news = Poll::Ready(Ok(()));
            }
        }
    }
    news
}

/// The failure of a side that is not being read from.
///
/// What it consumes are events, so both directions are told to try what these might have been
/// about.
fn poll_failure(
    cx: &mut Context<'_>,
    stream: &Stream,
    from_it: Way,
    pair: &mut Pair,
    wires: &impl Wires,
    watch: &mut Watch,
) -> Poll<io::Result<io::Error>> {
    loop {
        let event = match watch {
            Watch::Reads => {
                let event = ready!(stream.poll_readable(cx))?;
                pair.flow_mut(from_it).set_readable();
                event
            }
            // The write that waits hears of it.
            Watch::Writes if pair.wants(from_it.back(), wires) == Wants::Write => {
                return Poll::Pending;
            }
            Watch::Writes => {
                let event = ready!(stream.poll_writable(cx))?;
                pair.flow_mut(from_it.back()).set_writable();
                event
            }
            Watch::Deaf | Watch::Over => return Poll::Pending,
        };
        // Whatever kills a connection closes it both ways (`sock_poll`, EPOLLHUP).
        if !event.closed {
            continue;
        }
        if let Some(error) = stream.socket().take_error()? {
            return Poll::Ready(Ok(error));
        }
        *watch = match watch {
            Watch::Reads => Watch::Writes,
            _ if stream.socket().is_tcp() => Watch::Deaf,
            _ => Watch::Over,
        };
    }
}
