//! A sign of life that other threads can read without a lock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::route::Clock;

/// Between two beats.
const INTERVAL: Duration = Duration::from_secs(1);

/// When the control thread last had its turn.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat(Arc<AtomicU64>);

impl Heartbeat {
    /// How long ago the last beat was.
    pub fn age(&self, clock: Clock) -> Duration {
        let last = Duration::from_millis(self.0.load(Ordering::Relaxed));
        clock.now().since_origin().saturating_sub(last)
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
