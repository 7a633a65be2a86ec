//! The composition root: the only file that sees all planes. It binds every socket, then starts the threads, so that a
//! mainstay that cannot serve never begins to.

mod bind;
mod life;
mod planes;

use std::{fmt, io, net::SocketAddr, sync::Arc, thread::JoinHandle};

use bind::Sockets;
use life::Life;
use planes::{Limits, Planes};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;

use crate::{
    config::{Config, PoolConfig},
    data::admission::Budget,
    lifecycle,
    metrics::{Metrics, PoolLabels},
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
    stops: watch::Sender<u32>,
    life: JoinHandle<u8>,
}

/// Why mainstay could not start: one clear line.
#[derive(Debug)]
pub struct StartError(pub String);

impl StartError {
    fn thread(plane: &str, error: &io::Error) -> Self {
        Self(format!("the {plane} thread cannot be started: {error}"))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// Binds every socket, then starts the threads.
///
/// # Errors
/// When an address cannot be bound or the process may not open enough files.
pub fn start(config: &Config) -> Result<Running, StartError> {
    start_with(config, &metrics(config)?)
}

/// The metrics of this configuration, all at 0.
///
/// # Errors
/// When two series would have the same name, which the configuration's own rules exclude.
pub fn metrics(config: &Config) -> Result<Arc<Metrics>, StartError> {
    let labels: Vec<PoolLabels> = config.pools.iter().map(labels).collect();
    Metrics::new(&labels).map_err(|error| StartError(format!("metrics cannot be set up: {error}")))
}

/// As [`start`], with metrics that exist already (the log counts what it drops before anything else runs).
///
/// # Errors
/// As [`start`].
pub fn start_with(config: &Config, metrics: &Arc<Metrics>) -> Result<Running, StartError> {
    let workers = config.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let sockets = Sockets::bind(config)?;
    let budget = budget(config, workers)?;
    let (listeners, admin) = (sockets.listeners(), sockets.admin_addresses());
    let (phase, lifeline) = lifecycle::begin();
    let planes = Planes::start(config, metrics, &lifeline, sockets, &Limits { workers, budget })?;
    let (stops, stop_watch) = watch::channel(0);
    let life = Life {
        deadlines: config.shutdown,
        phase,
        lifeline,
        tasks: planes.tasks,
        metrics: Arc::clone(metrics),
        threads: planes.threads,
        sockets: config.admin.listen.clone(),
    };
    let life = std::thread::Builder::new()
        .name("mainstay-life".to_owned())
        .spawn(move || life.run(stop_watch))
        .map_err(|error| StartError::thread("life", &error))?;
    announce(config, &listeners, &admin, budget, workers);
    Ok(Running {
        listeners,
        admin,
        snapshots: planes.snapshots,
        events: planes.events,
        metrics: Arc::clone(metrics),
        stops,
        life,
    })
}

impl Running {
    /// Begins a graceful stop: drains, then forces, then stops. A second call ends at once.
    pub fn stop(&self) {
        self.stops.send_modify(|count| *count += 1);
    }

    /// The way to stop it from elsewhere (a signal handler's thread).
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stops.clone())
    }

    /// Waits until every thread has ended; the process's exit code: 0, or 1 when sessions had to be cut or a vital part was
    /// lost.
    pub fn join(self) -> u8 {
        self.life.join().unwrap_or(1)
    }
}

/// Stops a running mainstay; see [`Running::stop`].
#[derive(Clone, Debug)]
pub struct Stopper(watch::Sender<u32>);

impl Stopper {
    /// As [`Running::stop`].
    pub fn stop(&self) {
        self.0.send_modify(|count| *count += 1);
    }
}

fn labels(pool: &PoolConfig) -> PoolLabels {
    PoolLabels {
        name: Arc::clone(&pool.name),
        listeners: pool.listeners.iter().map(|listener| Arc::clone(&listener.name)).collect(),
        backends: pool.backends.iter().map(|backend| (Arc::clone(&backend.name), backend.address.to_string().into())).collect(),
    }
}

/// Raises the limit of open files as far as it goes, and divides it.
fn budget(config: &Config, workers: usize) -> Result<Budget, StartError> {
    let limit = getrlimit(Resource::Nofile);
    // Without the right to raise it, what is there is what is divided.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let files = if raised.is_ok() { limit.maximum } else { limit.current };
    let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(1 << 20).min(1 << 20);
    let listeners = config.pools.iter().flat_map(|pool| &pool.listeners).map(|listener| listener.listen.len()).sum::<usize>();
    let backends = config.pools.iter().map(|pool| pool.backends.len()).sum();
    Budget::divide(files, listeners + config.admin.listen.len(), backends, workers).map_err(|needed| {
        StartError(format!("this process may open {files} files, and {needed} are needed at least; raise the limit (ulimit -n)"))
    })
}

fn announce(config: &Config, listeners: &[Vec<Vec<SocketAddr>>], admin: &[SocketAddr], budget: Budget, workers: usize) {
    for (pool, bound) in config.pools.iter().zip(listeners) {
        for (listener, addresses) in pool.listeners.iter().zip(bound) {
            tracing::info!(pool = %pool.name, listener = %listener.name, addresses = ?addresses, check = pool.check.kind.name(), "listening");
        }
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        workers,
        max_connections = budget.connections,
        admin = ?admin,
        "started; each connection needs two file descriptors, the rest of the limit is kept for checks and administration"
    );
}
