//! Both directions against made-up sockets, over many schedules, of seeds or of a fuzzer.
//!
//! The sockets do what Linux's do, and are as unkind as they may be: events come once, peers act
//! between any two system calls, a pipe is full when its slots are, a dead socket tells its error
//! once and reads as a clean end ever after. The relay runs only when it is woken.

use std::{collections::VecDeque, io};

use super::{
    BUFFER_SIZE, Tuning,
    flow::{Fill, Means, Moved, Wants, Way, Wires},
    pair::{Pair, Turn, Verdict},
};
use crate::{
    choices::Choices,
    model::{End, Side},
};

const SLOTS: usize = 16;

/// What a receive buffer takes, and a peer that reads all the time.
const ROOM: usize = 4_000_000;

/// Our socket to one peer, and that peer.
#[derive(Debug, Default)]
struct Socket {
    /// Segments that have come and were not read.
    queue: VecDeque<usize>,
    /// Bytes the peer has sent in all.
    sent: u64,
    fin: bool,
    reset: bool,
    /// The error that the kernel has not told yet.
    error: Option<i32>,
    /// Bytes that the peer has not read, of `window`.
    unread: usize,
    window: usize,
    /// Bytes that it got in all, and whether FIN came after them.
    got: u64,
    got_fin: bool,
    /// Events that have not been taken, and whether they wake the relay.
    readable: Event,
    writable: Event,
    failed: Event,
    no_space: bool,
}

#[derive(Debug, Default)]
struct Event {
    set: bool,
    waited_for: bool,
}

/// Bytes between the sockets, as their place in the stream.
#[derive(Debug, Default)]
struct Held {
    from: u64,
    to: u64,
    kind: Option<Means>,
    parked: bool,
}

struct World {
    choices: Choices,
    sockets: [Socket; 2],
    held: [Held; 2],
    woken: bool,
    /// Reads stop anywhere, as on a unix socket with passed descriptors.
    choppy: bool,
    resets: bool,
}

fn index(way: Way) -> usize {
    usize::from(way == Way::ToClient)
}

// === impl Event ===

impl Event {
    fn happen(&mut self, woken: &mut bool) {
        self.set = true;
        if self.waited_for {
            self.waited_for = false;
            *woken = true;
        }
    }

    /// Takes it, or waits for it.
    fn poll(&mut self, sticky: bool) -> bool {
        let was = self.set;
        self.set = was && sticky;
        self.waited_for = !was;
        was
    }
}

// === impl World ===

impl World {
    /// Closes both of our sockets: whoever has no FIN yet gets one, if nothing is unread.
    fn close(&mut self) {
        for way in Way::BOTH {
            let source = &self.sockets[index(way)];
            assert!(source.fin, "closed before the end");
            let total = source.sent;
            let sink = &mut self.sockets[1 - index(way)];
            assert_eq!(sink.got, total, "closed before the last byte");
            sink.got_fin = true;
        }
    }
    fn new(mut choices: Choices) -> Self {
        let mut socket = || Socket {
            window: choices.usize(4_000..300_000),
            ..Socket::default()
        };
        let sockets = [socket(), socket()];
        let (choppy, resets) = (choices.bool(), choices.bool());
        Self {
            choices,
            sockets,
            held: Default::default(),
            woken: true,
            choppy,
            resets,
        }
    }

    /// One peer does something.
    fn peer_acts(&mut self) {
        let side = self.choices.usize(0..2);
        let Self {
            choices,
            sockets,
            woken,
            resets,
            ..
        } = self;
        let socket = &mut sockets[side];
        if socket.reset {
            return;
        }
        match choices.u32(0..40) {
            0..=14 if !socket.fin => {
                let most = choices.one_of(&[1, 100, 1448, 65_536, 400_000, 2_000_000]);
                for _ in 0..choices.usize(1..20) {
                    // The peer cannot send more than our receive buffer takes.
                    if socket.queue.iter().sum::<usize>() > ROOM {
                        break;
                    }
                    let bytes = choices.usize(1..most + 1);
                    socket.queue.push_back(bytes);
                    socket.sent += bytes as u64;
                }
                socket.readable.happen(woken);
            }
            15 if !socket.fin => {
                socket.fin = true;
                socket.readable.happen(woken);
            }
            16 if *resets => socket.reset(woken),
            17..=30 => {
                let most = socket.unread;
                socket.read(choices.usize(0..most + 1), woken);
            }
            // Events for nothing, as epoll gives them.
            31 => socket.readable.happen(woken),
            32 => socket.writable.happen(woken),
            _ => {}
        }
    }

    fn maybe_interfere(&mut self) {
        if self.choices.u32(0..6) == 0 {
            self.peer_acts();
        }
    }

    fn try_fill(&mut self, way: Way, by: Means) -> Fill {
        let i = index(way);
        assert_eq!(self.pending(way), 0, "took while bytes were pending");
        if by == Means::Splice && self.choices.u32(0..20) == 0 {
            return if self.choices.u32(0..4) == 0 {
                Fill::CannotSplice
            } else {
                Fill::NoPipe
            };
        }
        let choppy = self.choppy;
        let socket = &mut self.sockets[i];
        if socket.queue.is_empty() {
            return socket.dry();
        }
        let taken = match by {
            Means::Splice => socket.take(usize::MAX, SLOTS),
            Means::Copy if choppy => socket.take(BUFFER_SIZE, self.choices.usize(1..4)),
            Means::Copy => socket.take(BUFFER_SIZE, usize::MAX),
        };
        let blocked = by == Means::Copy && taken < BUFFER_SIZE && !choppy;
        let held = &mut self.held[i];
        held.to += taken as u64;
        held.kind = Some(by);
        held.parked = false;
        Fill::Moved(Moved {
            bytes: taken,
            blocked,
        })
    }

    fn try_flush(&mut self, way: Way) -> io::Result<Moved> {
        let (i, pending) = (index(way), self.pending(way));
        assert!(pending > 0, "gave when nothing was pending");
        let socket = &mut self.sockets[1 - i];
        assert!(!socket.got_fin, "gave after FIN");
        socket.check_dead()?;
        let bytes = pending.min(socket.window - socket.unread);
        socket.no_space |= bytes < pending;
        socket.unread += bytes;
        assert_eq!(socket.got, self.held[i].from, "out of order");
        socket.got += bytes as u64;
        self.held[i].from += bytes as u64;
        let copied = self.held[i].kind == Some(Means::Copy);
        Ok(Moved {
            bytes,
            blocked: bytes == 0 || (copied && bytes < pending),
        })
    }
}

// === impl Socket ===

impl Socket {
    fn reset(&mut self, woken: &mut bool) {
        self.error = Some(if self.fin {
            libc::EPIPE
        } else {
            libc::ECONNRESET
        });
        self.reset = true;
        self.readable.happen(woken);
        self.writable.happen(woken);
        self.failed.happen(woken);
    }

    fn read(&mut self, bytes: usize, woken: &mut bool) {
        self.unread -= bytes;
        if bytes > 0 && self.no_space {
            self.no_space = false;
            self.writable.happen(woken);
        }
    }

    /// A read that finds no bytes.
    fn dry(&mut self) -> Fill {
        // As tcp_recvmsg: a FIN that was received comes before an error.
        if self.fin {
            return Fill::End;
        }
        if let Some(errno) = self.error.take() {
            return Fill::Failed(io::Error::from_raw_os_error(errno));
        }
        if self.reset {
            return Fill::End;
        }
        Fill::Moved(Moved {
            bytes: 0,
            blocked: true,
        })
    }

    /// Takes up to so many bytes, in up to so many segments.
    fn take(&mut self, bytes: usize, segments: usize) -> usize {
        let mut taken = 0;
        for _ in 0..segments {
            let Some(segment) = self.queue.front_mut() else {
                break;
            };
            let part = (*segment).min(bytes - taken);
            *segment -= part;
            taken += part;
            if *segment > 0 {
                break;
            }
            self.queue.pop_front();
        }
        taken
    }

    fn check_dead(&mut self) -> io::Result<()> {
        match self.error.take() {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None if self.reset => Err(io::Error::from_raw_os_error(libc::EPIPE)),
            None => Ok(()),
        }
    }
}

impl Wires for World {
    fn pending(&self, way: Way) -> usize {
        let held = &self.held[index(way)];
        usize::try_from(held.to - held.from).expect("it was a usize")
    }

    fn fill(&mut self, way: Way, by: Means) -> Fill {
        self.maybe_interfere();
        let filled = self.try_fill(way, by);
        self.maybe_interfere();
        filled
    }

    fn flush(&mut self, way: Way) -> io::Result<Moved> {
        self.maybe_interfere();
        let flushed = self.try_flush(way);
        self.maybe_interfere();
        flushed
    }

    fn finish(&mut self, way: Way) -> io::Result<()> {
        let source = &self.sockets[index(way)];
        assert!(source.fin, "passed on a FIN that was not sent");
        let total = source.sent;
        let sink = &mut self.sockets[1 - index(way)];
        assert!(!sink.got_fin, "passed on FIN twice");
        sink.check_dead()?;
        assert_eq!(sink.got, total, "FIN before the last byte");
        sink.got_fin = true;
        Ok(())
    }

    fn park(&mut self, way: Way) {
        self.held[index(way)].parked = true;
    }

    fn discard(&mut self, way: Way) {
        let held = &mut self.held[index(way)];
        held.from = held.to;
    }
}

/// What the driver does, with made-up events.
fn turn(pair: &mut Pair, world: &mut World) -> Option<Verdict> {
    world.woken = false;
    let mut turn = Turn::new();
    loop {
        pair.pump(world, &mut turn);
        for way in Way::BOTH {
            let held = &world.held[index(way)];
            assert!(
                held.from == held.to || held.parked,
                "bytes left in the thread's buffer"
            );
        }
        if let Some(verdict) = pair.verdict(world) {
            return Some(verdict);
        }
        if pair.has_more(world) {
            world.woken = true;
            return None;
        }
        let mut news = false;
        for way in Way::BOTH {
            let i = index(way);
            let wants = pair.wants(way, world);
            let closed = |socket: &Socket| socket.fin || socket.reset;
            let sticky = closed(&world.sockets[i]);
            if wants == Wants::Read && world.sockets[i].readable.poll(sticky) {
                pair.flow_mut(way).set_readable();
                news = true;
            }
            let sticky = world.sockets[1 - i].reset;
            if wants == Wants::Write && world.sockets[1 - i].writable.poll(sticky) {
                pair.flow_mut(way).set_writable();
                news = true;
            }
            if wants != Wants::Read
                && pair.heeds_failure(way)
                && world.sockets[i].failed.poll(false)
            {
                if let Some(errno) = world.sockets[i].error.take() {
                    let error = io::Error::from_raw_os_error(errno);
                    pair.side_failed(way, &error, world);
                    news = true;
                }
            }
        }
        if !news {
            return None;
        }
    }
}

/// What must be true of each end.
fn check(world: &mut World, verdict: Verdict) {
    if verdict.end == End::Finished {
        world.close();
    }
    let resets = world.sockets.iter().filter(|socket| socket.reset).count();
    for way in Way::BOTH {
        let (source, sink) = (&world.sockets[index(way)], &world.sockets[1 - index(way)]);
        assert!(sink.got <= source.sent, "bytes from nowhere");
        if sink.got_fin {
            assert!(source.fin && sink.got == source.sent);
        }
        match verdict.end {
            End::Finished => assert!(sink.got_fin, "finished without FIN"),
            End::Reset => {
                assert!(resets > 0, "reset out of nothing");
                // All it had sent, FIN too, reaches the other side, if that one is there.
                if verdict.by == way.source() && !sink.reset {
                    assert_eq!(sink.got, source.sent, "bytes before a reset are lost");
                    assert_eq!(sink.got_fin, source.fin);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    if verdict.end == End::Reset {
        let by = usize::from(verdict.by == Side::Backend);
        assert!(world.sockets[by].reset, "blamed the wrong side");
    }
}

/// Plays the schedule that a fuzzer's bytes are, and panics if the relay does something wrong.
pub(crate) fn play(script: &[u8]) {
    run(Choices::of_bytes(script));
}

fn run(choices: Choices) {
    let mut world = World::new(choices);
    let tuning = Tuning {
        promote_after: world.choices.one_of(&[None, Some(0), Some(3)]),
        ..Tuning::default()
    };
    let mut pair = Pair::new(&tuning);
    for _ in 0..world.choices.rounds(5..120) {
        if world.choices.is_spent() {
            break;
        }
        world.peer_acts();
        if world.woken {
            if let Some(verdict) = turn(&mut pair, &mut world) {
                return check(&mut world, verdict);
            }
        }
    }
    // Now both peers are as good as peers can be; if the relay still does not end, it missed
    // something.
    loop {
        let World { sockets, woken, .. } = &mut world;
        for socket in sockets.iter_mut().filter(|socket| !socket.reset) {
            socket.read(socket.unread, woken);
            // Whoever reads what comes as it comes has room for it.
            socket.window = ROOM;
            if !socket.fin {
                socket.fin = true;
                socket.readable.happen(woken);
            }
        }
        assert!(world.woken, "it hangs: {pair:?}");
        if let Some(verdict) = turn(&mut pair, &mut world) {
            return check(&mut world, verdict);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are run; `RELAY_SCHEDULES=1000000` runs so many, `RELAY_SEED=n` that one alone.
    const SCHEDULES: u64 = 100_000;

    #[test]
    fn no_schedule_loses_a_byte_a_fin_a_reset_or_a_wake_up() {
        let environment = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let seeds = match environment("RELAY_SEED") {
            Some(seed) => seed..seed + 1,
            None => 0..environment("RELAY_SCHEDULES").unwrap_or(SCHEDULES),
        };
        for seed in seeds {
            let outcome = std::panic::catch_unwind(|| run(Choices::of_seed(seed)));
            assert!(outcome.is_ok(), "RELAY_SEED={seed}");
        }
    }
}
