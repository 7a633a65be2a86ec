//! How long after the fault a standby is promoted: a person or a tool needs its time.

use std::time::Duration;

use crate::table::{
    Bound::{Exactly, MedianAndWorst},
    Row,
    Unit::{Count, Millis},
};

/// Clients are held through the longest of them.
pub(super) const HOLD: Duration = Duration::from_secs(90);

/// One of them, and its rows.
pub(super) struct Delay {
    pub(super) after: Duration,
    /// Every how many-eth run waits so long.
    each: u32,
    share: &'static str,
    failed: &'static str,
}

pub(super) const DELAYS: [Delay; 5] = [
    Delay::new(0, 1, "promoted at once: share after the standby is writable", "promoted at once: failed connects"),
    Delay::new(50, 1, "after 50 ms: share after the standby is writable", "after 50 ms: failed connects"),
    Delay::new(1000, 1, "after 1 s: share after the standby is writable", "after 1 s: failed connects"),
    Delay::new(10_000, 2, "after 10 s: share after the standby is writable", "after 10 s: failed connects"),
    Delay::new(60_000, 10, "after 60 s: share after the standby is writable", "after 60 s: failed connects"),
];

impl Delay {
    const fn new(millis: u64, each: u32, share: &'static str, failed: &'static str) -> Self {
        Self { after: Duration::from_millis(millis), each, share, failed }
    }

    /// How many of so many runs there are of it; one at least.
    pub(super) fn runs(&self, runs: u32) -> u32 {
        (runs / self.each).max(1)
    }

    /// What was measured: of each run its share and its failed connects.
    pub(super) fn rows(&self, runs: &[(f64, f64)]) -> [Row; 2] {
        [
            Row::new(self.share, Millis, MedianAndWorst(30.0, 150.0), runs.iter().map(|run| run.0)),
            Row::new(self.failed, Count, Exactly(0.0), runs.iter().map(|run| run.1)),
        ]
    }
}
