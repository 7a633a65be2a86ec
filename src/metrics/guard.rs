//! A gauge that counts things which exist.

use prometheus::IntGauge;

/// Raises a gauge by one for as long as it lives, whatever way it ends.
#[derive(Debug)]
pub struct Raised(IntGauge);

impl Raised {
    /// One more.
    pub fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.dec();
    }
}
