//! Stops a running mainstay from elsewhere.

use tokio::sync::watch;

/// Stops a running mainstay; see [`Running::stop`](super::Running::stop).
#[derive(Clone, Debug)]
pub struct Stopper(watch::Sender<u32>);

impl Stopper {
    pub(super) const fn new(stops: watch::Sender<u32>) -> Self {
        Self(stops)
    }

    /// As [`Running::stop`](super::Running::stop).
    pub fn stop(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// Whether a stop has begun.
    pub fn is_stopping(&self) -> bool {
        *self.0.borrow() > 0
    }
}
