//! Builds the planes and the seams between them: from one configuration at the start, and from another at a reload.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    pin::Pin,
    sync::{Arc, mpsc::Sender},
    thread::JoinHandle,
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    bind::{self, NewSockets},
    error::StartError,
    limits::Limits,
};
use crate::{
    admin::{self, AdminListener, AdminPool, AdminSettings, AdminState, Authority, HealthProblems, ProcessOrderSender, View},
    config::{Config, ListenerConfig, ListenerRoute, PoolConfig},
    control::{
        self, ControlHandle, ControlSettings, PoolHandle,
        heartbeat::{self, Heartbeat},
    },
    data::{
        self, DataSettings, ListenerManager, ListenerSettings, SocketKey,
        admission::{Admission, Budget},
    },
    incidents::{Collector, IncidentLog, WatchedPool},
    lifecycle::{Lifeline, Vital},
    metrics::{Metrics, PoolLabels, PoolSeries},
    net::{endpoint::Endpoint, listener::BoundListener},
    notify::{Notifier, Setup, Watched},
    route::{
        self, Clock, EventLog, GuardLog, OperationLog, OrderSender, ReportSender, RouteWatch, SessionTable, Snapshot,
        SnapshotWatch,
    },
    state::StateWriter,
};

/// How long a reload waits for pools that are busy; then they show it later.
const SHOWN: Duration = Duration::from_secs(2);

/// What runs, and the handles that change it.
#[derive(Debug)]
pub(super) struct Planes {
    pub(super) lifeline: Lifeline,
    /// Where the sockets of the pools are actually bound.
    pub(super) bound: HashMap<SocketKey, Endpoint>,
    pub(super) pools: HashMap<Arc<str>, RunningPool>,
    metrics: Arc<Metrics>,
    admission: Arc<Admission>,
    clock: Clock,
    listeners: ListenerManager,
    control: ControlHandle,
    view: watch::Sender<Arc<View>>,
    told: watch::Sender<Arc<Setup>>,
    watched: watch::Sender<Arc<Vec<WatchedPool>>>,
    /// To be closed when every thread has ended.
    pub(super) state: Option<StateWriter>,
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
    control: PoolHandle,
    retired: CancellationToken,
}

/// What is needed to wait for the end of the planes.
pub(super) struct Threads {
    pub(super) events: Arc<EventLog>,
    pub(super) operations: Arc<OperationLog>,
    pub(super) guards: Arc<GuardLog>,
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
        metrics: &Arc<Metrics>,
        lifeline: &Lifeline,
        (admin, process): (Vec<BoundListener>, ProcessOrderSender),
        sockets: NewSockets,
        limits: &Limits,
    ) -> Result<(Self, Threads), StartError> {
        let (heartbeat, events, state) = (Heartbeat::default(), Arc::<EventLog>::default(), state_writer(config, metrics)?);
        let (operations, guards) = (Arc::<OperationLog>::default(), Arc::<GuardLog>::default());
        let (clock, admission) = (Clock::start(), Arc::new(Admission::new(limits.budget.connections)));
        let data =
            started("data", data::spawn(data_settings(config, limits, Arc::clone(&admission), (clock, lifeline, metrics))))?;
        let control = control::spawn(ControlSettings {
            clock,
            lifeline: lifeline.clone(),
            events: Arc::clone(&events),
            operations: Arc::clone(&operations),
            guards: Arc::clone(&guards),
            state: state.clone(),
            sessions: data.sessions.clone(),
            metrics: Arc::clone(metrics),
            heartbeat: heartbeat.clone(),
            grace: config.shutdown.timeout,
        });
        let (control, control_thread) = started("control", control)?;
        let (view, views) = watch::channel(Arc::new(View { pools: Vec::new(), config_json: serde_json::Value::Null }));
        let ((told, setup), (watched, followed)) = (watch::channel(Arc::default()), watch::channel(Arc::default()));
        let mut planes = Self {
            metrics: Arc::clone(metrics),
            lifeline: lifeline.clone(),
            admission,
            bound: HashMap::new(),
            pools: HashMap::new(),
            clock,
            listeners: data.listeners,
            control,
            view,
            told,
            watched,
            state: state.clone(),
        };
        planes.apply(config, planes.series(config)?, sockets, limits.budget);
        // From here on the process may find that everything has ended.
        data.tasks.close();
        let (incidents, beside) = beside((clock, lifeline, metrics), &events, (setup, followed), state.clone());
        let admin_thread = admin::spawn(AdminSettings {
            max_connections: (limits.budget.admin / admin.len().max(1)).max(4),
            listen: admin,
            vital: lifeline.vital.clone(),
            beside,
            state: AdminState {
                version: env!("CARGO_PKG_VERSION"),
                authority: Authority::new(&config.admin, process),
                clock,
                phase: lifeline.phase.clone(),
                view: views,
                sessions: data.sessions.clone(),
                events: Arc::clone(&events),
                operations: Arc::clone(&operations),
                guards: Arc::clone(&guards),
                incidents,
                history: admin::history::History::default(),
                metrics: Arc::clone(metrics),
                health: health(&lifeline.vital, &heartbeat, clock, state),
            },
        });
        let handles = data.threads.into_iter().chain([control_thread, started("admin", admin_thread)?]).collect();
        Ok((planes, Threads { events, operations, guards, heartbeat, tasks: data.tasks, handles, sessions: data.sessions }))
    }

    /// The series of every pool of `config`.
    pub(super) fn series(&self, config: &Config) -> Result<Vec<PoolSeries>, StartError> {
        let series = config.pools.iter().map(|pool| self.metrics.series(&labels(pool)));
        series.collect::<Result<_, _>>().map_err(|error| StartError(format!("metrics cannot be set up: {error}")))
    }

    /// Switches to this configuration, and waits until the status shows it. Nothing here can fail: everything that can was done before.
    pub(super) fn apply(&mut self, config: &Config, series: Vec<PoolSeries>, mut fresh: NewSockets, budget: Budget) {
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

/// What runs on the admin thread besides, and where that shows incidents.
fn beside(
    (clock, lifeline, metrics): (Clock, &Lifeline, &Arc<Metrics>),
    events: &Arc<EventLog>,
    (setup, pools): (watch::Receiver<Arc<Setup>>, watch::Receiver<Arc<Vec<WatchedPool>>>),
    state: Option<StateWriter>,
) -> (Arc<IncidentLog>, Pin<Box<dyn Future<Output = ()> + Send>>) {
    let incidents = Arc::<IncidentLog>::default();
    let (phase, metrics) = (lifeline.phase.clone(), Arc::clone(metrics));
    let notifier = Notifier { clock, phase: phase.clone(), setup, events: Arc::clone(events), metrics };
    let collector = Collector { clock, phase, pools, events: Arc::clone(events), incidents: Arc::clone(&incidents), state };
    let both = async {
        tokio::join!(notifier.run(), collector.run());
    };
    (incidents, Box::pin(both))
}

fn started<T>(thread: &'static str, started: io::Result<T>) -> Result<T, StartError> {
    started.map_err(|error| StartError::thread(thread, &error))
}

fn data_settings(
    config: &Config,
    limits: &Limits,
    admission: Arc<Admission>,
    (clock, lifeline, metrics): (Clock, &Lifeline, &Arc<Metrics>),
) -> DataSettings {
    DataSettings {
        workers: limits.workers,
        busy_poll: limits.busy_poll,
        pipes: limits.budget.pipes,
        admission,
        shutdown_delay: config.shutdown.delay,
        clock,
        lifeline: lifeline.clone(),
        process: Arc::clone(metrics),
    }
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

/// Faults of the process itself; never of a database.
fn health(
    vital: &Vital,
    heartbeat: &Heartbeat,
    clock: Clock,
    state: Option<StateWriter>,
) -> Arc<dyn Fn() -> HealthProblems + Send + Sync> {
    let (vital, heartbeat) = (vital.clone(), heartbeat.clone());
    Arc::new(move || {
        let mut fatal = Vec::new();
        if vital.is_lost() {
            fatal.push("a vital thread of mainstay panicked".to_owned());
        }
        let age = heartbeat.age(clock);
        if age > heartbeat::MAX_AGE {
            fatal.push(format!("the control thread gave no sign of life for {} s", age.as_secs()));
        }
        // A restart repairs no disk, and what is lost meanwhile is only what the state file would hold.
        HealthProblems { fatal, others: state.as_ref().map(StateWriter::complaints).unwrap_or_default() }
    })
}

/// Keeps the state that survives a restart, if configured.
fn state_writer(config: &Config, metrics: &Arc<Metrics>) -> Result<Option<StateWriter>, StartError> {
    let writer = config.state_dir.as_deref().map(|directory| StateWriter::start(directory, metrics)).transpose();
    writer.map_err(|error| StartError::thread("state", &error))
}
