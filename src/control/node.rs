//! A backend as the supervisor holds it: what the core does not need.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    prober::{self, ProberEventSender, ProberHandle, ProberKey, ProberSettings},
    reader_slot::ReaderSlot,
    silence::Silence,
};
use crate::{
    config::{BackendConfig, CheckConfig},
    failover::{BackendId, Operation, Outcome, Pool, Time},
    metrics::BackendMetrics,
    net::addresses::Addresses,
    route::{BackendView, Clock, DemandWatch, LastProbe, Places, Revocation, Route, RouteId, Snapshot},
};

/// Probes of which [`Node::slow_probe`] tells.
const MEASURED: usize = 80;

pub(super) struct Node {
    /// Its name and address identify it across a reload.
    pub(super) config: BackendConfig,
    pub(super) metrics: Arc<BackendMetrics>,
    pub(super) places: Arc<Places>,
    pub(super) resolved: Addresses,
    pub(super) last_probe: Option<LastProbe>,
    /// How long the last probes took.
    took: VecDeque<Duration>,
    pub(super) last_seq: u64,
    pub(super) silence: Silence,
    /// Its place among the readers.
    pub(super) slot: ReaderSlot,
    pub(super) prober: ProberHandle,
    pub(super) key: ProberKey,
}

impl Node {
    /// Goes on as configured.
    pub(super) fn configure(&mut self, config: BackendConfig) {
        self.places.resize(config.max_connections);
        self.metrics.connections_limit.set(config.max_connections.map_or(0, |limit| i64::try_from(limit).unwrap_or(i64::MAX)));
        self.config = config;
    }

    /// A new route to it.
    pub(super) fn route(&self, id: RouteId, revocation: Arc<Revocation>) -> Route {
        let (name, places) = (Arc::clone(&self.config.name), Arc::clone(&self.places));
        Route { places, ..Route::new(name, &self.metrics, id, self.resolved.clone(), revocation) }
    }

    /// A probe of it has finished, at `wall` on the wall clock.
    pub(super) fn probed(&mut self, probe: LastProbe, lateness: Duration, wall: SystemTime) {
        let metrics = &self.metrics;
        metrics.probes.get(probe.outcome).inc();
        metrics.probe_duration.observe(probe.took.as_secs_f64());
        metrics.probe_lateness.observe(lateness.as_secs_f64());
        metrics.probe_last_timestamp.set(wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        self.silence.broken(probe.at);
        if probe.outcome == Outcome::Ok {
            self.took.truncate(MEASURED - 1);
            self.took.push_front(probe.took);
        }
        self.last_probe = Some(probe);
    }

    /// How long its slow probes took lately: the 95th percentile. `None` before there were enough.
    pub(super) fn slow_probe(&self) -> Option<Duration> {
        let mut took: Vec<_> = self.took.iter().copied().collect();
        took.sort_unstable();
        took.get(took.len() * 95 / 100).copied().filter(|_| took.len() >= MEASURED / 4)
    }

    /// Its state in the snapshot, from `core`.
    pub(super) fn view(&self, core: &Pool, id: BackendId) -> Option<BackendView> {
        let state = core.backend(id)?;
        Some(BackendView {
            name: Arc::clone(&self.config.name),
            address: self.config.address.to_string().into(),
            resolved: self.resolved.clone(),
            health: state.health(),
            pending: state.is_pending(),
            admin: state.admin,
            reason: core.reason(id),
            read_eligibility: core.read_eligibility(id),
            proof: state.proof,
            proof_what: state.proof_what.clone(),
            facts: state.facts.clone(),
            alert: state.alert,
            alert_evidence: state.alert_evidence.clone(),
            since: state.since,
            last_probe: self.last_probe.clone(),
            silent_since: self.silence.since(),
        })
    }
}

/// The state of a pool, as `core` and its backends tell it at `now`.
pub(super) fn snapshot(nodes: &[Node], core: &Pool, now: Time) -> Snapshot {
    Snapshot {
        epoch: core.epoch(),
        active: core.active(),
        suspended: core.suspended(),
        paused: core.paused_until().is_some(),
        paused_until: core.paused_until(),
        operation: core.operation().map(Operation::kind),
        verdict: core.verdict(),
        conflict: core.conflict(),
        failover_ready: core.failover_ready(now),
        fence: core.fence().0,
        backends: nodes.iter().zip(core.ids()).filter_map(|(node, id)| node.view(core, id)).collect(),
        ..Snapshot::default()
    }
}

/// Makes the probers of a pool.
pub(super) struct Probers {
    pub(super) events: ProberEventSender,
    pub(super) clock: Clock,
    pub(super) check: CheckConfig,
    demand: DemandWatch,
    made: u64,
    /// Of all backends: one that was removed may come back while it still has sessions.
    places: Vec<(BackendConfig, Weak<Places>)>,
}

impl Probers {
    pub(super) const fn new(events: ProberEventSender, clock: Clock, check: CheckConfig, demand: DemandWatch) -> Self {
        Self { events, clock, check, demand, made: 0, places: Vec::new() }
    }

    /// A backend without any result yet; must be called on the control runtime.
    pub(super) fn node(&mut self, config: BackendConfig, metrics: Arc<BackendMetrics>) -> Node {
        let resolved = Addresses::default();
        let (prober, key) = self.spawn(&config, 0, resolved.clone());
        let (slot, silence) = (ReaderSlot::default(), Silence::begin(self.clock.now()));
        let (places, plain) = (self.places(&config), config.clone());
        let mut node = Node {
            config: plain,
            metrics,
            places,
            resolved,
            last_probe: None,
            took: VecDeque::new(),
            last_seq: 0,
            silence,
            slot,
            prober,
            key,
        };
        node.configure(config);
        node
    }

    fn places(&mut self, config: &BackendConfig) -> Arc<Places> {
        self.places.retain(|(_, places)| places.strong_count() > 0);
        let known = self.places.iter().find(|(known, _)| known.is_same(config)).and_then(|(_, places)| places.upgrade());
        known.unwrap_or_else(|| {
            let places = Arc::default();
            self.places.push((config.clone(), Arc::downgrade(&places)));
            places
        })
    }

    /// Probes a backend with the present check from now on.
    pub(super) fn renew(&mut self, node: &mut Node) {
        (node.prober, node.key) = self.spawn(&node.config, node.last_seq, node.resolved.clone());
    }

    fn spawn(&mut self, config: &BackendConfig, last_seq: u64, resolved: Addresses) -> (ProberHandle, ProberKey) {
        let key = ProberKey(self.made);
        self.made += 1;
        let (address, check, demand) = (config.address.clone(), self.check.clone(), self.demand.clone());
        let settings = ProberSettings { key, last_seq, address, resolved, check, demand };
        (prober::spawn(settings, self.events.clone(), self.clock), key)
    }
}
