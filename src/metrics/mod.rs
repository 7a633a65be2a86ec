//! Metrics, in a registry of their own.
//!
//! | file | what it holds |
//! |---|---|
//! | [`names`] | every metric once: name and help text |
//! | [`series`] | how series are made: one handle per label value, all present at 0 from the start |
//! | [`directory`] | the metrics of each pool, listener and backend, by name |
//! | [`live`] | how many of something exist |
//! | [`process`] | metrics of the whole process, and the values of `/proc/self` |
//! | [`pool`] | metrics of a pool, its listeners and its backends |
//!
//! Labels are pool, listener and backend names of the configuration, and closed enums. So the number of series follows from the
//! configuration, and no client can change it. Handles are resolved with the configuration, too: on the hot path a count is one
//! atomic addition.

mod directory;
mod live;
mod names;
pub mod pool;
pub mod process;
mod series;

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{Error, Registry, TextEncoder};

pub use directory::{PoolLabels, PoolSeries};
pub use live::{LiveCount, LiveGuard};
pub use pool::{BackendMetrics, ListenerMetrics, PoolMetrics};
pub use process::ProcessMetrics;
pub use series::{Info, OneHot, Per};

use directory::Directory;
use series::Series;

/// All metrics of a process.
#[derive(Debug)]
pub struct Metrics {
    /// Of the process.
    pub process: ProcessMetrics,
    registry: Registry,
    parts: Mutex<Directory>,
}

impl Metrics {
    /// Makes the series of the process.
    ///
    /// # Errors
    /// When two of them had the same name, which a test excludes.
    pub fn new() -> Result<Arc<Self>, Error> {
        let registry = Registry::new();
        let process = ProcessMetrics::new(&Series::new(&registry))?;
        Ok(Arc::new(Self { process, registry, parts: Mutex::default() }))
    }

    /// The series of a pool; those that do not exist yet are made, at 0.
    ///
    /// # Errors
    /// When two series of one component had the same name, which a test excludes.
    pub fn series(&self, labels: &PoolLabels) -> Result<PoolSeries, Error> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).series(labels)
    }

    /// Sessions of all backends.
    pub fn sessions(&self) -> u64 {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).sessions()
    }

    /// Everything in Prometheus text format 0.0.4. `/proc/self` is read now.
    pub fn render(&self) -> String {
        self.process.refresh();
        let mut families = self.registry.gather();
        families.extend(self.parts.lock().unwrap_or_else(PoisonError::into_inner).gather());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&families, &mut text) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}

#[cfg(test)]
mod tests;
