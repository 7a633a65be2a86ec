//! Chance that can be repeated: the seed is printed, and `MAINSTAY_TEST_SEED` sets it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// xorshift64*, which is good enough to choose sizes and moments.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A new seed for each run, printed when the test fails.
    pub fn seeded() -> Self {
        let given = std::env::var("MAINSTAY_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            now.as_secs().wrapping_mul(1_000_000_007) ^ u64::from(now.subsec_nanos())
        });
        println!("MAINSTAY_TEST_SEED={seed}");
        Self::new(seed)
    }

    pub fn new(seed: u64) -> Self {
        // Spreads neighbouring seeds apart; zero would stay zero.
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// From `from` up to and without `to`.
    pub fn between(&mut self, from: usize, to: usize) -> usize {
        from + usize::try_from(self.next() >> 11).unwrap() % (to - from)
    }

    /// A size as programs choose them: often tiny, sometimes large; `max` at most.
    pub fn size(&mut self, max: usize) -> usize {
        let limit = match self.between(0, 4) {
            0 => 16,
            1 => 1500,
            2 => 16 << 10,
            _ => 256 << 10,
        };
        1 + self.between(0, limit.min(max))
    }

    /// Pauses of a writer that thinks for `mean` microseconds on average.
    pub fn pauses(mut self, mean: usize) -> impl FnMut() -> Duration + Send + 'static {
        move || Duration::from_micros(if mean == 0 { 0 } else { self.between(0, 2 * mean) as u64 })
    }

    /// Another sequence, for a thread of its own.
    pub fn fork(&mut self) -> Self {
        Self::new(self.next())
    }
}
