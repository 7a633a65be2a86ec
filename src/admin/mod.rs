//! The admin plane: status, metrics and health over HTTP.
//!
//! It has its own thread and runtime, so `/livez` and `/metrics` answer even if other threads are stuck. It reads the
//! snapshots that control publishes, and gives orders; it changes nothing itself.
//!
//! | file | what it holds |
//! |---|---|
//! | [`server`] | sockets: accepts, bounds time and size, frees places for new clients |
//! | [`api`] | routing: which request gets which answer |
//! | [`host`] | the host names that are accepted |
//! | [`incidents`] | the JSON of incidents |
//! | [`query`] | the query of a request |
//! | [`response`] | how an answer is written |
//! | [`authority`] | who may order, and every refusal |
//! | [`orders`] | what is ordered of a pool or of the process, and the answer |
//! | [`older`] | what an order means while older processes of an upgrade have sessions |
//! | [`diff`] | what differs between the backends of a pool |
//! | [`operations`] | the JSON of operations |
//! | [`process`] | orders for the whole process: to whoever runs it, and back |
//! | [`rate`] | how often something may happen |
//! | [`connection`] | what the requests of one connection share |
//! | [`health`] | is it live, ready, started, and if not, why |
//! | [`status`] | the JSON of pools and backends |
//! | [`sessions`] | the JSON of sessions |
//! | [`sentence`] | the same in words |
//! | [`events`] | state changes, as a list and as a stream |
//! | [`history`] | the last hour of every pool |
//! | [`gauges`] | gauges that are functions of a snapshot |
//! | [`page`] | the status page |

mod api;
mod authority;
mod connection;
mod diff;
mod events;
mod gauges;
mod health;
pub mod history;
pub(crate) mod host;
mod incidents;
mod older;
mod operations;
mod orders;
mod page;
mod process;
pub(crate) mod query;
mod rate;
mod response;
mod sentence;
mod server;
mod sessions;
mod socket;
mod status;

use std::{fmt, future::Future, io, pin::Pin, sync::Arc, thread::JoinHandle};

pub use authority::{Authority, Denial, OrdersNeed};
pub use process::{ProcessOrder, ProcessOrderReceiver, ProcessOrderSender, ProcessRefusal, ProcessVerb, process_orders};
use tokio::sync::watch;

use crate::{
    config::{ListenerConfig, ListenerRoute},
    incidents::IncidentLog,
    lifecycle::{PhaseWatch, Vital},
    metrics::{BackendMetrics, ListenerMetrics, Metrics, PoolMetrics},
    net::{
        endpoint::Endpoint,
        listener::{BoundListener, Twin},
    },
    route::{Clock, EventLog, GuardLog, OlderLog, OperationLog, OrderSender, SessionTable, Snapshot, SnapshotWatch},
};

/// Settings of the admin plane.
pub struct AdminSettings {
    /// Its listeners.
    pub listen: Vec<BoundListener>,
    /// The same sockets for another process, closed with the others: a client that nobody answers is refused.
    pub twins: Vec<Arc<Twin>>,
    /// Most connections on each of them, at least 4; when all are taken, the oldest one ends.
    pub max_connections: usize,
    /// Without this plane the process must not go on.
    pub vital: Vital,
    /// What else runs on its thread. It must never block.
    pub beside: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// What it shows.
    pub state: AdminState,
}

/// What the admin plane shows.
pub struct AdminState {
    /// Version of mainstay.
    pub version: &'static str,
    /// Who may ask and order.
    pub authority: Authority,
    /// The process's clock.
    pub clock: Clock,
    /// The phase of the process; the admin plane answers until it is `Stopped`.
    pub phase: PhaseWatch,
    /// Whether connections are taken; while not, another process takes them from the same sockets.
    pub answering: watch::Receiver<bool>,
    /// What older processes of an upgrade still serve.
    pub older: Arc<OlderLog>,
    /// The configured pools; replaced when the configuration changes.
    pub view: watch::Receiver<Arc<View>>,
    /// The sessions, one table a worker.
    pub sessions: Vec<Arc<SessionTable>>,
    /// State changes.
    pub events: Arc<EventLog>,
    /// Operations that run, and the last ones.
    pub operations: Arc<OperationLog>,
    /// What is proven of each backend.
    pub guards: Arc<GuardLog>,
    /// The last incidents.
    pub incidents: Arc<IncidentLog>,
    /// The last hour, which the admin plane itself keeps.
    pub history: history::History,
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// Faults of the process itself. Must never ask a database.
    pub health: Arc<dyn Fn() -> HealthProblems + Send + Sync>,
}

/// Faults of a process, each a sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthProblems {
    /// It is not live: a restart would help.
    pub fatal: Vec<String>,
    /// Worth knowing, but a restart would only cut the sessions.
    pub others: Vec<String>,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").field("version", &self.version).field("view", &self.view).finish_non_exhaustive()
    }
}

impl AdminState {
    /// What is configured now.
    fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.borrow())
    }
}

/// What is configured.
#[derive(Debug)]
pub struct View {
    /// The pools, in configuration order.
    pub pools: Vec<AdminPool>,
    /// The effective configuration, without secrets.
    pub config_json: serde_json::Value,
}

impl View {
    fn names(&self) -> Vec<String> {
        self.pools.iter().map(|pool| pool.snapshot.get().pool.to_string()).collect()
    }

    fn pool(&self, name: &str) -> Option<&AdminPool> {
        self.pools.iter().find(|pool| *pool.snapshot.get().pool == *name)
    }
}

/// One pool.
#[derive(Debug)]
pub struct AdminPool {
    /// Takes orders for it.
    pub orders: OrderSender,
    /// Its state.
    pub snapshot: SnapshotWatch,
    /// Its metrics.
    pub metrics: Arc<PoolMetrics>,
    /// Its listeners, in configuration order.
    pub listeners: Vec<AdminListener>,
    /// Its backends' names and metrics, in configuration order.
    pub backends: Vec<(Arc<str>, Arc<BackendMetrics>)>,
}

impl AdminPool {
    /// Where its listeners lead.
    fn routes(&self) -> Vec<ListenerRoute> {
        self.listeners.iter().map(|listener| listener.config.route).collect()
    }

    /// Whether clients may be sent to it now. Those of a paused pool, or in an operation, are to wait here, and are not to be
    /// sent elsewhere.
    fn serves(&self, snapshot: &Snapshot) -> bool {
        let is_active = snapshot.active.is_some() && (snapshot.paused || !snapshot.suspended);
        snapshot.operation.is_some() || is_active || self.has_reader(snapshot)
    }

    /// Whether it has a backend for its clients. A pool with only listeners for readers needs no active one.
    fn has_backend(&self, snapshot: &Snapshot) -> bool {
        snapshot.active.is_some() || self.has_reader(snapshot)
    }

    fn has_reader(&self, snapshot: &Snapshot) -> bool {
        let is_for_reading = self.listeners.iter().all(|listener| listener.config.route != ListenerRoute::Primary);
        is_for_reading && snapshot.backends.iter().any(|backend| backend.read_eligibility.may_be_read())
    }

    /// The metrics of a backend. A snapshot may name one that is not configured any more, or not yet.
    fn backend(&self, name: &str) -> Option<&BackendMetrics> {
        self.backends.iter().find(|(known, _)| **known == *name).map(|(_, metrics)| &**metrics)
    }
}

/// One listener of a pool.
#[derive(Debug)]
pub struct AdminListener {
    /// As configured.
    pub config: ListenerConfig,
    /// Its bound addresses.
    pub bound: Vec<Endpoint>,
    /// Its connection limit, if there is one.
    pub limit: Option<usize>,
    /// Its metrics.
    pub metrics: Arc<ListenerMetrics>,
}

/// Starts the admin plane. Its thread ends when the phase is `Stopped`.
///
/// # Errors
/// When the system refuses a runtime, a listener or a thread.
pub fn spawn(settings: AdminSettings) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let listeners = settings.listen.into_iter().map(server::Listener::new).collect::<io::Result<Vec<_>>>()?;
    drop(entered);
    let state = Arc::new(settings.state);
    let (places, twins) = (settings.max_connections, settings.twins);
    settings.vital.thread("mainstay-admin".to_owned(), move || {
        runtime.spawn(settings.beside);
        runtime.spawn(history::keep(Arc::clone(&state)));
        runtime.block_on(server::serve(listeners, places, state));
        drop(twins);
        // A disk that does not answer must not keep the process.
        runtime.shutdown_background();
    })
}
