//! Metrics, in a registry of their own.
//!
//! | file | what it holds |
//! |---|---|
//! | [`names`] | every metric once: name and help text |
//! | [`series`] | how series are made: one handle per label value |
//! | [`exposition`] | the text of a scrape, in pieces |
//! | [`mod@text`] | how a line of it is written |
//! | [`directory`] | the metrics of each pool, listener and backend, by name |
//! | [`live`] | how many of something exist |
//! | [`process`] | metrics of the whole process, and the values of `/proc/self` |
//! | [`pool`] | metrics of a pool, its listeners and its backends |
//!
//! Labels are pool, listener and backend names of the configuration, and closed enums. So the number of series follows from the
//! configuration, and no client can change it. Handles are resolved with the configuration, too: on the hot path a count is one
//! atomic addition.

mod directory;
mod exposition;
mod live;
mod names;
pub mod pool;
pub mod process;
mod series;
mod text;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use prometheus::Error;

pub use directory::{PoolLabels, PoolSeries};
pub use exposition::Exposition;
pub use live::{LiveCount, LiveGuard};
pub use pool::{BackendMetrics, ListenerMetrics, PoolMetrics};
pub use process::ProcessMetrics;
pub use series::{Info, OneHot, Per};
pub use text::Detail;

use directory::{Directory, Families};

/// All metrics of a process.
#[derive(Debug)]
pub struct Metrics {
    /// Of the process.
    pub process: ProcessMetrics,
    directory: Arc<Mutex<Directory>>,
    is_full: AtomicBool,
}

impl Metrics {
    /// Makes the series of the process.
    ///
    /// # Errors
    /// When the `prometheus` crate refuses a name, which a test excludes.
    pub fn new() -> Result<Arc<Self>, Error> {
        let (process, series) = Families::of(ProcessMetrics::new)?;
        let directory = Arc::new(Mutex::new(Directory::new(series)));
        Ok(Arc::new(Self { process, directory, is_full: AtomicBool::new(false) }))
    }

    /// The series of a pool; those that do not exist yet are made, at 0.
    ///
    /// # Errors
    /// When the `prometheus` crate refuses a name, which a test excludes.
    pub fn series(&self, labels: &PoolLabels) -> Result<PoolSeries, Error> {
        self.directory().series(labels)
    }

    /// Sessions of all backends.
    pub fn sessions(&self) -> u64 {
        self.directory().sessions()
    }

    /// From now on so much is shown.
    pub fn show(&self, detail: Detail) {
        self.is_full.store(detail == Detail::Full, Ordering::Relaxed);
    }

    /// A scrape. `/proc/self` is read now, the others when their piece is taken.
    pub fn exposition(&self) -> Exposition {
        self.process.refresh();
        self.directory().forget_unused();
        let detail = if self.is_full.load(Ordering::Relaxed) { Detail::Full } else { Detail::Short };
        Exposition::new(Arc::clone(&self.directory), detail)
    }

    /// A scrape in one piece.
    pub fn render(&self) -> String {
        self.exposition().collect()
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
