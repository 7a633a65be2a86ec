//! The owner of a pool's state. Every event comes here; the core says what it means; effects are carried out in order; what
//! changed is published.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    Change, ControlSettings, PoolSettings,
    effects::Carrier,
    max_staleness,
    node::{Node, Probers},
    notes,
    probe::Finding,
    prober::{ProberEvent, ProberKey},
    readers::{self, Readers},
    state_file::Remembered,
    state_writer::StateFile,
};
use crate::{
    config::{BackendConfig, PoolConfig},
    failover::{self, BackendId, BackendState, Configuration, Effect, Event, Pool, Report, Time, event::Class},
    metrics::{Metrics, PoolMetrics, PoolSeries},
    route::{BackendView, Clock, EventLog, LastFailover, LastProbe, PassiveReport, ReportReceiver, Snapshot, Tenure},
};

/// Between two looks at what only the passing of time changes: outage seconds, readiness.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// A pool under supervision.
pub(super) struct Supervisor {
    pub(super) config: PoolConfig,
    pub(super) clock: Clock,
    pub(super) core: Pool,
    pub(super) carrier: Carrier,
    pub(super) metrics: Arc<PoolMetrics>,
    pub(super) events: Arc<EventLog>,
    /// The backends, in list order.
    pub(super) nodes: Vec<Node>,
    pub(super) readers: Readers,
    pub(super) last_failover: Option<LastFailover>,
    pub(super) process: Arc<Metrics>,
    probers: Probers,
    prober_events: mpsc::Receiver<(ProberKey, ProberEvent)>,
    reports: ReportReceiver,
    state_file: Option<StateFile>,
    remembered: Remembered,
    outage_accounted: Time,
    retired: CancellationToken,
    grace: Duration,
}

impl Supervisor {
    /// Starts the probers of a pool, once it is known what an earlier process knew; must be called on the control runtime.
    pub(super) async fn new(pool: PoolSettings, settings: &ControlSettings) -> Self {
        let PoolSettings { config, publisher, reports, series: PoolSeries { pool: metrics, backends, .. }, retired } = pool;
        let clock = settings.clock;
        let state_file = settings.state.as_ref().map(|state| state.file(&config.name));
        let remembered = match &state_file {
            Some(file) => file.read().await,
            None => Remembered::default(),
        };
        let now = clock.now();
        let count = u16::try_from(config.backends.len()).unwrap_or(u16::MAX);
        let mut core = Pool::new(config.policy.clone(), count, now);
        core.restore_fence(remembered.fence, remembered.system_id);
        let names = config.backends.iter().map(|backend| Some(&*backend.name));
        if let Some((id, _)) = core.ids().zip(names).find(|(_, name)| name.is_some() && *name == remembered.active.as_deref()) {
            core.restore_active(id);
        }
        let (sender, prober_events) = mpsc::channel(256);
        let mut probers = Probers::new(sender, clock, config.check.clone(), publisher.demand());
        let nodes = config.backends.iter().zip(backends).map(|(backend, metrics)| probers.node(backend.clone(), metrics));
        Self {
            nodes: nodes.collect(),
            readers: Readers::default(),
            probers,
            prober_events,
            reports,
            carrier: Carrier::new(publisher),
            last_failover: None,
            outage_accounted: now,
            config,
            clock,
            core,
            metrics,
            events: Arc::clone(&settings.events),
            process: Arc::clone(&settings.metrics),
            state_file,
            remembered,
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
                    // What is to be remembered of this name is another supervisor's business from now on.
                    self.state_file = None;
                }
            }
            if out_of_patience.is_some_and(|at| !self.has_sessions() || at <= Instant::now()) {
                return self.end_all();
            }
            self.account_outage();
            self.publish();
        }
    }

    /// Goes on with another configuration of the same pool.
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
        self.part(before.into_iter().flatten());
        self.carrier.publisher().max_staleness(max_staleness(&config));
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

    /// A report belongs to the epoch, or the reader's generation, that it was made under; a late one says nothing of the present.
    fn on_passive_report(&mut self, report: &PassiveReport) {
        let of_reader = |generation| self.nodes.iter().position(|node| node.seat.is_of(generation));
        let backend = match report.tenure {
            Tenure::Active(epoch) => self.core.last_active().filter(|_| epoch == self.core.epoch()),
            Tenure::Reader(generation) => of_reader(generation).and_then(|index| self.core.ids().nth(index)),
        };
        if let Some(backend) = backend {
            self.step(&Event::Passive(backend, report.what));
        }
    }

    fn on_prober(&mut self, prober: ProberKey, event: ProberEvent) {
        // What a prober said before its backend was removed, or before the check was changed, counts no more.
        let Some(index) = self.nodes.iter().position(|node| node.key == prober) else { return };
        let Some(backend) = self.core.ids().nth(index) else { return };
        match event {
            ProberEvent::Report { seq, finding, fresh, at, took, lateness } => {
                let Finding { outcome, facts, evidence } = finding;
                self.on_report(Report { backend, seq, outcome, facts, fresh, evidence }, at, took, lateness);
            }
            ProberEvent::Passive(what) => self.step(&Event::Passive(backend, what)),
            ProberEvent::Resolved(addresses) => {
                notes::tell_addresses(self, backend, &addresses);
                self.nodes[index].resolved = addresses;
            }
            ProberEvent::Late { lateness } => {
                self.nodes[index].metrics.probe_lateness.observe(lateness.as_secs_f64());
                tracing::warn!(
                    pool = %self.config.name,
                    backend = %self.name(backend),
                    late_ms = u64::try_from(lateness.as_millis()).unwrap_or(u64::MAX),
                    "a probe was late because this machine was busy; its result does not count"
                );
            }
            ProberEvent::SecondOpinion { stance, evidence } => notes::tell_second_opinion(self, backend, stance, &evidence),
            ProberEvent::NoVerdict { evidence } => {
                tracing::warn!(pool = %self.config.name, backend = %self.name(backend), %evidence, "a probe could not be made; that says nothing of the backend");
            }
        }
    }

    fn on_report(&mut self, report: Report, at: Time, took: Duration, lateness: Duration) {
        let outcome = self.core.assess(&report);
        let node = &mut self.nodes[report.backend.index()];
        node.last_seq = report.seq;
        node.silence.broken(at);
        let metrics = &node.metrics;
        metrics.probes.get(outcome).inc();
        metrics.probe_duration.observe(took.as_secs_f64());
        metrics.probe_lateness.observe(lateness.as_secs_f64());
        metrics
            .probe_last_timestamp
            .set(self.clock.wall(at).duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        node.last_probe = Some(LastProbe { outcome, evidence: self.core.evidence(at, &report), at, took });
        let backend = report.backend;
        let was_failing = self.core.backend(backend).is_some_and(BackendState::is_pending);
        // A failure too few leaves the verdict as it stands, but is no reason to trust it for longer.
        let is_heard = outcome.class() != Class::Failure;
        if is_heard {
            node.seat.heard(at);
        }
        self.step(&Event::Probe(report));
        if is_heard {
            self.readdress_reader(backend.index());
        }
        if self.core.active() == Some(backend) && is_heard {
            self.carrier.publisher().verified(at);
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
                Effect::Revoke { epoch, backend, mode, cause } => self.revoke(now, *epoch, *backend, *mode, *cause),
                Effect::Abort { epoch, backend, cause } => self.abort(now, *epoch, *backend, *cause),
                Effect::Activate { epoch, backend, cause } => self.activate(now, *epoch, *backend, *cause),
                Effect::Suspend { epoch } => self.suspend(now, *epoch),
                Effect::Resume { epoch } => self.resume(now, *epoch),
                Effect::Read { backend, from, to, sessions } => self.read(now, *backend, *from, *to, *sessions),
                Effect::Pace(backend, pace) => self.nodes[backend.index()].prober.pace(*pace),
                Effect::ProbeNow(backend) => self.nodes[backend.index()].prober.probe_now(),
                Effect::Note(note) => notes::tell(self, now, note),
            }
        }
        self.remember();
    }

    fn remember(&mut self) {
        let (fence, system_id) = self.core.fence();
        let active = self.core.active().map(|id| self.name(id).to_string());
        let now = Remembered { fence, system_id, active: active.or_else(|| self.remembered.active.clone()) };
        if now == self.remembered {
            return;
        }
        if let Some(file) = &self.state_file {
            file.write(now.clone());
        }
        self.remembered = now;
    }

    /// The name of a backend.
    pub(super) fn name(&self, backend: BackendId) -> &Arc<str> {
        &self.nodes[backend.index()].config.name
    }

    fn account_outage(&mut self) {
        let now = self.clock.now();
        if self.core.active().is_none() {
            self.metrics.outage_seconds.inc_by(now.since(self.outage_accounted).as_secs_f64());
        }
        self.outage_accounted = now;
    }

    /// Shows the pool as it stands.
    fn publish(&self) {
        let snapshot = self.snapshot();
        self.carrier.explain(&why(&snapshot));
        self.carrier.publisher().explain_readers(&readers::why(&snapshot));
        self.carrier.publisher().snapshot(snapshot);
    }

    fn snapshot(&self) -> Snapshot {
        let backends = self.nodes.iter().zip(self.core.ids()).filter_map(|(node, id)| {
            let state = self.core.backend(id)?;
            Some(BackendView {
                name: Arc::clone(&node.config.name),
                address: node.config.address.to_string().into(),
                resolved: node.resolved.clone(),
                health: state.health(),
                pending: state.is_pending(),
                admin: state.admin(),
                reason: self.core.reason(id),
                reading: self.core.reading(id),
                facts: state.facts().clone(),
                alert: state.alert(),
                alert_evidence: state.alert_evidence().clone(),
                since: state.since(),
                last_probe: node.last_probe.clone(),
                silent_since: node.silence.since(),
            })
        });
        Snapshot {
            pool: Arc::clone(&self.config.name),
            epoch: self.core.epoch(),
            active: self.core.active(),
            suspended: self.core.suspended(),
            verdict: self.core.verdict(),
            conflict: self.core.conflict(),
            failover_ready: self.core.failover_ready(self.clock.now()),
            last_failover: self.last_failover.clone(),
            fence: self.core.fence().0,
            state_file: self.state_file.as_ref().map(|file| file.path().display().to_string().into()),
            backends: backends.collect(),
        }
    }
}

/// One sentence for a client that was not served.
fn why(snapshot: &Snapshot) -> String {
    let each = snapshot.backends.iter().map(|backend| match &backend.last_probe {
        Some(probe) if backend.reason == failover::Reason::Down => format!("{} is down: {}", backend.name, probe.outcome),
        _ => format!("{}: {}", backend.name, backend.reason),
    });
    each.collect::<Vec<_>>().join(", ")
}
