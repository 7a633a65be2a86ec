//! How many of something exist, counted by guards. What decides by the number reads the same that a scrape reads.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// How many of something exist now.
#[derive(Clone, Debug, Default)]
pub struct LiveCount(Arc<AtomicU64>);

impl LiveCount {
    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// One more, until the guard is dropped.
    pub fn guard(&self) -> LiveGuard {
        self.enter();
        LiveGuard(self.clone())
    }

    /// One more, for who guards it without another reference to this: until [`LiveCount::leave`].
    pub(crate) fn enter(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub(crate) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One that is counted.
#[derive(Debug)]
pub struct LiveGuard(LiveCount);

impl Drop for LiveGuard {
    fn drop(&mut self) {
        self.0.leave();
    }
}
