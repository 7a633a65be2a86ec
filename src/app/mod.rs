//! The composition root: the only file that imports all planes. It binds every socket, then starts the threads, so that a mainstay
//! that cannot serve does not start.

mod bind;
mod error;
mod hand_over;
mod limits;
mod phases;
mod planes;
mod reload;
mod settings;
mod stopper;
mod upgrade;

use std::{collections::HashMap, net::SocketAddr, sync::Arc, thread::JoinHandle};

pub use error::StartError;
use limits::Limits;
use phases::PhaseRunner;
use planes::Planes;
pub use reload::{Changes, Reloader};
use settings::Process;
pub use stopper::Stopper;
use tokio::{runtime, sync::watch};
pub use upgrade::{Predecessor, Program};

use crate::{
    admin::{self, ProcessOrderReceiver},
    config::{Config, MetricsDetail},
    control::heartbeat::Heartbeat,
    incidents::WatchedPool,
    lifecycle::{self, PhaseWatch},
    metrics::{Detail, Metrics, PoolSeries},
    net::{endpoint::Endpoint, inherited::Inherited},
    route::{EventLog, GuardLog, OperationLog, OrderSender, SessionTable, SnapshotWatch},
};

/// A running mainstay, all of it in this process.
pub struct Running {
    /// Per pool of the first configuration, per listener: the bound addresses (TCP only; a configured port 0 is a real port here).
    pub listeners: Vec<Vec<Vec<SocketAddr>>>,
    /// The bound addresses of the admin endpoint (TCP only).
    pub admin: Vec<SocketAddr>,
    /// Per pool of the first configuration: its state.
    pub snapshots: Vec<SnapshotWatch>,
    /// Per pool of the first configuration: takes orders.
    pub orders: Vec<OrderSender>,
    /// Per pool of the first configuration: its metrics.
    pub series: Vec<PoolSeries>,
    /// State changes of all pools.
    pub events: Arc<EventLog>,
    /// Operations of all pools.
    pub operations: Arc<OperationLog>,
    /// What is proven of each backend.
    pub guards: Arc<GuardLog>,
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// The live sessions, one table a worker.
    #[doc(hidden)]
    pub sessions: Vec<Arc<SessionTable>>,
    /// The phase of the process.
    pub phase: PhaseWatch,
    /// The pools that are configured now.
    pub watched: watch::Receiver<Arc<Vec<WatchedPool>>>,
    /// Of the control thread.
    pub heartbeat: Heartbeat,
    reloader: Reloader,
    process_orders: Option<ProcessOrderReceiver>,
    stops: watch::Sender<u32>,
    life: JoinHandle<u8>,
}

/// Binds every socket, then starts the threads.
///
/// # Errors
/// When an address cannot be bound or the process may not open enough files.
pub fn start(config: &Config) -> Result<Running, StartError> {
    start_with(config, &metrics()?, &mut Inherited::default(), None)
}

/// The metrics of a process, all at 0.
///
/// # Errors
/// When two series would have the same name, which a test excludes.
pub fn metrics() -> Result<Arc<Metrics>, StartError> {
    Metrics::new().map_err(|error| StartError(format!("metrics cannot be set up: {error}")))
}

/// As [`start`], with existing metrics (the log counts dropped lines before anything else runs), and with sockets that another
/// process has bound: those that are configured are taken from `inherited`. After a `predecessor`, which is told when everything that
/// can fail has been done, it accepts nobody before [`Running::take_over`].
///
/// # Errors
/// As [`start`].
pub fn start_with(
    config: &Config,
    metrics: &Arc<Metrics>,
    inherited: &mut Inherited,
    predecessor: Option<&mut Predecessor>,
) -> Result<Running, StartError> {
    metrics.show(match config.metrics.detail {
        MetricsDetail::Short => Detail::Short,
        MetricsDetail::Full => Detail::Full,
    });
    let sockets = bind::bind_pools(config, &HashMap::new(), inherited)?;
    let admin_sockets = bind::bind_admin(config, inherited)?;
    let answering: Vec<_> = admin_sockets.iter().filter_map(|socket| socket.endpoint().ok()).collect();
    let admin = answering.iter().filter_map(Endpoint::tcp).collect();
    let limits = Limits::of(config)?;
    let handed = predecessor.map(Predecessor::prepared).transpose()?;
    let (phase, lifeline) = lifecycle::begin();
    let (process, process_orders) = admin::process_orders();
    let (planes, threads) =
        Planes::start(config, Process::new(&lifeline, metrics), (admin_sockets, process), (sockets, handed), &limits)?;
    let pools: Vec<_> = config.pools.iter().filter_map(|pool| planes.pools.get(&pool.name)).collect();
    let listeners: Vec<_> = pools.iter().map(|pool| pool.listening(&planes.bound)).collect();
    let snapshots = pools.iter().map(|pool| pool.snapshots.clone()).collect();
    let orders = pools.iter().map(|pool| pool.orders.clone()).collect();
    let series = pools.iter().map(|pool| pool.series.clone()).collect();
    let (stops, stop_watch) = watch::channel(0);
    let (watched, heartbeat, watched_phase) = (planes.watched.subscribe(), threads.heartbeat.clone(), lifeline.phase.clone());
    let life = PhaseRunner {
        deadlines: config.shutdown,
        phase,
        lifeline,
        tasks: threads.tasks,
        metrics: Arc::clone(metrics),
        heartbeat: threads.heartbeat,
        threads: threads.handles,
        state: planes.state.clone(),
        older: threads.older,
    };
    let runtime =
        runtime::Builder::new_current_thread().enable_all().build().map_err(|error| StartError::thread("life", &error))?;
    let life = std::thread::Builder::new()
        .name("mainstay-life".to_owned())
        .spawn(move || life.run(&runtime, stop_watch))
        .map_err(|error| StartError::thread("life", &error))?;
    announce(config, &listeners, &answering, &limits);
    let addresses = |bound: Vec<Endpoint>| bound.iter().filter_map(Endpoint::tcp).collect();
    let listeners = listeners.into_iter().map(|pool| pool.into_iter().map(addresses).collect()).collect();
    let reloader = Reloader::new(config.clone(), limits.workers, planes);
    let Process { events, operations, guards, .. } = threads.process;
    let (metrics, sessions) = (Arc::clone(metrics), threads.sessions);
    let process_orders = Some(process_orders);
    Ok(Running {
        listeners,
        admin,
        snapshots,
        orders,
        series,
        events,
        operations,
        guards,
        metrics,
        sessions,
        phase: watched_phase,
        watched,
        heartbeat,
        reloader,
        process_orders,
        stops,
        life,
    })
}

impl Running {
    /// Begins a graceful stop: drains, then forces, then stops. A second call ends at once.
    pub fn stop(&self) {
        self.stops.send_modify(|count| *count += 1);
    }

    /// Stops it from elsewhere (a signal handler's thread).
    pub fn stopper(&self) -> Stopper {
        Stopper::new(self.stops.clone())
    }

    /// Changes its configuration, also from elsewhere.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Takes everything over from the process before this one, and begins to accept. Waits for the backends, some seconds at most.
    ///
    /// # Errors
    /// When the other process did not hand over: it then goes on, and this one must end.
    pub fn take_over(&self, predecessor: Predecessor) -> Result<(), StartError> {
        self.reloader.take_over(predecessor)
    }

    /// What operators order of the process; nobody answers them until this is taken. It can be taken once.
    pub fn take_process_orders(&mut self) -> Option<ProcessOrderReceiver> {
        self.process_orders.take()
    }

    /// Waits until every thread has ended; the process's exit code: 0, or 1 when sessions had to be cut or a vital thread was lost.
    pub fn join(self) -> u8 {
        self.life.join().unwrap_or(1)
    }
}

fn announce(config: &Config, listeners: &[Vec<Vec<Endpoint>>], admin: &[Endpoint], limits: &Limits) {
    for (pool, bound) in config.pools.iter().zip(listeners) {
        for (listener, addresses) in pool.listeners.iter().zip(bound) {
            tracing::info!(pool = %pool.name, listener = %listener.name, addresses = ?addresses, check = pool.check.name(), "listening");
        }
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        workers = limits.workers,
        max_connections = limits.budget.connections,
        admin = ?admin,
        "started; each connection needs two file descriptors, the rest of the limit is kept for checks and administration"
    );
}
