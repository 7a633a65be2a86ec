//! The owner of a pool's state. It takes every event, asks the core, carries out the effects in order, and publishes what changed.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    effects::{Action, RouteChange, RoutePublisher},
    memory::Memory,
    node::{Node, Probers},
    notes::Teller,
    prober::{ProberEvent, ProberKey},
    readers::{self, Readers},
    settings::{Change, ControlSettings, PoolSettings, max_staleness},
};
use crate::{
    config::{BackendConfig, PoolConfig},
    failover::{
        self, BackendId, BackendState, Cause, Class, Configuration, Effect, Epoch, Event, Pool, Printable, ReadEligibility,
        Report, RevokeMode, Time,
    },
    metrics::{Metrics, PoolSeries},
    route::{Clock, LastProbe, PassiveReport, ReportReceiver, Route, RouteId, Snapshot},
};

/// Interval for values that change with time alone: outage seconds, readiness.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

pub(super) struct Supervisor {
    config: PoolConfig,
    clock: Clock,
    core: Pool,
    routes: RoutePublisher,
    teller: Teller,
    nodes: Vec<Node>,
    readers: Readers,
    process: Arc<Metrics>,
    probers: Probers,
    prober_events: mpsc::Receiver<(ProberKey, ProberEvent)>,
    reports: ReportReceiver,
    memory: Memory,
    outage_accounted: Time,
    retired: CancellationToken,
    grace: Duration,
}

impl Supervisor {
    /// Starts the probers of a pool after reading the state of an earlier process; must be called on the control runtime.
    pub(super) async fn new(pool: PoolSettings, settings: &ControlSettings) -> Self {
        let PoolSettings { config, publisher, reports, series: PoolSeries { pool: metrics, backends, .. }, retired } = pool;
        let clock = settings.clock;
        let memory = Memory::begin(settings.state.as_ref().map(|state| state.file(&config.name))).await;
        let now = clock.now();
        let count = u16::try_from(config.backends.len()).unwrap_or(u16::MAX);
        let mut core = Pool::new(config.policy.clone(), count, now);
        memory.restore(&mut core, &config.backends);
        let (sender, prober_events) = mpsc::channel(256);
        let mut probers = Probers::new(sender, clock, config.check.clone(), publisher.demand());
        let nodes = config.backends.iter().zip(backends).map(|(backend, metrics)| probers.node(backend.clone(), metrics));
        Self {
            nodes: nodes.collect(),
            readers: Readers::default(),
            probers,
            prober_events,
            reports,
            routes: RoutePublisher::new(publisher),
            outage_accounted: now,
            teller: Teller { pool: Arc::clone(&config.name), events: Arc::clone(&settings.events), metrics },
            config,
            clock,
            core,
            process: Arc::clone(&settings.metrics),
            memory,
            retired,
            grace: settings.grace,
        }
    }

    /// Supervises until `forced` is cancelled, or the pool is retired and its sessions have ended.
    pub(super) async fn run(mut self, mut changes: mpsc::UnboundedReceiver<Change>, forced: CancellationToken) {
        self.set_paces();
        self.publish();
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut out_of_patience = None;
        loop {
            let now = self.clock.now();
            let tick = self.core.next_deadline(now).map(|at| at.since(now));
            let tick = async {
                match tick {
                    Some(wait) => tokio::time::sleep_until(Instant::now() + wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some((prober, event)) = self.prober_events.recv() => self.on_prober(prober, event),
                report = self.reports.next() => self.on_passive_report(&report),
                Some(change) = changes.recv() => self.configure(change),
                () = tick => self.step(&Event::Tick),
                _ = housekeeping.tick() => self.listen_for_silence(),
                () = forced.cancelled() => return self.end_all(),
                () = self.retired.cancelled(), if out_of_patience.is_none() => {
                    out_of_patience = Some(Instant::now() + self.grace);
                    // From now on another supervisor saves the state of this name.
                    self.memory.leave();
                }
            }
            let has_sessions = || self.routes.has_sessions() || self.readers.has_sessions(&self.nodes);
            if out_of_patience.is_some_and(|at| !has_sessions() || at <= Instant::now()) {
                return self.end_all();
            }
            self.account_outage();
            self.publish();
        }
    }

    /// Goes on with a new configuration of the same pool.
    fn configure(&mut self, change: Change) {
        let Change { config, series } = change;
        let now = self.clock.now();
        let was = |backend: &BackendConfig| self.nodes.iter().position(|node| node.config == *backend);
        let kept: Vec<Option<usize>> = config.backends.iter().map(was).collect();
        let backends = self.core.ids().collect::<Vec<_>>();
        let backends = kept.iter().map(|was| was.map(|index| backends[index])).collect();
        let event = Event::Configure(Box::new(Configuration { policy: config.policy.clone(), backends }));
        let effects = self.core.step(now, &event);
        let mut before: Vec<Option<Node>> = std::mem::take(&mut self.nodes).into_iter().map(Some).collect();
        let check_changed = self.probers.check != config.check;
        self.probers.check = config.check.clone();
        for ((backend, metrics), was) in config.backends.iter().zip(series.backends).zip(kept) {
            let node = match was.and_then(|index| before[index].take()) {
                Some(mut node) => {
                    if check_changed {
                        self.probers.renew(&mut node);
                    }
                    node
                }
                None => self.probers.node(backend.clone(), metrics),
            };
            self.nodes.push(node);
        }
        self.readers.part(before.into_iter().flatten());
        self.routes.publisher().max_staleness(max_staleness(&config));
        self.config = config;
        self.carry_out(now, &effects);
        self.offer_readers();
        self.set_paces();
    }

    fn set_paces(&self) {
        for (id, node) in self.core.ids().zip(&self.nodes) {
            node.prober.pace(self.core.pace(id));
        }
    }

    /// A report belongs to its epoch, or to its reader's generation; a late one says nothing about the present.
    fn on_passive_report(&mut self, report: &PassiveReport) {
        let of_reader = |generation| self.nodes.iter().position(|node| node.slot.is_of(generation));
        let backend = match report.id {
            RouteId::Active(epoch) => self.core.last_active().filter(|_| epoch == self.core.epoch()),
            RouteId::Reader(generation) => of_reader(generation).and_then(|index| self.core.ids().nth(index)),
        };
        if let Some(backend) = backend {
            self.step(&Event::Passive(backend, report.what));
        }
    }

    fn on_prober(&mut self, prober: ProberKey, event: ProberEvent) {
        // A report from before its backend was removed, or the check changed, does not count.
        let Some(index) = self.nodes.iter().position(|node| node.key == prober) else { return };
        let Some(backend) = self.core.ids().nth(index) else { return };
        match event {
            ProberEvent::Report { report, at, took, lateness } => self.on_report(backend, report, at, took, lateness),
            ProberEvent::Passive(what) => self.step(&Event::Passive(backend, what)),
            ProberEvent::Resolved(addresses) => {
                self.teller.addresses(&self.nodes, index, &addresses);
                self.nodes[index].resolved = addresses;
            }
            ProberEvent::Late { lateness } => self.teller.late(&self.nodes[index], lateness),
            ProberEvent::SecondOpinion { agreement, evidence } => {
                let at = (self.clock.now(), self.core.epoch());
                self.teller.second_opinion(at, self.name(backend), agreement, evidence);
            }
            ProberEvent::NoVerdict { evidence } => self.teller.no_verdict(&self.nodes[index], &evidence),
        }
    }

    fn on_report(&mut self, backend: BackendId, report: Report, at: Time, took: Duration, lateness: Duration) {
        let now = self.clock.now();
        let was_failing = self.core.backend(backend).is_some_and(BackendState::is_pending);
        let node = &mut self.nodes[backend.index()];
        node.last_seq = report.seq;
        let effects = self.core.step(now, &Event::Probe(backend, report));
        let Some((state, outcome)) = self.core.backend(backend).and_then(|state| Some((state, state.last_outcome?))) else {
            return self.carry_out(now, &effects);
        };
        node.silence.broken(at);
        let metrics = &node.metrics;
        metrics.probes.get(outcome).inc();
        metrics.probe_duration.observe(took.as_secs_f64());
        metrics.probe_lateness.observe(lateness.as_secs_f64());
        metrics
            .probe_last_timestamp
            .set(self.clock.wall(at).duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        node.last_probe = Some(LastProbe { outcome, evidence: state.evidence.clone(), at, took });
        // A failure too few does not change the verdict, but does not extend it either.
        let is_heard = outcome.class() != Class::Failure;
        if is_heard {
            node.slot.heard(at);
        }
        self.carry_out(now, &effects);
        if is_heard {
            let node = &mut self.nodes[backend.index()];
            if node.slot.readdress(&node.resolved) {
                self.offer_readers();
            }
        }
        if self.core.active() == Some(backend) && is_heard {
            self.routes.publisher().verified(at);
            self.readdress(was_failing);
        }
    }

    /// One step of the core, and everything that follows from it.
    fn step(&mut self, event: &Event) {
        let now = self.clock.now();
        let effects = self.core.step(now, event);
        self.carry_out(now, &effects);
    }

    fn carry_out(&mut self, now: Time, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Revoke { epoch, backend, mode, cause } => self.revoke(now, *backend, (*epoch, *mode, *cause)),
                Effect::Abort { epoch, backend, cause } => self.abort(now, *epoch, *backend, *cause),
                Effect::Activate { epoch, backend, cause } => self.activate(now, *epoch, *backend, *cause),
                Effect::Suspend { epoch } => {
                    let evidence = self.core.active().map(|active| self.evidence(active)).unwrap_or_default();
                    self.tell(now, self.routes.suspend(*epoch, evidence));
                }
                Effect::Resume { epoch } => self.tell(now, self.routes.resume(now, *epoch)),
                Effect::Read { backend, from, to, sessions } => self.read(now, *backend, (*from, *to), *sessions),
                Effect::Pace(backend, pace) => self.nodes[backend.index()].prober.pace(*pace),
                Effect::ProbeNow(backend) => self.nodes[backend.index()].prober.probe_now(),
                Effect::Note(note) => self.teller.note((now, self.core.epoch()), &self.nodes, note),
            }
        }
        let active = self.core.active().map(|id| &*self.nodes[id.index()].config.name);
        self.memory.keep(self.core.fence(), active);
    }

    fn tell(&self, now: Time, change: Option<RouteChange>) {
        if let Some(change) = change {
            self.teller.route_change(now, change);
        }
    }

    fn revoke(&mut self, now: Time, backend: BackendId, order: (Epoch, RevokeMode, Cause)) {
        let (_, _, cause) = order;
        let known = self.core.backend(backend).filter(|_| cause != Cause::Removed);
        let readers = known.and_then(|_| self.nodes.get(backend.index())).map_or(0, |node| node.slot.sessions());
        let change = self.routes.revoke(now, order, (known, readers));
        self.tell(now, change);
    }

    /// A server that said it accepts no clients has nothing more to send: its remaining sessions end.
    fn abort(&mut self, now: Time, epoch: Epoch, backend: BackendId, cause: Cause) {
        if self.routes.abort_lingering() {
            let (backend, evidence) = (Arc::clone(self.name(backend)), self.evidence(backend));
            self.teller.route_change(now, RouteChange { action: Action::Aborted, backend, epoch, cause: Some(cause), evidence });
        }
    }

    fn activate(&mut self, now: Time, epoch: Epoch, backend: BackendId, cause: Cause) {
        readers::abort_last_words(&self.nodes, &self.core);
        let node = &self.nodes[backend.index()];
        let route = Route {
            backend: Arc::clone(&node.config.name),
            metrics: Arc::clone(&node.metrics),
            sessions: node.metrics.connections_active.clone(),
            id: RouteId::Active(epoch),
            addresses: node.resolved.clone(),
            revocation: Arc::default(),
        };
        let change = self.routes.activate(now, route, (epoch, cause), self.evidence(backend));
        self.teller.route_change(now, change);
    }

    /// New clients of the active backend use the address of the last probe. If the name no longer resolves to the addresses that
    /// were `failing`, nothing else will end the sessions there, so they end like those of a backend that went down.
    fn readdress(&mut self, failing: bool) {
        let Some(active) = self.core.active() else { return };
        let (node, mode) = (&self.nodes[active.index()], self.config.policy.on_down);
        let leave = Some(mode).filter(|mode| failing && *mode != RevokeMode::Drain);
        if let Some(sessions) = self.routes.readdress(&node.resolved, leave) {
            self.teller.moved(&node.config.name, self.core.epoch(), sessions, mode);
        }
    }

    /// A backend may be read, or no longer.
    fn read(&mut self, now: Time, backend: BackendId, (from, to): (ReadEligibility, ReadEligibility), sessions: RevokeMode) {
        self.readers.update(&mut self.nodes[backend.index()], to);
        self.offer_readers();
        let node = &self.nodes[backend.index()];
        let closed = node.slot.revoke(sessions, (from, to), &node.metrics);
        if readers::are_wanted(&self.config) {
            let state = self.core.backend(backend);
            let why = state.map(|state| readers::why_not_read(state, to, self.config.policy.max_lag)).unwrap_or_default();
            self.teller.read_eligibility((now, self.core.epoch()), &node.config.name, (from, to), (sessions, closed), why);
        }
    }

    fn offer_readers(&self) {
        readers::offer(&self.nodes, &self.core, self.routes.publisher());
    }

    fn end_all(&mut self) {
        self.routes.end_all();
        self.readers.end_all(&self.nodes, self.routes.publisher());
    }

    fn listen_for_silence(&mut self) {
        let (now, patience) = (self.clock.now(), max_staleness(&self.config));
        for node in &mut self.nodes {
            if let Some(silent) = node.silence.look(now, patience) {
                self.process.process.watchdog_trips.inc();
                self.teller.silence(&node.config.name, silent);
            }
        }
    }

    fn name(&self, backend: BackendId) -> &Arc<str> {
        &self.nodes[backend.index()].config.name
    }

    fn evidence(&self, backend: BackendId) -> Printable {
        self.core.backend(backend).map(|state| state.evidence.clone()).unwrap_or_default()
    }

    fn account_outage(&mut self) {
        let now = self.clock.now();
        if self.core.active().is_none() {
            self.teller.metrics.outage_seconds.inc_by(now.since(self.outage_accounted).as_secs_f64());
        }
        self.outage_accounted = now;
    }

    /// Publishes the state of the pool.
    fn publish(&self) {
        let snapshot = self.snapshot();
        self.routes.explain(&why(&snapshot));
        self.routes.publisher().explain_readers(&readers::why(&snapshot));
        self.routes.publisher().snapshot(snapshot);
    }

    fn snapshot(&self) -> Snapshot {
        let backends = self.nodes.iter().zip(self.core.ids()).filter_map(|(node, id)| node.view(&self.core, id));
        Snapshot {
            pool: Arc::clone(&self.config.name),
            epoch: self.core.epoch(),
            active: self.core.active(),
            suspended: self.core.suspended(),
            verdict: self.core.verdict(),
            conflict: self.core.conflict(),
            failover_ready: self.core.failover_ready(self.clock.now()),
            last_failover: self.routes.last_failover().cloned(),
            fence: self.core.fence().0,
            state_file: self.memory.path(),
            backends: backends.collect(),
        }
    }
}

/// One sentence for a client that was rejected.
fn why(snapshot: &Snapshot) -> String {
    let each = snapshot.backends.iter().map(|backend| match &backend.last_probe {
        Some(probe) if backend.reason == failover::Reason::Down => format!("{} is down: {}", backend.name, probe.outcome),
        _ => format!("{}: {}", backend.name, backend.reason),
    });
    each.collect::<Vec<_>>().join(", ")
}
