//! Metrics
/// All metrics.
#[derive(Debug)]
pub struct Metrics;
