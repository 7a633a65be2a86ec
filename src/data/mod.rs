//! The data plane: accepts clients, holds them while no backend may serve, dials the active backend, relays bytes.
//!
//! | file | what it does |
//! |---|---|
//! | [`manager`] | who is accepted where, and for which pool |
//! | [`listener`] | the accept loop |
//! | [`worker`] | threads with their own event loop; connections stay where they start |
//! | [`identify`] | identifies a client and checks whether it is admitted |
//! | [`connection`] | the life of one connection |
//! | [`establish`] | finds a backend: chooses, waits, dials, greets, tries the next |
//! | [`hold`] | clients that wait because no backend may serve, first come first served |
//! | [`dial`] | connects to the backend of a route and checks that its epoch still stands |
//! | [`greeting`] | the first exchange with a database that may turn out not to serve |
//! | [`relay`] | relays the bytes |
//! | [`session`] | the record of a session, from its start to its log line |
//! | [`close`] | how a socket ends: FIN, or RST after everything was delivered |
//! | [`refusal`] | rejects a client in its own protocol |
//! | [`cancel`] | a request to cancel a query, where clients are spread over backends |
//!
//! They are built on these, which import none of them:
//!
//! | file | what it holds |
//! |---|---|
//! | [`context`] | what connections share: process, worker, pool, listener |
//! | [`client`] | a client without a session |
//! | [`access`] | the access rules of a listener |
//! | [`admission`] | how many connections there may be |
//! | [`per_ip`] | how many connections each client address has |
//! | [`order`] | the order in which one client's connections begin |
//! | [`target`] | which backends a listener's clients may use |
//! | [`balancer`] | chooses a reader |
//! | [`descriptors`] | new descriptors, which a listener without any can withhold |
//! | [`event_loop`] | one epoll, and the tasks that wait for it |
//!
//! Nothing here reads health or waits for control: a connection takes one `Route`, and what it learns goes out as a bounded, lossy
//! report.

mod access;
pub mod admission;
mod balancer;
mod cancel;
mod client;
mod close;
mod connection;
mod context;
mod descriptors;
mod dial;
mod establish;
pub mod event_loop;
pub(crate) mod greeting;
mod hold;
mod identify;
mod listener;
mod manager;
mod order;
mod per_ip;
mod refusal;
pub mod relay;
mod session;
mod target;
mod worker;

use std::{
    io,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use admission::Admission;
use context::ProcessContext;
use descriptors::Descriptors;
pub use manager::{ListenerManager, ListenerSettings, PoolSettings, SocketKey};
use tokio_util::task::TaskTracker;

use crate::{
    lifecycle::Lifeline,
    route::{Clock, SessionTable},
};

/// What the byte path needs to know of the process.
#[derive(Debug)]
pub struct DataSettings {
    /// Number of threads, at least 1.
    pub workers: usize,
    /// How long a worker polls after its sessions moved bytes; `None` not at all.
    pub busy_poll: Option<Duration>,
    /// Pipes of each worker at most.
    pub pipes: usize,
    /// Connections at most.
    pub admission: Arc<Admission>,
    /// Accept for this long after the order to stop.
    pub shutdown_delay: Duration,
    /// The monotonic clock.
    pub clock: Clock,
    /// The life of the process.
    pub lifeline: Lifeline,
    /// Process-wide metrics.
    pub process: Arc<crate::metrics::Metrics>,
}

/// The running data plane.
#[derive(Debug)]
pub struct DataPlane {
    /// The live sessions, one table a worker.
    pub sessions: Vec<Arc<SessionTable>>,
    /// Every accept loop and connection; closed when the first exist, and empty when all have ended.
    pub tasks: TaskTracker,
    /// Changes what is accepted.
    pub listeners: ListenerManager,
    /// The worker threads.
    pub threads: Vec<std::thread::JoinHandle<()>>,
}

/// Starts the workers, which accept nobody yet.
///
/// # Errors
/// When a thread or an event loop cannot be made.
pub fn spawn(settings: DataSettings) -> io::Result<DataPlane> {
    let tasks = TaskTracker::new();
    let process = Arc::new(ProcessContext {
        admission: settings.admission,
        shutdown_delay: settings.shutdown_delay,
        clock: settings.clock,
        lifeline: settings.lifeline.clone(),
        metrics: settings.process,
        descriptors: Descriptors::default(),
        next_id: AtomicU64::new(1),
    });
    let (workers, sessions, threads) = worker::spawn(settings.workers, settings.pipes, settings.busy_poll, &process, &tasks)?;
    Ok(DataPlane { sessions, tasks, listeners: ListenerManager::new(workers, process), threads })
}
