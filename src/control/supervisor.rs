//! The owner of a pool's state. It takes every event, asks the core, carries out the effects in order, and publishes what changed.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    departure::Departures,
    effects::RoutePublisher,
    guard::{Commits, Distrust, Keeper},
    memory::Memory,
    node::{self, Node, Probers},
    notes::Teller,
    operation_text,
    operations::Operations,
    orders::{self, Deed, Scene},
    prober::{ProberEvent, ProberKey},
    readers::{self, Readers},
    session_pause::SessionPause,
    settings::{ControlSettings, PoolSettings, Turn, max_staleness},
    unpromoted::Unpromoted,
};
use crate::{
    config::PoolConfig,
    failover::{
        BackendId, BackendState, Cause, Class, Epoch, Event, GuardMode, Outcome, Pool, Printable,
        PromotionCondition::{After, NoOperation},
        Report, Time,
    },
    metrics::{Metrics, PoolSeries},
    route::{
        Clock, GuardLog, LastProbe, Order, OrderReceiver, PassiveReport, ReportReceiver, RouteId, SessionTable, Snapshot, Verb,
        kill,
    },
    telemetry::LineLimit,
};

/// Interval for values that change with time alone: outage seconds, readiness.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

pub(super) struct Supervisor {
    pub(super) config: PoolConfig,
    pub(super) clock: Clock,
    pub(super) core: Pool,
    pub(super) routes: RoutePublisher,
    pub(super) teller: Teller,
    pub(super) nodes: Vec<Node>,
    pub(super) readers: Readers,
    pub(super) process: Arc<Metrics>,
    pub(super) probers: Probers,
    pub(super) prober_events: mpsc::Receiver<(ProberKey, ProberEvent)>,
    pub(super) reports: ReportReceiver,
    pub(super) orders: OrderReceiver,
    pub(super) sessions: Vec<Arc<SessionTable>>,
    pub(super) memory: Memory,
    pub(super) operations: Operations,
    pub(super) unpromoted: Unpromoted,
    /// It is told that whoever could serve has changed.
    pub(super) is_unproven: bool,
    pub(super) keeper: Keeper,
    /// Backends that get no clients because another process decides.
    pub(super) set_aside: Vec<Arc<str>>,
    /// Its look cannot wait.
    pub(super) guard_is_due: bool,
    pub(super) commits: Commits,
    pub(super) guards: Arc<GuardLog>,
    /// When it began.
    pub(super) begun: Time,
    /// What is ordered, and by whom, while it is carried out.
    ordered: Option<Printable>,
    pub(super) session_pause: Option<SessionPause>,
    pub(super) departures: Departures,
    /// The end of a pause or of the step of an operation, while there is one.
    pub(super) held_until: Option<Time>,
    pub(super) outage_accounted: Time,
    pub(super) retired: CancellationToken,
    pub(super) grace: Duration,
}

impl Supervisor {
    /// Starts the probers of a pool after reading the state of an earlier process; must be called on the control runtime.
    pub(super) async fn new(pool: PoolSettings, settings: &ControlSettings) -> Self {
        let PoolSettings {
            config,
            publisher,
            reports,
            orders,
            series: PoolSeries { pool: metrics, backends, .. },
            retired,
            known,
        } = pool;
        let clock = settings.clock;
        let state = settings.state.as_ref();
        let memory = Memory::begin(state.map(|state| state.file(&config.name)), known);
        let (memory, mut keeper) = tokio::join!(memory, Keeper::begin(state, &config.name));
        keeper.seat(&config.backends, Distrust::of(config.guard.mode));
        let now = clock.now();
        let count = u16::try_from(config.backends.len()).unwrap_or(u16::MAX);
        let mut core = Pool::new(config.policy.clone(), count, now);
        memory.restore(&mut core, &config.backends);
        if config.guard.mode != GuardMode::Off {
            keeper.restore(&mut core, &config.backends);
        }
        let (pool, events) = (Arc::clone(&config.name), Arc::clone(&settings.events));
        let teller = Teller { pool, events, metrics, proof_lines: LineLimit::default(), probe_lines: LineLimit::default() };
        if let Some(operation) = memory.interrupted() {
            teller.interrupted((now, core.epoch()), operation);
        }
        let (sender, prober_events) = mpsc::channel(256);
        let mut probers = Probers::new(sender, clock, config.check.clone(), publisher.demand());
        let operations = Operations::new(&config, Arc::clone(&settings.operations), Arc::clone(&teller.metrics));
        let nodes = config.backends.iter().zip(backends).map(|(backend, metrics)| probers.node(backend.clone(), metrics));
        Self {
            nodes: nodes.collect(),
            readers: Readers::default(),
            probers,
            prober_events,
            reports,
            orders,
            routes: RoutePublisher::new(publisher),
            outage_accounted: now,
            begun: now,
            ordered: None,
            session_pause: None,
            departures: Departures::new(),
            held_until: None,
            teller,
            config,
            clock,
            core,
            process: Arc::clone(&settings.metrics),
            memory,
            operations,
            unpromoted: Unpromoted::default(),
            is_unproven: false,
            keeper,
            set_aside: Vec::new(),
            guard_is_due: false,
            commits: Commits::new(),
            guards: Arc::clone(&settings.guards),
            sessions: settings.sessions.clone(),
            retired,
            grace: settings.grace,
        }
    }

    /// Supervises until `forced` is cancelled, or the pool is retired and its sessions have ended.
    pub(super) async fn run(mut self, mut turns: mpsc::UnboundedReceiver<Turn>, forced: CancellationToken) {
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
                order = self.orders.next() => {
                    // What was configured before the order was given counts.
                    while let Ok(turn) = turns.try_recv() {
                        self.turn(turn);
                    }
                    self.obey(order);
                }
                heard = self.operations.next() => self.hear(heard),
                found = self.keeper.next() => self.on_guard(found),
                (backend, commit) = self.commits.next() => self.on_commit(&backend, &commit),
                departed = self.departures.next() => self.on_departed(&departed),
                report = self.reports.next() => self.on_passive_report(&report),
                Some(turn) = turns.recv() => self.turn(turn),
                () = tick => self.step(&Event::Tick),
                _ = housekeeping.tick() => {
                    self.listen_for_silence();
                    self.guard_is_due = true;
                }
                () = forced.cancelled() => return self.end_all(),
                () = self.retired.cancelled(), if out_of_patience.is_none() => {
                    out_of_patience = Some(Instant::now() + self.grace);
                    // From now on another supervisor saves the state of this name.
                    self.memory.leave();
                    self.keeper.leave();
                    self.guards.keep(&self.config.name, &[]);
                }
            }
            let has_sessions = || self.routes.has_sessions() || self.readers.has_sessions(&self.nodes);
            if out_of_patience.is_some_and(|at| !has_sessions() || at <= Instant::now()) {
                return self.end_all();
            }
            if std::mem::take(&mut self.guard_is_due) {
                // What has happened is seen before what follows from it.
                self.publish();
                self.look_after();
                self.watch_commits();
            }
            self.account_outage();
            self.tell_unpromoted();
            self.tell_unproven();
            self.hold_clients();
            self.publish();
        }
    }

    /// Carries out an order of an operator, and answers once that can be seen.
    fn obey(&mut self, order: Order) {
        let Some(order) = self.operate(order).and_then(|order| self.decide_proof(order)) else { return };
        let now = self.clock.now();
        let scene = Scene {
            pool: &self.config.name,
            core: &self.core,
            nodes: &self.nodes,
            sessions: &self.sessions,
            is_remembered: self.memory.path().is_some(),
            is_retired: self.retired.is_cancelled(),
            check: &self.config.check,
            drain_timeout: self.config.switchover.drain_timeout,
        };
        let (answer, deed) = scene.decide(&order.verb, now);
        self.teller.order((now, self.core.epoch()), &order, scene.named(&order.verb), &answer);
        if let Verb::SetAdmin { backend, .. } = &order.verb
            && !order.dry_run
            && answer.is_ok()
        {
            self.departures.call_off(backend);
        }
        let words = operation_text::ordered(orders::words(&order.verb), &order.by, &order.reason);
        self.ordered = Some(words.into());
        match deed {
            _ if order.dry_run => {}
            Deed::Nothing => {}
            Deed::Step(core, effects, rest) => {
                self.core = *core;
                self.carry_out(now, &effects);
                kill(&rest);
            }
            Deed::Depart(core, effects, id) => {
                self.core = *core;
                self.carry_out(now, &effects);
                self.depart(id);
            }
            Deed::Kill(sessions) => kill(&sessions),
        }
        self.ordered = None;
        self.hold_clients();
        self.publish();
        order.answer(answer);
    }

    /// A report belongs to its epoch, or to its reader's generation; a late one says nothing about the present.
    fn on_passive_report(&mut self, report: &PassiveReport) {
        let of_reader = |generation| self.nodes.iter().position(|node| node.slot.is_of(generation));
        let backend = match report.id {
            RouteId::Active(epoch) => self.core.last_active().filter(|_| epoch == self.core.epoch()),
            RouteId::Reader(generation) => of_reader(generation).and_then(|index| self.core.ids().nth(index)),
        };
        if let Some(backend) = backend {
            if matches!(report.id, RouteId::Active(_)) {
                self.routes.reported(report.at);
            }
            self.step(&Event::Passive(backend, report.what));
        }
    }

    fn on_prober(&mut self, prober: ProberKey, event: ProberEvent) {
        // A report from before its backend was removed, or the check changed, does not count.
        let Some(index) = self.nodes.iter().position(|node| node.key == prober) else { return };
        let Some(backend) = self.core.ids().nth(index) else { return };
        match event {
            ProberEvent::Report { report, at, took, lateness } => self.on_report(backend, report, at, took, lateness),
            ProberEvent::Passive(what) => {
                self.on_absence(backend);
                self.step(&Event::Passive(backend, what));
            }
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
        // The check's session is over, or no new one begins: what answers next may be another server, however soon that is.
        let is_away = !report.fresh && report.finding.outcome != Outcome::Ok;
        // Of one that is gone already nothing is read before it serves.
        if !self.is_gone(backend) && (is_away || matches!(report.finding.outcome.class(), Class::Failure | Class::NotServing)) {
            self.on_absence(backend);
        }
        let was_failing = self.core.backend(backend).is_some_and(BackendState::is_pending);
        self.nodes[backend.index()].last_seq = report.seq;
        let effects = self.core.step(now, &Event::Probe(backend, report));
        let Some((state, outcome)) = self.core.backend(backend).and_then(|state| Some((state, state.last_outcome?))) else {
            return self.carry_out(now, &effects);
        };
        let node = &mut self.nodes[backend.index()];
        node.probed(LastProbe { outcome, evidence: state.evidence.clone(), at, took }, lateness, self.clock.wall(at));
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
            self.routes.heard();
            self.routes.publisher().verified(at);
            self.readdress(was_failing);
        }
    }

    /// One step of the core, and everything that follows from it.
    pub(super) fn step(&mut self, event: &Event) {
        let now = self.clock.now();
        let effects = self.core.step(now, event);
        self.carry_out(now, &effects);
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

    pub(super) fn name(&self, backend: BackendId) -> &Arc<str> {
        &self.nodes[backend.index()].config.name
    }

    pub(super) fn evidence(&self, backend: BackendId) -> Printable {
        self.core.backend(backend).map(|state| state.evidence.clone()).unwrap_or_default()
    }

    /// The same of a change; of one that was ordered, the order.
    pub(super) fn evidence_of(&self, backend: BackendId, cause: Cause) -> Printable {
        let by = (cause == Cause::Command).then(|| self.operations.by_whom().or_else(|| self.ordered.clone())).flatten();
        by.unwrap_or_else(|| self.evidence(backend))
    }

    fn account_outage(&mut self) {
        let now = self.clock.now();
        if self.core.active().is_none() {
            self.teller.metrics.outage_seconds.inc_by(now.since(self.outage_accounted).as_secs_f64());
        }
        self.outage_accounted = now;
    }

    fn tell_unpromoted(&mut self) {
        let at = (self.clock.now(), self.core.epoch());
        let Some(rule) = &self.config.policy.promotion else { return };
        // Before the first active backend `after` never passes, so it is no reason to wait with the news.
        let waited = at.0.since(self.begun) >= self.config.policy.settle + rule.after;
        let early: &[_] = if at.1 == Epoch::default() && waited { &[NoOperation] } else { &[NoOperation, After] };
        let news = self.unpromoted.news(self.core.active().is_some(), self.core.promotion_unmet(at.0), early);
        if let Some(unmet) = news {
            self.teller.unpromoted(at, self.core.last_active().map(|id| self.name(id)), &unmet);
        }
    }

    /// Publishes the state of the pool.
    pub(super) fn publish(&self) {
        let (last_failover, state_file) = (self.routes.last_failover().cloned(), self.memory.path());
        let pool = Arc::clone(&self.config.name);
        let snapshot = Snapshot { pool, last_failover, state_file, ..node::snapshot(&self.nodes, &self.core, self.clock.now()) };
        if !self.retired.is_cancelled() {
            self.teller.metrics.paused.set(i64::from(snapshot.paused));
            self.measure_rollback(self.clock.now());
        }
        self.routes.explain(&snapshot);
        self.routes.publisher().explain_readers(&readers::why(&snapshot));
        self.routes.publisher().snapshot(snapshot);
    }
}
