//! Both directions against made-up sockets, over many schedules, of seeds or of a fuzzer.
//!
//! The sockets (`world`) do what Linux's do, and are as unkind as they may be: events come once,
//! peers act between any two system calls, a pipe is full when its slots are, a dead socket tells
//! its error once and reads as a clean end ever after. The relay runs only when it is woken.

mod world;

use std::io;

use self::world::{ROOM, Socket, World, index};
use super::{
    Tuning,
    flow::{Wants, Way},
    pair::{Pair, Turn, Verdict},
};
use crate::{
    choices::Choices,
    model::{End, Side},
};

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
