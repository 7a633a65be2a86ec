//! Which listeners accept for which pool; changes while clients come.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    admission::Admission,
    context::{Counts, ListenerContext, PoolContext, ProcessContext},
    hold::Hold,
    listener::AcceptLoop,
    target::{HoldGate, ReadTarget},
    worker::WorkerPool,
};
use crate::{
    config::{HoldConfig, ListenerConfig},
    metrics::{ListenerMetrics, PoolMetrics},
    net::{endpoint::Endpoint, listener::BoundListener},
    route::{ReportSender, RouteWatch},
    wire::Protocol,
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
    /// The protocol of its clients.
    pub protocol: Protocol,
    /// The byte path's view of its routes.
    pub routes: RouteWatch,
    /// Where reports go.
    pub reporter: ReportSender,
    /// Its metrics.
    pub metrics: Arc<PoolMetrics>,
    /// Cancelled when the pool takes no more clients; held clients are rejected.
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

/// Identifies a listening socket across a change of the configuration: by its address, or by its owner when the kernel chose the
/// port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SocketKey {
    /// As configured.
    pub endpoint: Endpoint,
    /// Pool and listener, if the configured port is 0.
    pub owner: Option<(Arc<str>, Arc<str>)>,
}

/// Which listeners accept for which pool; changes while clients come.
#[derive(Debug)]
pub struct ListenerManager {
    workers: WorkerPool,
    process: Arc<ProcessContext>,
    sockets: HashMap<SocketKey, AcceptLoop>,
    holds: HashMap<Arc<str>, Holds>,
    /// By pool and listener.
    counts: HashMap<(Arc<str>, Arc<str>), Counts>,
    /// Whether new sockets accept at once.
    accepts: bool,
}

/// The hold queues of a pool. A client that waits for a reader neither delays one that waits for the primary, nor is delayed by it.
/// They exist for as long as the pool is configured.
#[derive(Debug)]
struct Holds {
    /// For the primary.
    active: Arc<Hold>,
    /// For readers: one for each target that a listener has, or had.
    readers: HashMap<ReadTarget, Arc<Hold>>,
}

impl ListenerManager {
    /// Has no listener yet.
    pub(super) fn new(workers: WorkerPool, process: Arc<ProcessContext>) -> Self {
        Self { workers, process, sockets: HashMap::new(), holds: HashMap::new(), counts: HashMap::new(), accepts: true }
    }

    /// Accepts from now on, or leaves the clients of every socket, which stays open, to another process.
    pub fn accept(&mut self, accepts: bool) {
        self.accepts = accepts;
        self.sockets.values().for_each(|accepting| accepting.accept(accepts));
    }

    /// The files of unix sockets are another process's from now on, or this one's again.
    pub fn leave_files(&self, leave: bool) {
        self.sockets().for_each(|(_, socket)| socket.leave_file(leave));
    }

    /// The open sockets.
    pub fn sockets(&self) -> impl Iterator<Item = (&SocketKey, Arc<BoundListener>)> {
        self.sockets.iter().filter_map(|(key, accepting)| Some((key, accepting.socket()?)))
    }

    /// Switches to these pools. A socket that stays accepts without a gap; one that is removed first accepts clients that have
    /// already connected. Sessions keep the settings they began with.
    pub fn apply(&mut self, pools: Vec<PoolSettings>) {
        let mut holds = HashMap::new();
        let mut counts = HashMap::new();
        let mut sockets = HashMap::new();
        for pool in pools {
            let own = self.holds_of(&pool);
            let context = Arc::new(PoolContext {
                name: pool.name,
                connect_timeout: pool.connect_timeout,
                hold_config: pool.hold,
                protocol: pool.protocol,
                routes: pool.routes,
                reporter: pool.reporter,
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
                let hold = match ReadTarget::of(&config) {
                    None => Arc::clone(&own.active),
                    Some(target) => own.readers.get(&target).cloned().unwrap_or_default(),
                };
                let listener = Arc::new(ListenerContext::new(Arc::clone(&context), &config, hold, metrics, own_counts));
                for (key, new) in keys {
                    if let Some(accepting) = self.receive(&key, new, &listener) {
                        sockets.insert(key, accepting);
                    }
                }
            }
            holds.insert(Arc::clone(&context.name), own);
        }
        // Removed sockets end with their handles.
        (self.holds, self.counts, self.sockets) = (holds, counts, sockets);
    }

    fn nobody_yet(&self) -> Counts {
        Counts { guests: Arc::new(Admission::of(Arc::clone(&self.process.admission), usize::MAX)), per_ip: Arc::default() }
    }

    fn receive(&mut self, key: &SocketKey, new: Option<BoundListener>, listener: &Arc<ListenerContext>) -> Option<AcceptLoop> {
        match new {
            Some(socket) => Some(AcceptLoop::start(&self.workers, Arc::clone(listener), socket, self.accepts)),
            None => self.sockets.remove(key).inspect(|accepting| accepting.serve(Arc::clone(listener))),
        }
    }

    /// The holds of a pool; missing ones are created.
    fn holds_of(&mut self, pool: &PoolSettings) -> Holds {
        let open = |gate| {
            let hold = Arc::new(Hold::among(self.workers.count(), pool.metrics.held.clone()));
            self.workers.release(Arc::clone(&hold), gate, pool.retired.clone());
            hold
        };
        let own = self.holds.remove(&pool.name);
        let mut own =
            own.unwrap_or_else(|| Holds { active: open(HoldGate::Active(pool.routes.clone())), readers: HashMap::new() });
        for target in pool.listeners.iter().filter_map(|listener| ReadTarget::of(&listener.config)) {
            own.readers.entry(target).or_insert_with(|| open(HoldGate::Reader(pool.routes.clone(), target)));
        }
        own
    }
}
