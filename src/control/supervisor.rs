//! The owner of a pool's state. Every event comes here; the core says what it means; effects are carried out in order; what
//! changed is published.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    PoolSettings,
    effects::Carrier,
    is_current, notes,
    prober::{self, ProberEvent, ProberHandle, ProberSettings},
    state_file::{Remembered, StateFile},
};
use crate::{
    config::PoolConfig,
    failover::{self, BackendId, Effect, Event, Pool, Report, Time, event::Class},
    metrics::PoolMetrics,
    route::{BackendView, Clock, EventLog, LastFailover, LastProbe, PassiveReport, Snapshot},
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
    pub(super) probers: Vec<ProberHandle>,
    pub(super) resolved: Vec<Arc<[SocketAddr]>>,
    pub(super) last_failover: Option<LastFailover>,
    last_probes: Vec<Option<LastProbe>>,
    prober_events: mpsc::Receiver<ProberEvent>,
    state_file: Option<StateFile>,
    remembered: Remembered,
    outage_accounted: Time,
}

impl Supervisor {
    /// Starts the probers of a pool; must be called on the control runtime.
    pub(super) fn new(settings: PoolSettings, clock: Clock, events: Arc<EventLog>, state_dir: Option<&Path>) -> Self {
        let PoolSettings { config, publisher, metrics } = settings;
        let now = clock.now();
        let count = u16::try_from(config.backends.len()).unwrap_or(u16::MAX);
        let mut core = Pool::new(config.policy.clone(), count, now);
        let state_file = state_dir.map(|dir| StateFile::new(dir, &config.name));
        let remembered = state_file.as_ref().map(StateFile::read).unwrap_or_default();
        core.restore_fence(remembered.fence, remembered.system_id);
        let names = config.backends.iter().map(|backend| Some(&*backend.name));
        if let Some((id, _)) = core.ids().zip(names).find(|(_, name)| name.is_some() && *name == remembered.active.as_deref()) {
            core.restore_active(id);
        }
        let (sender, prober_events) = mpsc::channel(256);
        let probers = config.backends.iter().zip(core.ids()).map(|(backend, id)| {
            let settings = ProberSettings { backend: id, address: backend.address.clone(), check: config.check.clone() };
            prober::spawn(settings, sender.clone(), clock)
        });
        Self {
            probers: probers.collect(),
            resolved: vec![Arc::from([]); config.backends.len()],
            last_probes: vec![None; config.backends.len()],
            carrier: Carrier::new(publisher),
            last_failover: None,
            outage_accounted: now,
            config,
            clock,
            core,
            metrics,
            events,
            prober_events,
            state_file,
            remembered,
        }
    }

    /// Supervises until `forced` is cancelled.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<PassiveReport>, forced: CancellationToken) {
        for (id, prober) in self.core.ids().zip(&self.probers) {
            prober.pace(self.core.pace(id));
        }
        self.publish();
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
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
                Some(event) = self.prober_events.recv() => self.on_prober(event),
                Some(report) = inbox.recv() => {
                    if let Some(what) = is_current(&report, self.core.epoch()) {
                        self.step(&Event::Passive(report.backend, what));
                    }
                }
                () = tick => self.step(&Event::Tick),
                _ = housekeeping.tick() => {}
                () = forced.cancelled() => return self.carrier.end_all(),
            }
            self.account_outage();
            self.publish();
        }
    }

    fn on_prober(&mut self, event: ProberEvent) {
        match event {
            ProberEvent::Report { report, at, took, lateness } => self.on_report(report, at, took, lateness),
            ProberEvent::Passive(backend, what) => self.step(&Event::Passive(backend, what)),
            ProberEvent::Resolved(backend, addresses) => {
                self.resolved[backend.index()] = Arc::clone(&addresses);
                self.carrier.readdress(backend, addresses);
            }
            ProberEvent::Late { backend, lateness } => {
                self.metrics.backends[backend.index()].probe_lateness.observe(lateness.as_secs_f64());
                tracing::warn!(
                    pool = %self.config.name,
                    backend = %self.name(backend),
                    late_ms = u64::try_from(lateness.as_millis()).unwrap_or(u64::MAX),
                    "a probe was late because this machine was busy; its result does not count"
                );
            }
            ProberEvent::NoVerdict { backend, evidence } => {
                tracing::warn!(pool = %self.config.name, backend = %self.name(backend), %evidence, "a probe could not be made; that says nothing of the backend");
            }
        }
    }

    fn on_report(&mut self, report: Report, at: Time, took: Duration, lateness: Duration) {
        let outcome = self.core.assess(&report);
        let metrics = &self.metrics.backends[report.backend.index()];
        metrics.probes.get(outcome).inc();
        metrics.probe_duration.observe(took.as_secs_f64());
        metrics.probe_lateness.observe(lateness.as_secs_f64());
        metrics
            .probe_last_timestamp
            .set(self.clock.wall(at).duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        self.last_probes[report.backend.index()] = Some(LastProbe { outcome, evidence: Arc::clone(&report.evidence), at, took });
        let backend = report.backend;
        self.step(&Event::Probe(report));
        // A failure too few leaves the verdict as it stands, but is no reason to trust it for longer.
        if self.core.active() == Some(backend) && outcome.class() != Class::Failure {
            self.carrier.publisher().verified(at);
        }
    }

    /// One step of the core, and everything that follows from it.
    fn step(&mut self, event: &Event) {
        let now = self.clock.now();
        let effects = self.core.step(now, event);
        for effect in &effects {
            match effect {
                Effect::Revoke { epoch, backend, mode, cause } => self.revoke(now, *epoch, *backend, *mode, *cause),
                Effect::Activate { epoch, backend, cause } => self.activate(now, *epoch, *backend, *cause),
                Effect::Suspend { epoch } => self.suspend(now, *epoch),
                Effect::Resume { epoch } => self.resume(now, *epoch),
                Effect::Pace(backend, pace) => self.probers[backend.index()].pace(*pace),
                Effect::ProbeNow(backend) => self.probers[backend.index()].probe_now(),
                Effect::Note(note) => notes::tell(self, now, note),
            }
        }
        self.remember();
    }

    fn remember(&mut self) {
        let Some(file) = &mut self.state_file else { return };
        let (fence, system_id) = self.core.fence();
        let active = self.core.active().map(|id| self.config.backends[id.index()].name.to_string());
        let now = Remembered { fence, system_id, active: active.or_else(|| self.remembered.active.clone()) };
        if now != self.remembered {
            self.remembered = now.clone();
            file.write(now);
        }
    }

    /// The name of a backend.
    pub(super) fn name(&self, backend: BackendId) -> &Arc<str> {
        &self.config.backends[backend.index()].name
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
        self.carrier.publisher().snapshot(snapshot);
    }

    fn snapshot(&self) -> Snapshot {
        let backends = self.config.backends.iter().zip(self.core.ids()).filter_map(|(config, id)| {
            let state = self.core.backend(id)?;
            Some(BackendView {
                name: Arc::clone(&config.name),
                address: config.address.to_string().into(),
                resolved: Arc::clone(&self.resolved[id.index()]),
                health: state.health(),
                pending: state.is_pending(),
                admin: state.admin(),
                reason: self.core.reason(id),
                facts: state.facts().clone(),
                alert: state.alert(),
                since: state.since(),
                last_probe: self.last_probes[id.index()].clone(),
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
