//! Limits of the machine.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::error::StartError;
use crate::{config::Config, control, data::admission::Budget, notify};

/// Limits of the machine.
pub(super) struct Limits {
    pub(super) workers: usize,
    pub(super) busy_poll: Option<Duration>,
    pub(super) budget: Budget,
}

impl Limits {
    /// The limits for this configuration.
    pub(super) fn of(config: &Config) -> Result<Self, StartError> {
        let workers = config.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        Ok(Self { workers, busy_poll: busy_poll(config, workers), budget: budget(config, workers)? })
    }
}

/// Never with more workers than cores: they would take the core from each other and from the checks.
fn busy_poll(config: &Config, workers: usize) -> Option<Duration> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if config.busy_poll.is_some() && workers > cores {
        tracing::warn!(workers, cores, "busy_poll is off: there are more workers than cores that this process may use");
        return None;
    }
    config.busy_poll
}

/// Raises the limit of open files as far as possible, and divides it.
pub(super) fn budget(config: &Config, workers: usize) -> Result<Budget, StartError> {
    let limit = getrlimit(Resource::Nofile);
    // Without the right to raise it, the present limit is divided.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let files = if raised.is_ok() { limit.maximum } else { limit.current };
    let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(1 << 20).min(1 << 20);
    let listeners = config.pools.iter().flat_map(|pool| &pool.listeners).map(|listener| listener.listen.len()).sum::<usize>();
    let checks = config.pools.iter().map(control::descriptors).sum::<usize>() + config.notify.len() * notify::DESCRIPTORS;
    Budget::divide(files, listeners + config.admin.listen.len(), checks, workers).map_err(|needed| {
        StartError(format!("this process may open {files} files, and {needed} are needed at least; raise the limit (ulimit -n)"))
    })
}
