//! A heartbeat that other threads can read without a lock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::MissedTickBehavior;

use crate::route::Clock;

/// Between two beats.
const INTERVAL: Duration = Duration::from_secs(1);

/// The control thread counts as stalled when its last beat is older than this.
pub const MAX_AGE: Duration = Duration::from_secs(5);

/// When the control thread last had its turn.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// How long ago the last beat was.
    pub fn age(&self, clock: Clock) -> Duration {
        let last = Duration::from_millis(self.0.load(Ordering::Relaxed));
        clock.now().since_origin().saturating_sub(last)
    }

    /// A number that changes with each beat.
    pub fn last(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Watches for ever, on another thread: calls `trip` once for each stall of this length. Counts its own turns, so that a
    /// process that was frozen as a whole and resumed does not count as stalled.
    pub async fn watch(&self, mut trip: impl FnMut()) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last, mut looks) = (0, 0_u32);
        loop {
            ticks.tick().await;
            let beat = self.0.load(Ordering::Relaxed);
            looks = if beat == last { looks.saturating_add(1) } else { 0 };
            last = beat;
            if INTERVAL.saturating_mul(looks) == MAX_AGE {
                trip();
            }
        }
    }

    /// Beats for ever.
    pub(super) async fn beat(&self, clock: Clock) {
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            ticks.tick().await;
            let now = u64::try_from(clock.now().since_origin().as_millis()).unwrap_or(u64::MAX);
            self.0.store(now, Ordering::Relaxed);
        }
    }
}
