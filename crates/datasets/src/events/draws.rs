//! The random numbers of `events`. Our own, and in whole numbers only: a library's generator may change with its version,
//! and logarithms differ between machines, but a seed must mean the same rows for good.

/// SplitMix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
pub(crate) struct Draws(u64);

impl Draws {
    /// A sequence of its own for each pair of `seed` and `stream`.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(mix(seed ^ mix(stream)))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// From 0 to `bound - 1`, evenly; `bound` is not 0. The bias of the multiplication is under 2^-32 for our bounds.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// From 1 to `2^bits - 1`, where each doubling is as frequent as the one before it: like Zipf's law with exponent 1.
    pub(crate) fn skewed(&mut self, bits: u64) -> u64 {
        let low = 1 << self.below(bits);
        low + self.below(low)
    }

    /// One of a few values, by weights whose sum is `total`.
    pub(crate) fn weighted<T: Copy>(&mut self, from: &[(T, u64)], total: u64) -> T {
        let mut left = self.below(total);
        for (value, weight) in from {
            if left < *weight {
                return *value;
            }
            left -= weight;
        }
        from[0].0
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A bijection that spreads neighbours over all of `u64`.
pub(crate) fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_never_change() {
        let mut draws = Draws::new(42, 7);
        let first: Vec<u64> = (0..3).map(|_| draws.below(1_000_000)).collect();
        let mut again = Draws::new(42, 7);
        assert_eq!(first, (0..3).map(|_| again.below(1_000_000)).collect::<Vec<_>>());
        // The first outputs of the published generator for the state 0.
        let mut published = Draws(0);
        assert_eq!([published.next(), published.next()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn skewed_draws_favour_small_numbers() {
        let mut draws = Draws::new(1, 1);
        let drawn: Vec<u64> = (0..16_000).map(|_| draws.skewed(16)).collect();
        assert!(drawn.iter().all(|n| (1..1 << 16).contains(n)));
        let ones = drawn.iter().filter(|n| **n == 1).count();
        assert!((800..1200).contains(&ones), "{ones}");
    }
}
