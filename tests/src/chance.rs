//! Chance that can be repeated: a seed says all.

use std::time::{SystemTime, UNIX_EPOCH};

/// A stream of numbers from a seed (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The stream of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed that `HAPAX_SEED` names, else a fresh one. Print it: it repeats a failure's choices.
    ///
    /// # Panics
    /// When the variable holds no number.
    #[must_use]
    pub fn seed() -> u64 {
        if let Ok(seed) = std::env::var("HAPAX_SEED") {
            return seed.parse().expect("HAPAX_SEED is a number");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::from(now.subsec_nanos()) ^ now.as_secs() ^ u64::from(std::process::id()) << 32
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// Whether one chance in `among` came up.
    pub fn one_in(&mut self, among: u64) -> bool {
        self.below(among) == 0
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.number().to_le_bytes()[0]).collect()
    }
}
