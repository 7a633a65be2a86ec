//! The data plane: accepts clients, holds them while nobody may serve, dials the active backend, moves bytes.
//!
//! | file | what it does |
//! |---|---|
//! | [`listener`] | the accept loop, which neither dies nor spins |
//! | [`worker`] | one thread with its own runtime; connections stay where they start |
//! | [`connection`] | the life of one connection, from accept to the log line |
//! | [`hold`] | clients that wait because nobody may serve, first come first served |
//! | [`dial`] | connects to the backend of a route and checks that its epoch still stands |
//! | [`greeting`] | the first exchange with a database that may turn out not to serve |
//! | [`relay`] | moves the bytes |
//! | [`close`] | how a socket ends: FIN, or RST after everything was delivered |
//! | [`refuse`] | turning a client away in its own protocol |
//! | [`admission`] | how many connections there may be |
//!
//! Nothing here reads health or waits for control: a connection takes one `Route`, and what it learns goes out as a bounded,
//! lossy report.

pub mod admission;
mod close;
mod connection;
mod dial;
mod greeting;
mod hold;
mod listener;
mod refuse;
pub mod relay;
mod worker;

use std::{
    io,
    net::TcpListener,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use admission::Admission;
use hold::Hold;
pub use refuse::Refusal;
use tokio_util::task::TaskTracker;

use crate::{
    config::{HoldConfig, ListenerConfig},
    lifecycle::Lifeline,
    metrics::{PoolMetrics, ProcessMetrics},
    route::{Clock, ReportSender, RouteWatch, SessionTable},
};

/// What the byte path needs to know of a pool.
#[derive(Debug)]
pub struct PoolSettings {
    /// Index in the configuration.
    pub index: usize,
    /// Its name.
    pub name: Arc<str>,
    /// Names of its backends, for the log.
    pub backends: Vec<Arc<str>>,
    /// Its listeners with their bound sockets.
    pub listeners: Vec<(ListenerConfig, Vec<TcpListener>)>,
    /// Deadline of a dial.
    pub connect_timeout: Duration,
    /// How clients wait.
    pub hold: HoldConfig,
    /// How clients are turned away.
    pub refusal: Refusal,
    /// Where to go.
    pub routes: RouteWatch,
    /// Its metrics.
    pub metrics: Arc<PoolMetrics>,
}

/// What the byte path needs to know of the process.
#[derive(Debug)]
pub struct DataSettings {
    /// Number of threads, at least 1.
    pub workers: usize,
    /// Connections at most.
    pub admission: Arc<Admission>,
    /// Keep accepting for this long after the order to stop.
    pub shutdown_delay: Duration,
    /// The monotonic clock.
    pub clock: Clock,
    /// The life of the process.
    pub lifeline: Lifeline,
    /// Where observations go.
    pub reports: ReportSender,
    /// Process-wide metrics.
    pub process: Arc<crate::metrics::Metrics>,
    /// The pools.
    pub pools: Vec<PoolSettings>,
}

/// The running data plane.
#[derive(Debug)]
pub struct DataPlane {
    /// The live sessions, one table a worker.
    pub sessions: Vec<Arc<SessionTable>>,
    /// Every accept loop and connection; closed and empty when all have ended.
    pub tasks: TaskTracker,
    /// The worker threads.
    pub threads: Vec<std::thread::JoinHandle<()>>,
}

/// A pool on the byte path; shared by its listeners on all workers.
#[derive(Debug)]
struct PoolContext {
    index: usize,
    name: Arc<str>,
    backends: Vec<Arc<str>>,
    connect_timeout: Duration,
    refusal: Refusal,
    routes: RouteWatch,
    hold: Hold,
    metrics: Arc<PoolMetrics>,
    process: Arc<ProcessContext>,
}

/// The process on the byte path.
#[derive(Debug)]
struct ProcessContext {
    admission: Arc<Admission>,
    shutdown_delay: Duration,
    clock: Clock,
    lifeline: Lifeline,
    reports: ReportSender,
    metrics: Arc<crate::metrics::Metrics>,
    /// Number of the next connection.
    next_id: AtomicU64,
}

impl ProcessContext {
    fn process_metrics(&self) -> &ProcessMetrics {
        &self.metrics.process
    }
}

/// Starts the workers and the accept loops.
///
/// # Errors
/// When a thread or a runtime cannot be made, or a listening socket cannot be watched.
pub fn spawn(settings: DataSettings) -> io::Result<DataPlane> {
    let tasks = TaskTracker::new();
    let process = Arc::new(ProcessContext {
        admission: settings.admission,
        shutdown_delay: settings.shutdown_delay,
        clock: settings.clock,
        lifeline: settings.lifeline.clone(),
        reports: settings.reports,
        metrics: settings.process,
        next_id: AtomicU64::new(1),
    });
    let mut acceptors = Vec::new();
    let mut holds = Vec::new();
    for pool in settings.pools {
        let context = Arc::new(PoolContext {
            index: pool.index,
            name: pool.name,
            backends: pool.backends,
            connect_timeout: pool.connect_timeout,
            refusal: pool.refusal,
            routes: pool.routes,
            hold: Hold::new(pool.hold),
            metrics: pool.metrics,
            process: Arc::clone(&process),
        });
        for (index, (config, sockets)) in pool.listeners.into_iter().enumerate() {
            let listener = Arc::new(listener::ListenerContext::new(Arc::clone(&context), index, &config));
            acceptors.extend(sockets.into_iter().map(|socket| (Arc::clone(&listener), socket)));
        }
        holds.push(context);
    }
    worker::spawn(settings.workers, &settings.lifeline, &tasks, acceptors, holds)
}
