//! The composition root: the only file that sees all planes. It binds every socket, then starts the threads, so that a
//! mainstay that cannot serve never begins to.

mod bind;
mod life;

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use bind::{bind_admin, bind_pool};
use life::Life;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::sync::watch;

use crate::{
    admin::{self, AdminListener, AdminPool, AdminSettings, AdminState},
    config::{CheckKind, Config, PoolConfig},
    control::{self, ControlSettings, heartbeat::Heartbeat},
    data::{
        self, DataSettings, Refusal,
        admission::{Admission, Budget},
    },
    lifecycle::{self, Vital},
    metrics::{Metrics, PoolLabels},
    route::{self, Clock, EventLog, Publisher, RouteWatch, Snapshot, SnapshotWatch},
};

/// The control thread is stuck when its last sign of life is older than this.
const HEARTBEAT_MAX_AGE: Duration = Duration::from_secs(5);

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
    let sockets = config.pools.iter().map(bind_pool).collect::<Result<Vec<_>, _>>()?;
    let (admin_sockets, admin_addresses) = bind_admin(config)?;
    let budget = budget(config, workers)?;
    let listeners = sockets.iter().map(|pool| pool.iter().map(|sockets| addresses(sockets)).collect()).collect::<Vec<Vec<_>>>();

    let clock = Clock::start();
    let (phase, lifeline) = lifecycle::begin();
    let heartbeat = Heartbeat::default();
    let events = Arc::new(EventLog::default());
    let (report_sender, report_receiver) = route::reports();
    let seams: Vec<_> =
        config.pools.iter().map(|pool| route::seam(clock, control::max_staleness(pool), first_snapshot(pool))).collect();
    let snapshots: Vec<SnapshotWatch> = seams.iter().map(|(_, _, snapshots)| snapshots.clone()).collect();
    let (publishers, routes): (Vec<Publisher>, Vec<RouteWatch>) =
        seams.into_iter().map(|(publisher, routes, _)| (publisher, routes)).unzip();

    let data = data::spawn(DataSettings {
        workers,
        admission: Arc::new(Admission::new(budget.connections)),
        shutdown_delay: config.shutdown.delay,
        clock,
        lifeline: lifeline.clone(),
        reports: report_sender,
        process: Arc::clone(metrics),
        pools: data_pools(config, sockets, routes, metrics),
    })
    .map_err(|error| StartError::thread("data", &error))?;
    let control = control::spawn(ControlSettings {
        clock,
        lifeline: lifeline.clone(),
        reports: report_receiver,
        events: Arc::clone(&events),
        state_dir: config.state_dir.clone(),
        heartbeat: heartbeat.clone(),
        pools: control_pools(config, publishers, metrics),
    })
    .map_err(|error| StartError::thread("control", &error))?;
    let admin_pools = config.pools.iter().enumerate().map(|(index, pool)| AdminPool {
        snapshot: snapshots[index].clone(),
        metrics: Arc::clone(&metrics.pools[index]),
        listeners: admin_listeners(pool, &listeners[index], budget.connections),
    });
    let health = health(&lifeline.vital, &heartbeat, clock);
    let admin = admin::spawn(AdminSettings {
        listen: admin_sockets,
        max_connections: (budget.admin / config.admin.listen.len().max(1)).max(4),
        vital: lifeline.vital.clone(),
        state: AdminState {
            version: env!("CARGO_PKG_VERSION"),
            clock,
            phase: lifeline.phase.clone(),
            pools: admin_pools.collect(),
            sessions: data.sessions,
            events: Arc::clone(&events),
            metrics: Arc::clone(metrics),
            config_json: serde_json::Value::Null,
            health,
        },
    })
    .map_err(|error| StartError::thread("admin", &error))?;

    let (stops, stop_watch) = watch::channel(0);
    let life = Life {
        deadlines: config.shutdown,
        phase,
        lifeline,
        tasks: data.tasks,
        metrics: Arc::clone(metrics),
        threads: data.threads.into_iter().chain([control, admin]).collect(),
        sockets: config.admin.listen.clone(),
    };
    let life = std::thread::Builder::new()
        .name("mainstay-life".to_owned())
        .spawn(move || life.run(stop_watch))
        .map_err(|error| StartError::thread("life", &error))?;
    announce(config, &listeners, &admin_addresses, budget, workers);
    Ok(Running { listeners, admin: admin_addresses, snapshots, events, metrics: Arc::clone(metrics), stops, life })
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

fn first_snapshot(pool: &PoolConfig) -> Snapshot {
    Snapshot { pool: Arc::clone(&pool.name), ..Snapshot::default() }
}

fn addresses(sockets: &[TcpListener]) -> Vec<SocketAddr> {
    sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect()
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

fn data_pools(
    config: &Config,
    sockets: Vec<Vec<Vec<TcpListener>>>,
    routes: Vec<RouteWatch>,
    metrics: &Metrics,
) -> Vec<data::PoolSettings> {
    let pools = config.pools.iter().zip(sockets).zip(routes).enumerate();
    pools
        .map(|(index, ((pool, sockets), routes))| data::PoolSettings {
            index,
            name: Arc::clone(&pool.name),
            backends: pool.backends.iter().map(|backend| Arc::clone(&backend.name)).collect(),
            listeners: pool.listeners.iter().cloned().zip(sockets).collect(),
            connect_timeout: pool.connect_timeout,
            hold: pool.hold,
            refusal: match pool.check.kind {
                CheckKind::Tcp => Refusal::Reset,
                CheckKind::Postgres(_) => Refusal::Postgres,
            },
            routes,
            metrics: Arc::clone(&metrics.pools[index]),
        })
        .collect()
}

fn control_pools(config: &Config, publishers: Vec<Publisher>, metrics: &Metrics) -> Vec<control::PoolSettings> {
    let pools = config.pools.iter().zip(publishers).zip(&metrics.pools);
    pools
        .map(|((config, publisher), metrics)| control::PoolSettings {
            config: config.clone(),
            publisher,
            metrics: Arc::clone(metrics),
        })
        .collect()
}

fn admin_listeners(pool: &PoolConfig, bound: &[Vec<SocketAddr>], connections: usize) -> Vec<AdminListener> {
    let listeners = pool.listeners.iter().zip(bound);
    listeners
        .map(|(listener, bound)| AdminListener {
            name: Arc::clone(&listener.name),
            bound: bound.clone(),
            limit: Some(listener.max_connections.unwrap_or(connections).min(connections)),
        })
        .collect()
}

/// Why the process itself is not live; a database never has a part in it.
fn health(vital: &Vital, heartbeat: &Heartbeat, clock: Clock) -> Arc<dyn Fn() -> Vec<String> + Send + Sync> {
    let (vital, heartbeat) = (vital.clone(), heartbeat.clone());
    Arc::new(move || {
        let mut reasons = Vec::new();
        if vital.is_lost() {
            reasons.push("a vital thread of mainstay panicked".to_owned());
        }
        let age = heartbeat.age(clock);
        if age > HEARTBEAT_MAX_AGE {
            reasons.push(format!("the control thread gave no sign of life for {} s", age.as_secs()));
        }
        reasons
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
