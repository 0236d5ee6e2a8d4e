//! Numbers that look random and are always the same for one seed.
//!
//! A picture with fresh noise at each request could be requested many times, and its mean has no noise.
//! So the noise depends only on the seed, which is sealed in the row of the challenge. A number of the
//! general generator would not do: its next version may give other numbers, and then two nodes would
//! draw two pictures.

use sha2::{Digest, Sha256};

/// A stream of numbers: SHA-256 over the seed and a counter.
pub(super) struct Noise {
    key: [u8; 32],
    blocks: u64,
    block: [u8; 32],
    used: usize,
}

impl Noise {
    /// Begins the stream of a seed for one medium.
    pub(super) fn new(seed: &[u8], medium: &str) -> Self {
        let key = Sha256::new().chain_update(medium).chain_update([0]).chain_update(seed);
        Self { key: key.finalize().into(), blocks: 0, block: [0; 32], used: 32 }
    }

    fn next(&mut self) -> u16 {
        if self.used == self.block.len() {
            let block =
                Sha256::new().chain_update(self.key).chain_update(self.blocks.to_be_bytes());
            self.block = block.finalize().into();
            self.blocks += 1;
            self.used = 0;
        }
        let pair = [self.block[self.used], self.block[self.used + 1]];
        self.used += 2;
        u16::from_be_bytes(pair)
    }

    /// Returns a number below `count`, which is small.
    pub(super) fn below(&mut self, count: usize) -> usize {
        usize::from(self.next()) % count
    }

    /// Returns a number from `low` to `high`.
    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * f32::from(self.next()) / f32::from(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_numbers_and_another_one_gives_others() {
        let first = |seed: &[u8], medium| {
            let mut noise = Noise::new(seed, medium);
            (0..100).map(|_| noise.below(1000)).collect::<Vec<_>>()
        };
        let numbers = first(b"seed", "picture");
        assert_eq!(numbers, first(b"seed", "picture"));
        for other in [first(b"seeds", "picture"), first(b"seed", "speech"), first(b"", "")] {
            assert_ne!(numbers, other);
        }
        let mut noise = Noise::new(b"seed", "picture");
        let mut sum = 0.0;
        for _ in 0..10_000 {
            let number = noise.between(-2.0, 4.0);
            assert!((-2.0..=4.0).contains(&number));
            sum += number;
        }
        assert!((sum / 10_000.0 - 1.0).abs() < 0.1, "{sum}");
    }
}
