//! Metrics: every number mainstay tells about itself, in a registry of its own.
//!
//! | file | what it holds |
//! |---|---|
//! | [`names`] | every metric once: name and help text |
//! | [`series`] | how series are made: one handle a label value, all present at 0 from the start |
//! | [`guard`] | a gauge that counts things which exist |
//! | [`process`] | numbers of the whole process, and what `/proc/self` says of it |
//! | [`pool`] | numbers of a pool, its listeners and its backends |
//!
//! Labels are pool, listener and backend names of the configuration and closed enums, so that the number of series is known
//! at the start and nothing a client sends can change it. Handles are resolved at the start as well: on the hot path a count
//! is one atomic addition.

mod guard;
mod names;
pub mod pool;
pub mod process;
mod series;

use std::sync::Arc;

use prometheus::{Error, Registry, TextEncoder};

pub use guard::Raised;
pub use pool::{BackendMetrics, ListenerMetrics, PoolMetrics};
pub use process::ProcessMetrics;
pub use prometheus::{Counter, Gauge, Histogram, IntCounter, IntGauge};
pub use series::{Info, OneHot, Per};

use series::Series;

/// The names that become label values of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolLabels {
    /// The pool's name.
    pub name: Arc<str>,
    /// Its listeners' names, in configuration order.
    pub listeners: Vec<Arc<str>>,
    /// Its backends' names and configured addresses, in configuration order.
    pub backends: Vec<(Arc<str>, Arc<str>)>,
}

/// All metrics of a process.
#[derive(Debug)]
pub struct Metrics {
    /// Of the process.
    pub process: ProcessMetrics,
    /// Of each pool, in configuration order.
    pub pools: Vec<Arc<PoolMetrics>>,
    registry: Registry,
}

impl Metrics {
    /// Makes every series, at 0.
    ///
    /// # Errors
    /// When two pools, or two listeners or backends of one pool, have the same name.
    pub fn new(pools: &[PoolLabels]) -> Result<Arc<Self>, Error> {
        let registry = Registry::new();
        let series = Series::new(&registry);
        let process = ProcessMetrics::new(&series)?;
        let pools = pools.iter().map(|pool| PoolMetrics::new(&series, pool).map(Arc::new)).collect::<Result<_, Error>>()?;
        Ok(Arc::new(Self { process, pools, registry }))
    }

    /// Everything in Prometheus text format 0.0.4. Numbers from `/proc/self` are read now.
    pub fn render(&self) -> String {
        self.process.refresh();
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}

#[cfg(test)]
mod tests;
