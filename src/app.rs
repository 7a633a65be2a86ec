//! The composition root: the only file that sees all planes. It binds every socket, then starts the threads, so that a
//! mainstay that cannot serve never begins to.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{runtime, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admin::{self, AdminListener, AdminPool, AdminSettings, AdminState, BoundListener},
    config::{AdminListen, CheckKind, Config, PoolConfig},
    control::{self, ControlSettings, heartbeat::Heartbeat},
    data::{
        self, DataSettings, Refusal,
        admission::{Admission, Budget},
    },
    lifecycle::{Deadlines, Phase, PhaseSender, PhaseWatch, Vital, phase},
    metrics::{Metrics, PoolLabels},
    net::socket::{LegOptions, listen},
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
    let (phase_sender, phase_watch) = phase();
    let forced = CancellationToken::new();
    let vital = Vital::default();
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
        phase: phase_watch.clone(),
        forced: forced.clone(),
        vital: vital.clone(),
        reports: report_sender,
        process: Arc::clone(metrics),
        pools: data_pools(config, sockets, routes, metrics),
    })
    .map_err(|error| StartError(format!("the data threads cannot be started: {error}")))?;
    let control = control::spawn(ControlSettings {
        clock,
        phase: phase_watch.clone(),
        forced: forced.clone(),
        vital: vital.clone(),
        reports: report_receiver,
        events: Arc::clone(&events),
        state_dir: config.state_dir.clone(),
        heartbeat: heartbeat.clone(),
        pools: control_pools(config, publishers, metrics),
    })
    .map_err(|error| StartError(format!("the control thread cannot be started: {error}")))?;
    let admin_pools = config.pools.iter().enumerate().map(|(index, pool)| AdminPool {
        snapshot: snapshots[index].clone(),
        metrics: Arc::clone(&metrics.pools[index]),
        listeners: admin_listeners(pool, &listeners[index], budget.connections),
    });
    let health = health(&vital, &heartbeat, clock);
    let admin = admin::spawn(AdminSettings {
        listen: admin_sockets,
        //max_connections: budget.admin,
        state: AdminState {
            version: env!("CARGO_PKG_VERSION"),
            clock,
            phase: phase_watch.clone(),
            pools: admin_pools.collect(),
            sessions: data.sessions,
            events: Arc::clone(&events),
            metrics: Arc::clone(metrics),
            config_json: serde_json::Value::Null,
            health,
        },
    })
    .map_err(|error| StartError(format!("the admin thread cannot be started: {error}")))?;

    let (stops, stop_watch) = watch::channel(0);
    let life = Life {
        deadlines: config.shutdown,
        phase: phase_sender,
        watch: phase_watch,
        forced,
        vital,
        tasks: data.tasks,
        metrics: Arc::clone(metrics),
        threads: data.threads.into_iter().chain([control, admin]).collect(),
        sockets: config.admin.listen.clone(),
    };
    let life = std::thread::Builder::new()
        .name("mainstay-life".to_owned())
        .spawn(move || life.run(stop_watch))
        .map_err(|error| StartError(format!("the life thread cannot be started: {error}")))?;
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

/// Leads the process through its phases.
struct Life {
    deadlines: Deadlines,
    phase: PhaseSender,
    watch: PhaseWatch,
    forced: CancellationToken,
    vital: Vital,
    tasks: TaskTracker,
    metrics: Arc<Metrics>,
    threads: Vec<JoinHandle<()>>,
    sockets: Vec<AdminListen>,
}

impl Life {
    fn run(self, stops: watch::Receiver<u32>) -> u8 {
        let cut = match runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.lead(stops)),
            Err(error) => {
                tracing::error!(%error, "the life thread has no runtime: stopping");
                true
            }
        };
        let lost = self.vital.is_lost();
        self.phase.advance(Phase::Stopped);
        for thread in self.threads {
            // A thread that panicked is already told of.
            let _ = thread.join();
        }
        for socket in self.sockets {
            if let AdminListen::Unix(path) = socket {
                let _ = std::fs::remove_file(path);
            }
        }
        tracing::info!("stopped");
        u8::from(lost || cut)
    }

    /// Until nothing is left to do; `true` when sessions were cut.
    async fn lead(&self, mut stops: watch::Receiver<u32>) -> bool {
        tokio::select! {
            _ = stops.wait_for(|count| *count >= 1) => {}
            () = self.vital.lost() => tracing::error!("a vital part of mainstay failed: stopping at once"),
        }
        self.phase.advance(Phase::Draining);
        let open = self.sessions();
        let Deadlines { delay, timeout } = self.deadlines;
        tracing::info!(sessions = open, delay = ?delay, timeout = ?timeout, "draining: no longer ready; send the signal again to stop at once");
        let patience = tokio::time::sleep(delay + timeout);
        tokio::select! {
            () = self.tasks.wait() => return false,
            () = patience => {}
            _ = stops.wait_for(|count| *count >= 2) => {}
            () = self.vital.lost() => {}
        }
        let cut = self.sessions();
        tracing::warn!(sessions = cut, "the time to finish is over: what is left is cut");
        self.phase.advance(Phase::Forced);
        self.forced.cancel();
        // Long enough for a last look at what the backends said; a client that takes nothing does not stop the stop.
        let _ = tokio::time::timeout(Duration::from_millis(400), self.tasks.wait()).await;
        self.tasks.close();
        cut > 0
    }

    fn sessions(&self) -> i64 {
        self.metrics.pools.iter().flat_map(|pool| &pool.backends).map(|backend| backend.connections_active.get()).sum()
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

/// Sockets per listener.
fn bind_pool(pool: &PoolConfig) -> Result<Vec<Vec<TcpListener>>, StartError> {
    let bind_listener = |listener: &crate::config::ListenerConfig| {
        let legs = LegOptions { keepalive: listener.keepalive, user_timeout: listener.tcp_user_timeout };
        listener
            .listen
            .iter()
            .map(|address| {
                listen(*address, &legs)
                    .map_err(|error| bind_error(&format!("pool {}, listener {}", pool.name, listener.name), address, &error))
            })
            .collect()
    };
    pool.listeners.iter().map(bind_listener).collect()
}

fn bind_admin(config: &Config) -> Result<(Vec<BoundListener>, Vec<SocketAddr>), StartError> {
    let mut sockets = Vec::new();
    let mut bound = Vec::new();
    for address in &config.admin.listen {
        match address {
            AdminListen::Tcp(address) => {
                let socket = listen(*address, &LegOptions::default())
                    .map_err(|error| bind_error("the admin endpoint", address, &error))?;
                bound.extend(socket.local_addr().ok());
                sockets.push(BoundListener::Tcp(socket));
            }
            AdminListen::Unix(path) => {
                let socket = bind_unix(path).map_err(|error| bind_error("the admin endpoint", &path.display(), &error))?;
                sockets.push(BoundListener::Unix(socket));
            }
        }
    }
    Ok((sockets, bound))
}

/// Binds a unix socket that only its own user may use. A socket file that nobody answers on is a leftover and is replaced.
fn bind_unix(path: &std::path::Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    if std::os::unix::net::UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        std::fs::remove_file(path)?;
    }
    let socket = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn bind_error(what: &str, address: &dyn fmt::Display, error: &io::Error) -> StartError {
    let help = match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there; find it with: ss -ltnp",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address",
        io::ErrorKind::PermissionDenied => "a port below 1024 needs CAP_NET_BIND_SERVICE",
        _ => "check the address",
    };
    StartError(format!("{what} cannot listen on {address}: {error}; {help}"))
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
