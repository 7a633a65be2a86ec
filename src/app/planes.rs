//! Builds the planes and the seams between them: from one configuration at the start, and from another at a reload.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    io,
    sync::{Arc, Weak, mpsc::Sender},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    bind::{self, NewSockets},
    error::StartError,
    limits::Limits,
    settings::{Process, health, state_writer},
    upgrade::lead::Leader,
};
use crate::{
    admin::{self, AdminListener, AdminPool, AdminSettings, AdminState, Authority, ProcessOrderSender, View},
    config::{Config, ListenerConfig, ListenerRoute, PoolConfig},
    control::{self, ControlHandle, PoolHandle, Remembered, heartbeat::Heartbeat},
    data::{
        self, ListenerManager, ListenerSettings, SocketKey,
        admission::{Admission, Budget},
    },
    incidents::WatchedPool,
    lifecycle::Lifeline,
    metrics::{Metrics, PoolLabels, PoolSeries},
    net::{
        endpoint::Endpoint,
        listener::{BoundListener, Twin},
    },
    notify::{Setup, Watched},
    route::{self, Clock, OlderLog, OperationLog, OrderSender, ReportSender, RouteWatch, SessionTable, Snapshot, SnapshotWatch},
    state::StateWriter,
};

/// How long a reload waits for pools that are busy; then they show it later.
pub(super) const SHOWN: Duration = Duration::from_secs(2);

/// What runs, and the handles that change it.
#[derive(Debug)]
pub(super) struct Planes {
    pub(super) lifeline: Lifeline,
    /// Where the sockets of the pools are actually bound.
    pub(super) bound: HashMap<SocketKey, Endpoint>,
    pub(super) pools: HashMap<Arc<str>, RunningPool>,
    metrics: Arc<Metrics>,
    pub(super) admission: Arc<Admission>,
    clock: Clock,
    pub(super) listeners: ListenerManager,
    control: ControlHandle,
    view: watch::Sender<Arc<View>>,
    told: watch::Sender<Arc<Setup>>,
    pub(super) watched: watch::Sender<Arc<Vec<WatchedPool>>>,
    /// To be closed when every thread has ended.
    pub(super) state: Option<StateWriter>,
    pub(super) operations: Arc<OperationLog>,
    pub(super) leader: Leader,
    /// The sockets of the admin endpoint.
    pub(super) admin: Vec<Weak<Twin>>,
    /// Whether the admin endpoint takes connections.
    pub(super) answers: watch::Sender<bool>,
    pub(super) budget: Budget,
    /// A newer process decides and accepts.
    pub(super) is_lent: bool,
    /// What the process before this one knew of the pools that begin now.
    known: BTreeMap<String, Remembered>,
}

/// A pool that is configured.
#[derive(Debug)]
pub(super) struct RunningPool {
    pub(super) config: PoolConfig,
    pub(super) series: PoolSeries,
    pub(super) snapshots: SnapshotWatch,
    routes: RouteWatch,
    reporter: ReportSender,
    pub(super) orders: OrderSender,
    pub(super) control: PoolHandle,
    retired: CancellationToken,
}

/// What is needed to wait for the end of the planes.
pub(super) struct Threads {
    pub(super) process: Process,
    pub(super) older: Arc<OlderLog>,
    /// Of the control thread.
    pub(super) heartbeat: Heartbeat,
    /// Every accept loop and session.
    pub(super) tasks: TaskTracker,
    pub(super) handles: Vec<JoinHandle<()>>,
    pub(super) sessions: Vec<Arc<SessionTable>>,
}

impl Planes {
    /// Starts the planes, with the pools of `config`.
    pub(super) fn start(
        config: &Config,
        process: Process,
        (admin, orders): (Vec<BoundListener>, ProcessOrderSender),
        (sockets, handed): (NewSockets, Option<BTreeMap<String, Remembered>>),
        limits: &Limits,
    ) -> Result<(Self, Threads), StartError> {
        let (heartbeat, state) = (Heartbeat::default(), state_writer(config, &process.metrics)?);
        let admission = Arc::new(Admission::new(limits.budget.connections));
        let data = started("data", data::spawn(process.data(config, limits, Arc::clone(&admission))))?;
        let control = control::spawn(process.control((config.shutdown.timeout, &heartbeat), &data.sessions, state.clone()));
        let (control, control_thread) = started("control", control)?;
        let (view, views) = watch::channel(Arc::new(View { pools: Vec::new(), config_json: serde_json::Value::Null }));
        let ((told, setup), (watched, followed)) = (watch::channel(Arc::default()), watch::channel(Arc::default()));
        let (leader, older) = Leader::new(watched.clone(), Arc::clone(&process.events));
        // Until the process before this one has handed everything over, it answers and accepts.
        let (answers, answering) = watch::channel(handed.is_none());
        let twins = admin.iter().map(|socket| socket.twin().map(Arc::new)).collect();
        let twins: Vec<Arc<Twin>> = started("admin", twins)?;
        let mut planes = Self {
            metrics: Arc::clone(&process.metrics),
            lifeline: process.lifeline.clone(),
            admission,
            bound: HashMap::new(),
            pools: HashMap::new(),
            clock: process.clock,
            listeners: data.listeners,
            control,
            view,
            told,
            watched,
            state: state.clone(),
            operations: Arc::clone(&process.operations),
            leader,
            admin: twins.iter().map(Arc::downgrade).collect(),
            answers,
            budget: limits.budget,
            is_lent: false,
            known: BTreeMap::new(),
        };
        planes.listeners.accept(handed.is_none());
        planes.known = handed.unwrap_or_default();
        planes.apply(config, planes.series(config)?, sockets, limits.budget);
        planes.known.clear();
        // From here on the process may find that everything has ended.
        data.tasks.close();
        let (incidents, beside) = process.beside((setup, followed), state.clone());
        let health = health(&process.lifeline.vital, &heartbeat, process.clock, state);
        let shown = process.admin((Authority::new(&config.admin, orders), health), (views, answering), incidents);
        let admin_thread = admin::spawn(AdminSettings {
            max_connections: (limits.budget.admin / admin.len().max(1)).max(4),
            listen: admin,
            twins,
            vital: process.lifeline.vital.clone(),
            beside,
            state: AdminState { sessions: data.sessions.clone(), older: Arc::clone(&older), ..shown },
        });
        let handles = data.threads.into_iter().chain([control_thread, started("admin", admin_thread)?]).collect();
        Ok((planes, Threads { process, older, heartbeat, tasks: data.tasks, handles, sessions: data.sessions }))
    }

    /// The series of every pool of `config`.
    pub(super) fn series(&self, config: &Config) -> Result<Vec<PoolSeries>, StartError> {
        let series = config.pools.iter().map(|pool| self.metrics.series(&labels(pool)));
        series.collect::<Result<_, _>>().map_err(|error| StartError(format!("metrics cannot be set up: {error}")))
    }

    /// Switches to this configuration, and waits until the status shows it. Nothing here can fail: everything that can was done before.
    pub(super) fn apply(&mut self, config: &Config, series: Vec<PoolSeries>, mut fresh: NewSockets, budget: Budget) {
        self.budget = budget;
        self.admission.resize(budget.connections);
        let mut before = std::mem::take(&mut self.pools);
        let mut bound = HashMap::new();
        let mut settings = Vec::new();
        let mut pools = Vec::new();
        let (showing, shown) = std::sync::mpsc::channel();
        for (pool, series) in config.pools.iter().zip(series) {
            let live = match before.remove(&pool.name) {
                Some(live) => live.change(pool, series, &showing),
                None => self.begin(pool, series),
            };
            let listeners = pool.listeners.iter().zip(&live.series.listeners);
            let listeners = listeners.map(|(listener, metrics)| ListenerSettings {
                config: listener.clone(),
                metrics: Arc::clone(metrics),
                sockets: self.sockets(pool, listener, &mut fresh, &mut bound),
            });
            settings.push(live.settings(listeners.collect()));
            pools.push(live.view(&bound, budget.connections));
            self.pools.insert(Arc::clone(&pool.name), live);
        }
        self.bound = bound;
        self.listeners.apply(settings);
        for gone in before.into_values() {
            gone.retired.cancel();
        }
        let watched = config.pools.iter().filter_map(|pool| self.pools.get(&pool.name)).map(RunningPool::watched).collect();
        let pools_watched = config.pools.iter().filter_map(|pool| self.pools.get(&pool.name)).map(RunningPool::followed);
        self.watched.send_replace(Arc::new(pools_watched.collect()));
        self.told.send_replace(Arc::new(Setup { receivers: config.notify.clone(), pools: watched }));
        self.view.send_replace(Arc::new(View { pools, config_json: config.to_json() }));
        drop(showing);
        // Ends when each pool has dropped its sender.
        let _ = shown.recv_timeout(SHOWN);
    }

    fn begin(&self, pool: &PoolConfig, series: PoolSeries) -> RunningPool {
        let first = Snapshot { pool: Arc::clone(&pool.name), ..Snapshot::default() };
        let seam = route::seam(self.clock, control::max_staleness(pool), first);
        let retired = self.lifeline.forced.child_token();
        let (orders, received) = route::orders();
        let control = self.control.supervise(control::PoolSettings {
            config: pool.clone(),
            publisher: seam.publisher,
            reports: seam.reports,
            orders: received,
            series: series.clone(),
            known: self.known.get(&*pool.name).cloned(),
            retired: retired.clone(),
        });
        RunningPool {
            config: pool.clone(),
            series,
            snapshots: seam.snapshots,
            routes: seam.routes,
            reporter: seam.reporter,
            orders,
            control,
            retired,
        }
    }

    /// The sockets of a listener: `fresh` ones are new, the others stay; all are recorded in `bound`.
    fn sockets(
        &self,
        pool: &PoolConfig,
        listener: &ListenerConfig,
        fresh: &mut NewSockets,
        bound: &mut HashMap<SocketKey, Endpoint>,
    ) -> Vec<(SocketKey, Option<BoundListener>)> {
        let socket = |key: SocketKey| {
            let new = fresh.remove(&key);
            let real = new.as_ref().map_or_else(|| self.bound.get(&key).cloned(), |socket| socket.endpoint().ok());
            bound.insert(key.clone(), real.unwrap_or_else(|| key.endpoint.clone()));
            (key, new)
        };
        bind::keys(pool, listener).map(socket).collect()
    }
}

fn started<T>(thread: &'static str, started: io::Result<T>) -> Result<T, StartError> {
    started.map_err(|error| StartError::thread(thread, &error))
}

impl RunningPool {
    fn change(self, pool: &PoolConfig, series: PoolSeries, shown: &Sender<Infallible>) -> Self {
        if self.config != *pool {
            self.control.configure(pool.clone(), series.clone(), shown.clone());
        }
        Self { config: pool.clone(), series, ..self }
    }

    fn settings(&self, listeners: Vec<ListenerSettings>) -> data::PoolSettings {
        data::PoolSettings {
            name: Arc::clone(&self.config.name),
            listeners,
            connect_timeout: self.config.connect_timeout,
            hold: self.config.hold,
            protocol: self.config.check.kind.protocol(),
            routes: self.routes.clone(),
            reporter: self.reporter.clone(),
            metrics: Arc::clone(&self.series.pool),
            retired: self.retired.clone(),
        }
    }

    /// Per listener: its bound addresses.
    pub(super) fn listening(&self, bound: &HashMap<SocketKey, Endpoint>) -> Vec<Vec<Endpoint>> {
        let real = |listener| bind::keys(&self.config, listener).filter_map(|key| bound.get(&key).cloned()).collect();
        self.config.listeners.iter().map(real).collect()
    }

    fn watched(&self) -> Watched {
        Watched {
            snapshot: self.snapshots.clone(),
            metrics: Arc::clone(&self.series.pool),
            listeners: self.series.listeners.clone(),
            is_for_writing: self.config.listeners.iter().any(|listener| listener.route == ListenerRoute::Primary),
        }
    }

    fn followed(&self) -> WatchedPool {
        WatchedPool {
            snapshot: self.snapshots.clone(),
            metrics: Arc::clone(&self.series.pool),
            clients: Arc::clone(self.routes.clients()),
        }
    }

    fn view(&self, bound: &HashMap<SocketKey, Endpoint>, connections: usize) -> AdminPool {
        let listeners = self.config.listeners.iter().zip(self.listening(bound)).zip(&self.series.listeners);
        let listeners = listeners.map(|((listener, bound), metrics)| AdminListener {
            config: listener.clone(),
            bound,
            limit: Some(listener.max_connections.unwrap_or(connections).min(connections)),
            metrics: Arc::clone(metrics),
        });
        let names = self.config.backends.iter().map(|backend| Arc::clone(&backend.name));
        AdminPool {
            snapshot: self.snapshots.clone(),
            orders: self.orders.clone(),
            metrics: Arc::clone(&self.series.pool),
            listeners: listeners.collect(),
            backends: names.zip(self.series.backends.iter().cloned()).collect(),
        }
    }
}

fn labels(pool: &PoolConfig) -> PoolLabels {
    PoolLabels {
        name: Arc::clone(&pool.name),
        listeners: pool.listeners.iter().map(|listener| Arc::clone(&listener.name)).collect(),
        backends: pool.backends.iter().map(|backend| (Arc::clone(&backend.name), backend.address.to_string().into())).collect(),
    }
}
