//! The planes and the seams between them, put together.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use tokio_util::task::TaskTracker;

use super::{StartError, bind::Sockets};
use crate::{
    admin::{self, AdminListener, AdminPool, AdminSettings, AdminState},
    config::{CheckKind, Config, PoolConfig},
    control::{self, ControlSettings, heartbeat::Heartbeat},
    data::{
        self, DataSettings, Refusal,
        admission::{Admission, Budget},
    },
    lifecycle::{Lifeline, Vital},
    metrics::Metrics,
    route::{self, Clock, EventLog, Publisher, RouteWatch, Snapshot, SnapshotWatch},
};

/// The control thread is stuck when its last sign of life is older than this.
const HEARTBEAT_MAX_AGE: Duration = Duration::from_secs(5);

/// What the machine allows.
pub(super) struct Limits {
    pub(super) workers: usize,
    pub(super) budget: Budget,
}

/// The running planes.
pub(super) struct Planes {
    pub(super) snapshots: Vec<SnapshotWatch>,
    pub(super) events: Arc<EventLog>,
    /// Every accept loop and session.
    pub(super) tasks: TaskTracker,
    pub(super) threads: Vec<JoinHandle<()>>,
}

impl Planes {
    pub(super) fn start(
        config: &Config,
        metrics: &Arc<Metrics>,
        lifeline: &Lifeline,
        sockets: Sockets,
        limits: &Limits,
    ) -> Result<Self, StartError> {
        let listeners = sockets.listeners();
        let clock = Clock::start();
        let heartbeat = Heartbeat::default();
        let events = Arc::new(EventLog::default());
        let (report_sender, report_receiver) = route::reports();
        let seams: Vec<_> =
            config.pools.iter().map(|pool| route::seam(clock, control::max_staleness(pool), first_snapshot(pool))).collect();
        let snapshots: Vec<SnapshotWatch> = seams.iter().map(|(_, _, snapshots)| snapshots.clone()).collect();
        let (publishers, routes): (Vec<Publisher>, Vec<RouteWatch>) =
            seams.into_iter().map(|(publisher, routes, _)| (publisher, routes)).unzip();

        let data = data::spawn(DataSettings {
            workers: limits.workers,
            admission: Arc::new(Admission::new(limits.budget.connections)),
            shutdown_delay: config.shutdown.delay,
            clock,
            lifeline: lifeline.clone(),
            reports: report_sender,
            process: Arc::clone(metrics),
            pools: data_pools(config, sockets.pools, routes, metrics),
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
            listeners: admin_listeners(pool, &listeners[index], limits.budget.connections),
        });
        let health = health(&lifeline.vital, &heartbeat, clock);
        let admin = admin::spawn(AdminSettings {
            listen: sockets.admin,
            max_connections: (limits.budget.admin / config.admin.listen.len().max(1)).max(4),
            vital: lifeline.vital.clone(),
            state: AdminState {
                version: env!("CARGO_PKG_VERSION"),
                clock,
                phase: lifeline.phase.clone(),
                pools: admin_pools.collect(),
                sessions: data.sessions,
                events: Arc::clone(&events),
                metrics: Arc::clone(metrics),
                config_json: config.to_json(),
                health,
            },
        })
        .map_err(|error| StartError::thread("admin", &error))?;
        Ok(Self { snapshots, events, tasks: data.tasks, threads: data.threads.into_iter().chain([control, admin]).collect() })
    }
}

fn first_snapshot(pool: &PoolConfig) -> Snapshot {
    Snapshot { pool: Arc::clone(&pool.name), ..Snapshot::default() }
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
