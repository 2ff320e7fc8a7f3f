//! What the simulations choose by: a seed, or the bytes of a fuzzer. There for tests alone.

use std::{collections::VecDeque, ops::Range};

use fastrand::Rng;

/// Makes choices, the same ones for the same seed or bytes.
#[derive(Debug, Clone)]
pub struct Choices {
    /// A fuzzer's bytes, as long as they last.
    script: Option<VecDeque<u8>>,
    /// Chooses where there is no script, and once it is spent: what a world does to come to its
    /// end must go on then.
    rng: Rng,
}

/// One method for each type of number: a seed must go on meaning what it means, and fastrand
/// draws each type in its own way.
macro_rules! numbers {
    ($($type:ident),+) => {
        $(
            /// A number of this range, which is not empty.
            pub fn $type(&mut self, range: Range<$type>) -> $type {
                match self.scripted((range.end - range.start) as u64) {
                    Some(number) => range.start + number as $type,
                    None => self.rng.$type(range),
                }
            }
        )+
    };
}

impl Choices {
    /// Those of a seed.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        Self {
            script: None,
            rng: Rng::with_seed(seed),
        }
    }

    /// Those that the bytes tell.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self {
            script: Some(bytes.iter().copied().collect()),
            rng: Rng::with_seed(0),
        }
    }

    numbers!(u8, u32, u64, usize);

    /// True or false.
    pub fn bool(&mut self) -> bool {
        match self.scripted(2) {
            Some(number) => number == 1,
            None => self.rng.bool(),
        }
    }

    /// So many times in a hundred.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.u32(0..100) < percent
    }

    /// One of several.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.usize(0..all.len())]
    }

    /// How many rounds to play. A script goes on for as long as it lasts.
    pub fn rounds(&mut self, usual: Range<usize>) -> usize {
        match self.script {
            Some(_) => usize::MAX,
            None => self.rng.usize(usual),
        }
    }

    /// Whether there was a script, and nothing is left of it.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.script.as_ref().is_some_and(VecDeque::is_empty)
    }

    /// A number below `span` out of the script: of as few bytes as will do, so that most bytes
    /// mean one choice and a fuzzer can change it alone.
    fn scripted(&mut self, span: u64) -> Option<u64> {
        let script = self.script.as_mut()?;
        let width = match span {
            0..=1 => return Some(0),
            2..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            0x1_0001..=0x1_0000_0000 => 4,
            _ => 8,
        };
        // A script that has too few left is spent.
        if script.len() < width {
            script.clear();
            return None;
        }
        let number = script
            .drain(..width)
            .fold(0, |n, byte| (n << 8) | u64::from(byte));
        Some(number % span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_followed_as_far_as_it_goes() {
        let mut choices = Choices::of_bytes(&[7, 1, 2, 4, 0, 200, 9]);
        assert_eq!(choices.u8(0..10), 7);
        assert_eq!(choices.usize(5..1005), 5 + 0x102);
        assert_eq!(choices.one_of(&["a", "b", "c"]), "b");
        assert!(!choices.bool());
        assert!(choices.chance(1), "200 is 0 of 100");
        assert!(!choices.is_spent());
        // Two bytes are asked for, and one is left.
        assert!((0..1000).contains(&choices.u32(0..1000)));
        assert!(choices.is_spent());
    }

    #[test]
    fn the_same_seed_or_script_makes_the_same_choices() {
        let draw = |mut choices: Choices| -> Vec<u64> {
            (0..50).map(|_| choices.u64(0..u64::MAX)).collect()
        };
        assert_eq!(draw(Choices::of_seed(3)), draw(Choices::of_seed(3)));
        assert_ne!(draw(Choices::of_seed(3)), draw(Choices::of_seed(4)));
        assert_eq!(draw(Choices::of_bytes(b"x")), draw(Choices::of_bytes(b"x")));
        assert!(!Choices::of_seed(3).is_spent());
    }
}
