//! The composition root: the only file that sees all planes. It binds every socket, then starts the threads.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    config::Config,
    metrics::Metrics,
    route::{EventLog, SnapshotWatch},
};

/// A running mainstay, all of it in this process.
pub struct Running {
    /// Per pool, per listener: the bound addresses (a configured port 0 is a real port here).
    pub listeners: Vec<Vec<Vec<SocketAddr>>>,
    /// The bound addresses of the admin endpoint (TCP only).
    pub admin: Vec<SocketAddr>,
    /// Per pool: how it stands.
    pub snapshots: Vec<SnapshotWatch>,
    /// State changes of all pools.
    pub events: Arc<EventLog>,
    /// All metrics.
    pub metrics: Arc<Metrics>,
}

/// Why mainstay could not start: one clear line.
#[derive(Debug)]
pub struct StartError(pub String);

/// Binds every socket, then starts the threads.
///
/// # Errors
/// When an address cannot be bound or the process may not open enough files.
pub fn start(_config: &Config) -> Result<Running, StartError> {
    Err(StartError("being built".into()))
}

impl Running {
    /// Begins a graceful stop: drains, then forces, then stops. A second call ends at once.
    pub fn stop(&self) {}

    /// Waits until every thread has ended; the process's exit code.
    pub fn join(self) -> u8 {
        0
    }
}
