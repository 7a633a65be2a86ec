//! The admin plane: what people, scrapers and Kubernetes ask mainstay, answered over HTTP.
//!
//! It has its own thread and runtime, so that `/livez` and `/metrics` answer whatever else is stuck, and it only reads: it
//! looks at the snapshots that control publishes and changes nothing.
//!
//! | file | what it holds |
//! |---|---|
//! | [`server`] | sockets: accepts, bounds time and size, makes room for the next client |
//! | [`api`] | paths: which request gets which answer |
//! | [`host`] | by which names it may be asked |
//! | [`query`] | what may stand behind the `?` |
//! | [`response`] | how an answer is written |
//! | [`health`] | is it live, ready, started, and if not, why |
//! | [`status`] | the JSON of pools, backends and sessions |
//! | [`sentence`] | the same in words |
//! | [`events`] | state changes, as a list and as a stream |
//! | [`gauges`] | gauges that are functions of a snapshot |
//! | [`page`] | the status page |
//! | [`rfc3339`] | moments as text |

mod api;
mod events;
mod gauges;
mod health;
pub(crate) mod host;
mod page;
pub(crate) mod query;
mod response;
mod rfc3339;
mod sentence;
mod server;
mod socket;
mod status;

use std::{fmt, io, sync::Arc, thread::JoinHandle};

use tokio::sync::watch;

use crate::{
    config::{ListenerConfig, ListenerRoute},
    lifecycle::{PhaseWatch, Vital},
    metrics::{BackendMetrics, ListenerMetrics, Metrics, PoolMetrics},
    net::{endpoint::Endpoint, listener::BoundListener},
    route::{Clock, EventLog, SessionTable, Snapshot, SnapshotWatch},
};

/// What the admin plane needs.
pub struct AdminSettings {
    /// Where it answers.
    pub listen: Vec<BoundListener>,
    /// Connections at most on each of them, at least 4; when all are taken, the oldest ends.
    pub max_connections: usize,
    /// Without this plane the process must not go on.
    pub vital: Vital,
    /// What it shows.
    pub state: AdminState,
}

/// What the admin plane shows.
pub struct AdminState {
    /// Version of mainstay.
    pub version: &'static str,
    /// Names by which it may be asked, besides addresses and localhost.
    pub hosts: Vec<Arc<str>>,
    /// The process's clock.
    pub clock: Clock,
    /// The phase of life; the admin plane answers until it is `Stopped`.
    pub phase: PhaseWatch,
    /// What is configured; replaced whole when that changes.
    pub view: watch::Receiver<Arc<View>>,
    /// The sessions, one table a worker.
    pub sessions: Vec<Arc<SessionTable>>,
    /// State changes.
    pub events: Arc<EventLog>,
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// What keeps the process itself from its work. Must never ask a database.
    pub health: Arc<dyn Fn() -> HealthProblems + Send + Sync>,
}

/// What keeps a process from its work, each a sentence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthProblems {
    /// It is not live: a restart would help.
    pub fatal: Vec<String>,
    /// Somebody should know, but a restart would only cut the sessions.
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

/// One pool, as the admin plane sees it.
#[derive(Debug)]
pub struct AdminPool {
    /// How it stands.
    pub snapshot: SnapshotWatch,
    /// Its numbers.
    pub metrics: Arc<PoolMetrics>,
    /// Its listeners, in configuration order.
    pub listeners: Vec<AdminListener>,
    /// Its backends' names and numbers, in configuration order.
    pub backends: Vec<(Arc<str>, Arc<BackendMetrics>)>,
}

impl AdminPool {
    /// Where its listeners lead.
    fn routes(&self) -> Vec<ListenerRoute> {
        self.listeners.iter().map(|listener| listener.config.route).collect()
    }

    /// Clients are served now. A pool that is there to be read needs no active backend.
    fn serves(&self, snapshot: &Snapshot) -> bool {
        let is_active = snapshot.active.is_some() && !snapshot.suspended;
        let is_for_reading = self.listeners.iter().all(|listener| listener.config.route != ListenerRoute::Primary);
        is_active || (is_for_reading && snapshot.backends.iter().any(|backend| backend.read_eligibility.may_be_read()))
    }

    /// The numbers of a backend. A snapshot may name one that is not configured any more, or not yet.
    fn backend(&self, name: &str) -> Option<&BackendMetrics> {
        self.backends.iter().find(|(known, _)| **known == *name).map(|(_, metrics)| &**metrics)
    }
}

/// One listener of a pool.
#[derive(Debug)]
pub struct AdminListener {
    /// As configured.
    pub config: ListenerConfig,
    /// Where it is bound.
    pub bound: Vec<Endpoint>,
    /// Connections at most, if there is a limit.
    pub limit: Option<usize>,
    /// Its numbers.
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
    let places = settings.max_connections;
    settings.vital.thread("mainstay-admin".to_owned(), move || runtime.block_on(server::serve(listeners, places, state)))
}
