//! The data plane: accepts clients, holds them while nobody may serve, dials the active backend, moves bytes.
//!
//! | file | what it does |
//! |---|---|
//! | [`listener`] | the accept loop, which neither dies nor spins |
//! | [`doors`] | who is let in there |
//! | [`crowd`] | how many connections each client address has |
//! | [`proxied`] | clients that a proxy in front speaks for |
//! | [`worker`] | one thread with its own event loop; connections stay where they start |
//! | [`event_loop`] | one epoll, and the tasks that wait for it |
//! | [`order`] | the order in which one client's connections begin |
//! | [`connection`] | the life of one connection |
//! | [`books`] | what is kept of a session, from its start to its log line |
//! | [`lane`] | the way of clients whose listener leads to readers |
//! | [`hold`] | clients that wait because nobody may serve, first come first served |
//! | [`dial`] | connects to the backend of a route and checks that its epoch still stands |
//! | [`greeting`] | the first exchange with a database that may turn out not to serve |
//! | [`relay`] | moves the bytes |
//! | [`close`] | how a socket ends: FIN, or RST after everything was delivered |
//! | [`protocol`] | what the clients of a pool speak |
//! | [`refuse`] | turning a client away in its own protocol |
//! | [`admission`] | how many connections there may be |
//!
//! Nothing here reads health or waits for control: a connection takes one `Route`, and what it learns goes out as a bounded,
//! lossy report.

pub mod admission;
mod books;
mod close;
mod connection;
mod crowd;
mod dial;
mod doors;
pub mod event_loop;
pub(crate) mod greeting;
mod hold;
mod lane;
mod listener;
mod order;
mod protocol;
mod proxied;
mod refuse;
pub mod relay;
mod worker;

use std::{
    collections::HashMap,
    io,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use admission::Admission;
use crowd::Crowd;
use dial::Descriptors;
use hold::{Door, Hold};
use lane::{Goal, Lane};
use listener::{AcceptLoop, ListenerContext};
pub use protocol::Protocol;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use worker::{Crew, Manner};

use crate::{
    config::{HoldConfig, ListenerConfig},
    lifecycle::Lifeline,
    metrics::{ListenerMetrics, PoolMetrics, ProcessMetrics},
    net::{endpoint::Endpoint, listener::BoundListener},
    route::{Clock, ReportSender, RouteWatch, SessionTable},
};

/// What the byte path needs to know of a pool.
#[derive(Debug)]
pub struct PoolSettings {
    /// Its name.
    pub name: Arc<str>,
    /// Its listeners.
    pub listeners: Vec<ListenerSettings>,
    /// Deadline of a dial.
    pub connect_timeout: Duration,
    /// How clients wait.
    pub hold: HoldConfig,
    /// What its clients speak.
    pub protocol: Protocol,
    /// Where to go.
    pub routes: RouteWatch,
    /// Where observations go.
    pub reporter: ReportSender,
    /// Its metrics.
    pub metrics: Arc<PoolMetrics>,
    /// Cancelled when the pool takes no more clients; those that are held are turned away.
    pub retired: CancellationToken,
}

/// What the byte path needs to know of a listener.
#[derive(Debug)]
pub struct ListenerSettings {
    /// As configured.
    pub config: ListenerConfig,
    /// Its metrics.
    pub metrics: Arc<ListenerMetrics>,
    /// Its sockets: a bound one for each that the byte path does not have yet.
    pub sockets: Vec<(SocketKey, Option<BoundListener>)>,
}

/// A listening socket, as it is found again when the configuration changes: by where it is, or, when the kernel chose the port,
/// by whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SocketKey {
    /// As configured.
    pub endpoint: Endpoint,
    /// Pool and listener, when the configured port is 0.
    pub owner: Option<(Arc<str>, Arc<str>)>,
}

/// What the byte path needs to know of the process.
#[derive(Debug)]
pub struct DataSettings {
    /// Number of threads, at least 1.
    pub workers: usize,
    /// How long a worker stays awake after its sessions moved bytes; `None` not at all.
    pub busy_poll: Option<Duration>,
    /// Pipes of each worker at most.
    pub pipes: usize,
    /// Connections at most.
    pub admission: Arc<Admission>,
    /// Keep accepting for this long after the order to stop.
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
    /// Every accept loop and connection; to be closed when the first are there, and empty when all have ended.
    pub tasks: TaskTracker,
    /// Changes what is accepted, and for whom.
    pub reception: Reception,
    /// The worker threads.
    pub threads: Vec<std::thread::JoinHandle<()>>,
}

/// A pool on the byte path; shared by its listeners on all workers. It never changes: a changed configuration makes another one,
/// for the connections that come then.
#[derive(Debug)]
struct PoolContext {
    name: Arc<str>,
    connect_timeout: Duration,
    hold_config: HoldConfig,
    protocol: Protocol,
    routes: RouteWatch,
    reporter: ReportSender,
    /// The waiting room of those who want the primary. It outlives a change of the configuration.
    hold: Arc<Hold>,
    metrics: Arc<PoolMetrics>,
    process: Arc<ProcessContext>,
    retired: CancellationToken,
}

/// The process on the byte path.
#[derive(Debug)]
struct ProcessContext {
    admission: Arc<Admission>,
    shutdown_delay: Duration,
    clock: Clock,
    lifeline: Lifeline,
    metrics: Arc<crate::metrics::Metrics>,
    descriptors: Descriptors,
    /// Number of the next connection.
    next_id: AtomicU64,
}

impl ProcessContext {
    fn process_metrics(&self) -> &ProcessMetrics {
        &self.metrics.process
    }
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
    let (crew, sessions, threads) = worker::spawn(
        Manner { count: settings.workers, pipes: settings.pipes, busy_poll: settings.busy_poll },
        &process,
        &tasks,
    )?;
    let reception = Reception { crew, process, sockets: HashMap::new(), rooms: HashMap::new(), counts: HashMap::new() };
    Ok(DataPlane { sessions, tasks, reception, threads })
}

/// Who is accepted where, and for which pool; changed while clients come.
#[derive(Debug)]
pub struct Reception {
    crew: Crew,
    process: Arc<ProcessContext>,
    sockets: HashMap<SocketKey, AcceptLoop>,
    rooms: HashMap<Arc<str>, Rooms>,
    /// By pool and listener.
    counts: HashMap<(Arc<str>, Arc<str>), Counts>,
}

/// The clients of a listener, counted. They outlive a change of the configuration.
#[derive(Clone, Debug)]
struct Counts {
    /// All that are served or wait for it.
    guests: Arc<Admission>,
    /// By address, where that is limited.
    crowd: Arc<Crowd>,
}

/// The waiting rooms of a pool. A client that waits for a reader never stands before one that waits for the primary, nor behind it.
/// They stay open for as long as the pool is configured.
#[derive(Debug)]
struct Rooms {
    /// For the primary.
    active: Arc<Hold>,
    /// For readers: one a goal that a listener has, or had.
    readers: HashMap<Goal, Arc<Hold>>,
}

impl Reception {
    /// From now on these pools, and no others. A socket that stays goes on accepting without a gap; one that goes takes in those
    /// who had connected before it closes. Sessions keep the settings they began with.
    pub fn apply(&mut self, pools: Vec<PoolSettings>) {
        let mut rooms = HashMap::new();
        let mut counts = HashMap::new();
        let mut sockets = HashMap::new();
        for pool in pools {
            let own = self.rooms_of(&pool);
            let context = Arc::new(PoolContext {
                name: pool.name,
                connect_timeout: pool.connect_timeout,
                hold_config: pool.hold,
                protocol: pool.protocol,
                routes: pool.routes,
                reporter: pool.reporter,
                hold: Arc::clone(&own.active),
                metrics: pool.metrics,
                process: Arc::clone(&self.process),
                retired: pool.retired,
            });
            for listener in pool.listeners {
                let ListenerSettings { config, metrics, sockets: keys } = listener;
                let name = (Arc::clone(&context.name), Arc::clone(&config.name));
                let own_counts = self.counts.remove(&name).unwrap_or_else(|| self.nobody_yet());
                own_counts.guests.resize(config.max_connections.unwrap_or(usize::MAX));
                counts.insert(name, own_counts.clone());
                let room = |goal| own.readers.get(&goal).cloned().unwrap_or_default();
                let lane = Goal::of(&config).map(|goal| Lane::new(goal, config.balance, room(goal)));
                let listener = Arc::new(ListenerContext::new(Arc::clone(&context), &config, lane, metrics, own_counts));
                for (key, new) in keys {
                    if let Some(accepting) = self.receive(&key, new, &listener) {
                        sockets.insert(key, accepting);
                    }
                }
            }
            rooms.insert(Arc::clone(&context.name), own);
        }
        // What is left of the old ones ends with its handle.
        (self.rooms, self.counts, self.sockets) = (rooms, counts, sockets);
    }

    fn nobody_yet(&self) -> Counts {
        Counts { guests: Arc::new(Admission::of(Arc::clone(&self.process.admission), usize::MAX)), crowd: Arc::default() }
    }

    fn receive(&mut self, key: &SocketKey, new: Option<BoundListener>, listener: &Arc<ListenerContext>) -> Option<AcceptLoop> {
        match new {
            Some(socket) => Some(self.crew.accept(Arc::clone(listener), socket)),
            None => self.sockets.remove(key).inspect(|accepting| accepting.serve(Arc::clone(listener))),
        }
    }

    /// The rooms of a pool; those that are not open yet are opened.
    fn rooms_of(&mut self, pool: &PoolSettings) -> Rooms {
        let open = |door| {
            let room = Arc::new(Hold::default());
            self.crew.release(Arc::clone(&room), door, pool.retired.clone());
            room
        };
        let own = self.rooms.remove(&pool.name);
        let mut own = own.unwrap_or_else(|| Rooms { active: open(Door::Active(pool.routes.clone())), readers: HashMap::new() });
        for goal in pool.listeners.iter().filter_map(|listener| Goal::of(&listener.config)) {
            own.readers.entry(goal).or_insert_with(|| open(Door::Reader(pool.routes.clone(), goal)));
        }
        own
    }
}
