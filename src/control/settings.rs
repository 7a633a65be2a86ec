//! What the control plane is given.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{heartbeat::Heartbeat, state_writer::StateWriter};
use crate::{
    config::PoolConfig,
    lifecycle::Lifeline,
    metrics::{Metrics, PoolSeries},
    route::{Clock, EventLog, Publisher, ReportReceiver},
};

/// What the control plane needs to know of the process.
#[derive(Debug)]
pub struct ControlSettings {
    /// The monotonic clock.
    pub clock: Clock,
    /// The life of the process; every route ends with it.
    pub lifeline: Lifeline,
    /// Where state changes are told.
    pub events: Arc<EventLog>,
    /// Keeps the state that outlives the process, if anybody does.
    pub state: Option<StateWriter>,
    /// Of the process.
    pub metrics: Arc<Metrics>,
    /// Beaten by this plane.
    pub heartbeat: Heartbeat,
    /// How long the sessions of a retired pool may go on.
    pub grace: Duration,
}

/// What the control plane needs to know of a pool.
#[derive(Debug)]
pub struct PoolSettings {
    /// As configured.
    pub config: PoolConfig,
    /// Where decisions go.
    pub publisher: Publisher,
    /// What the byte path learns.
    pub reports: ReportReceiver,
    /// Its metrics.
    pub series: PoolSeries,
    /// Cancelled when the pool is no longer configured. It is supervised until its last session has ended, or for the grace.
    pub retired: CancellationToken,
}

/// A pool as it is configured from now on.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) config: PoolConfig,
    pub(super) series: PoolSeries,
}

/// How old the last word of an active backend may be before new clients wait for a newer one: every probe that could have told
/// of its death has failed to finish.
pub fn max_staleness(pool: &PoolConfig) -> Duration {
    2 * (pool.check.interval + pool.check.timeout) + Duration::from_secs(1)
}
