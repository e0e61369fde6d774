//! Chance that can be had again: a small generator, seeded.

/// SplitMix64: every seed gives a sequence of its own, the same one each time.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is small, so that the bias of the remainder is none.
    pub(super) fn below(&mut self, limit: u8) -> u8 {
        u8::try_from(self.next() % u64::from(limit.max(1))).unwrap_or(0)
    }

    /// One in `n` times.
    pub(super) fn once_in(&mut self, n: u8) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub(super) fn pick<T: Copy, const N: usize>(&mut self, from: [T; N]) -> T {
        from[usize::from(self.below(u8::try_from(N).unwrap_or(u8::MAX)))]
    }
}
