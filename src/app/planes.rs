//! Builds the planes and the seams between them: from one configuration at the start, and from another at a reload.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    io,
    pin::Pin,
    sync::{Arc, mpsc::Sender},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    runtime::Runtime,
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    bind::{self, NewSockets},
    error::StartError,
    limits::Limits,
    upgrade::{self, Leader, Predecessor},
};
use crate::{
    admin::{self, AdminListener, AdminPool, AdminSettings, AdminState, Authority, HealthProblems, ProcessOrderSender, View},
    config::{Config, ListenerConfig, ListenerRoute, PoolConfig},
    control::{
        self, ControlHandle, ControlSettings, Lead, PoolHandle, Remembered,
        heartbeat::{self, Heartbeat},
    },
    data::{
        self, DataSettings, ListenerManager, ListenerSettings, SocketKey,
        admission::{Admission, Budget},
    },
    incidents::{Collector, IncidentLog, WatchedPool},
    lifecycle::{Lifeline, Vital},
    metrics::{Metrics, PoolLabels, PoolSeries},
    net::{
        endpoint::Endpoint,
        inherited::{self, Inherited},
        listener::{BoundListener, FileOwner, Twin},
    },
    notify::{Notifier, Setup, Watched},
    route::{
        self, Clock, EventLog, GuardLog, OlderPool, OlderProcess, OperationLog, OrderSender, ReportSender, RouteWatch,
        SessionTable, Snapshot, SnapshotWatch,
    },
    state::StateWriter,
    upgrade::message::SocketUse,
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
    pub(super) operations: Arc<OperationLog>,
    pub(super) leader: Leader,
    /// The sockets of the admin endpoint.
    pub(super) admin: Vec<Twin>,
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
        (sockets, predecessor): (NewSockets, Option<&Predecessor>),
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
        let (leader, older) = Leader::new(watched.clone(), Arc::clone(&events));
        // Until the process before this one has handed everything over, it answers and accepts.
        let (answers, answering) = watch::channel(predecessor.is_none());
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
            operations: Arc::clone(&operations),
            leader,
            admin: admin
                .iter()
                .map(BoundListener::twin)
                .collect::<io::Result<_>>()
                .map_err(|error| StartError::thread("admin", &error))?,
            answers,
            budget: limits.budget,
            is_lent: false,
            known: BTreeMap::new(),
        };
        planes.listeners.accept(predecessor.is_none());
        planes.known = predecessor.map(|predecessor| predecessor.known().clone()).unwrap_or_default();
        planes.apply(config, planes.series(config)?, sockets, limits.budget);
        planes.known.clear();
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
                answering,
                older,
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

    /// Another process gets ready to decide: this one no longer does by itself, and keeps nothing on disk.
    pub(super) fn lend(&mut self, config: &Config) {
        self.is_lent = true;
        self.apply_quietly(&upgrade::quiet(config));
        if let Some(state) = &self.state {
            state.lend();
        }
    }

    /// Whether another process accepts and answers instead; every socket stays open.
    pub(super) fn leave(&mut self, leave: bool) {
        self.listeners.accept(!leave);
        self.listeners.leave_files(leave);
        self.admin.iter().for_each(|socket| socket.leave_file(leave));
        self.answers.send_replace(!leave);
    }

    /// This process decides, accepts and answers again.
    pub(super) fn take_back(&mut self, config: &Config) {
        self.is_lent = false;
        self.pools.values().for_each(|pool| pool.control.follow(None));
        if let Some(state) = &self.state {
            state.take_back();
        }
        match bind::bind_pools(config, &self.bound, &mut Inherited::default()) {
            Ok(fresh) => match self.series(config) {
                Ok(series) => self.apply(config, series, fresh, self.budget),
                Err(error) => tracing::error!(%error, "the pools do not change"),
            },
            Err(error) => tracing::error!(%error, "what the newer mainstay had closed stays closed"),
        }
        self.leave(false);
        self.leader.resume();
    }

    /// As [`Planes::apply`], with sockets that exist.
    pub(super) fn apply_quietly(&mut self, config: &Config) {
        match self.series(config) {
            Ok(series) => self.apply(config, series, NewSockets::new(), self.budget),
            Err(error) => tracing::error!(%error, "the pools do not change"),
        }
    }

    /// What a process that takes over must know of each pool; of one that does not answer in time, nothing.
    pub(super) fn remembered(&self, runtime: &Runtime) -> BTreeMap<String, Remembered> {
        let told: Vec<_> = self.pools.iter().map(|(name, pool)| (name.to_string(), pool.control.remembered())).collect();
        runtime.block_on(async {
            let deadline = Instant::now() + SHOWN;
            let mut known = BTreeMap::new();
            for (name, told) in told {
                if let Ok(Ok(remembered)) = timeout_at(deadline, told).await {
                    known.insert(name, remembered);
                }
            }
            known
        })
    }

    /// Every listening socket, and what it is for.
    pub(super) fn open_sockets(&self) -> io::Result<Vec<(SocketUse, Twin)>> {
        let listeners =
            self.pools.values().flat_map(|pool| pool.config.listeners.iter().map(move |listener| (&pool.config, listener)));
        let names: HashMap<_, _> = listeners
            .flat_map(|(pool, listener)| bind::keys(pool, listener).map(|key| (key, inherited::name(&pool.name, &listener.name))))
            .collect();
        let mut sockets = Vec::new();
        for (key, socket) in self.listeners.sockets() {
            let name = names.get(key).cloned().unwrap_or_default();
            sockets.push((name, socket.twin()?));
        }
        for socket in &self.admin {
            sockets.push((inherited::ADMIN.to_owned(), socket.again()?));
        }
        let purpose = |name, socket: &Twin| match socket.owner() {
            FileOwner::Mainstay => SocketUse::Listener(name),
            FileOwner::Other => SocketUse::ListenerOfOther(name),
        };
        Ok(sockets.into_iter().map(|(name, socket)| (purpose(name, &socket), socket)).collect())
    }

    /// Clients, with a session or without one yet.
    pub(super) fn connections(&self) -> usize {
        self.admission.used()
    }

    /// What is still served here.
    pub(super) fn left(&self) -> OlderProcess {
        let pools = self.pools.values().map(|pool| OlderPool {
            name: pool.config.name.to_string(),
            backends: pool
                .config
                .backends
                .iter()
                .zip(&pool.series.backends)
                .map(|(backend, metrics)| (backend.name.to_string(), metrics.connections_active.get()))
                .filter(|(_, sessions)| *sessions > 0)
                .collect(),
        });
        let mut pools: Vec<_> = pools.filter(|pool| !pool.backends.is_empty()).collect();
        pools.sort_by(|a, b| a.name.cmp(&b.name));
        OlderProcess {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            connections: self.connections() as u64,
            pools,
        }
    }

    /// The process that decides says so.
    pub(super) fn follow(&self, pool: &str, lead: Lead) {
        if let Some(pool) = self.pools.get(pool) {
            pool.control.follow(Some(lead));
        }
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
