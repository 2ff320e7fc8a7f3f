//! A stream that never ends lets others have their turn.

use std::io;

use super::{
    BUFFER_SIZE, TURN, Tuning,
    flow::{Fill, Means, Moved, Way, Wires},
    pair::{Pair, Turn},
};

/// One pipe, filled in whole.
const PIPE: usize = 256 * 1024;

/// Both peers send for ever, and take whatever comes: nothing but the turn ends a pump.
#[derive(Default)]
struct Endless {
    pending: [usize; 2],
    moved: [usize; 2],
}

impl Wires for Endless {
    fn pending(&self, way: Way) -> usize {
        self.pending[way as usize]
    }

    fn fill(&mut self, way: Way, by: Means) -> Fill {
        let bytes = match by {
            Means::Copy => BUFFER_SIZE,
            Means::Splice => PIPE,
        };
        self.pending[way as usize] = bytes;
        Fill::Moved(Moved {
            bytes,
            blocked: false,
        })
    }

    fn flush(&mut self, way: Way) -> io::Result<Moved> {
        let bytes = std::mem::take(&mut self.pending[way as usize]);
        self.moved[way as usize] += bytes;
        Ok(Moved {
            bytes,
            blocked: false,
        })
    }

    fn finish(&mut self, _: Way) -> io::Result<()> {
        panic!("there is no end");
    }

    fn park(&mut self, _: Way) {}

    fn discard(&mut self, _: Way) {
        panic!("nothing is lost");
    }
}

#[test]
fn an_endless_stream_stops_after_its_turn_in_both_directions_and_asks_for_another() {
    for promote_after in [None, Some(0), Some(3)] {
        let tuning = Tuning {
            promote_after,
            ..Tuning::default()
        };
        let mut pair = Pair::new(&tuning);
        for turns in 1..=10 {
            let mut wires = Endless::default();
            pair.pump(&mut wires, &mut Turn::new());
            for moved in wires.moved {
                assert!(moved >= TURN, "{moved} bytes in turn {turns}");
                assert!(moved < TURN + PIPE, "{moved} bytes in turn {turns}");
            }
            assert!(pair.has_more(&wires), "nobody would wake it");
        }
    }
}
