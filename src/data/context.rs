//! What connections share: the contexts of the process, of a worker, of a pool and of a listener. They never change; a new
//! configuration makes new ones for new connections.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    access::{AccessRules, RejectLog},
    admission::Admission,
    balancer::ReaderBalancer,
    close::RESET_PATIENCE,
    descriptors::Descriptors,
    event_loop::Handle,
    hold::Hold,
    per_ip::PerIpLimiter,
    relay::RelaySettings,
    target::ReadTarget,
};
use crate::{
    config::{HoldConfig, ListenerConfig, Refusal},
    failover::{Passive, label::Label},
    lifecycle::Lifeline,
    metrics::{ListenerMetrics, PoolMetrics, ProcessMetrics},
    net::{
        endpoint::Peer,
        proxy_protocol,
        socket::{Keepalive, LegOptions},
    },
    reason::RejectReason,
    route::{Clock, Frontend, PassiveReport, ReportSender, Route, RouteId, RouteWatch, SessionTable, TakenRoute},
    telemetry::LineLimit,
    wire::Protocol,
};

/// Lines a second of a listener about sessions that ended for one reason.
const END_LINES: u32 = 100;

/// The process on the byte path.
#[derive(Debug)]
pub(super) struct ProcessContext {
    pub(super) admission: Arc<Admission>,
    pub(super) shutdown_delay: Duration,
    pub(super) clock: Clock,
    pub(super) lifeline: Lifeline,
    pub(super) metrics: Arc<crate::metrics::Metrics>,
    pub(super) descriptors: Descriptors,
    /// Number of the next connection.
    pub(super) next_id: AtomicU64,
}

impl ProcessContext {
    pub(super) fn process_metrics(&self) -> &ProcessMetrics {
        &self.metrics.process
    }
}

/// What the connections of one worker share.
#[derive(Debug, Default)]
pub(super) struct WorkerContext {
    pub(super) sessions: Arc<SessionTable>,
    /// Clients that were handed to it and have not ended.
    load: AtomicUsize,
    /// How the accept loops reach it; `None` for their own worker.
    pub(super) inbox: Option<Handle>,
}

impl WorkerContext {
    pub(super) fn new(inbox: Option<Handle>) -> Self {
        Self { inbox, ..Self::default() }
    }

    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }
}

/// One client's part of a worker's load.
#[derive(Debug)]
pub(super) struct Load(Arc<WorkerContext>);

impl Load {
    pub(super) fn new(worker: &Arc<WorkerContext>) -> Self {
        worker.load.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(worker))
    }

    pub(super) fn worker(&self) -> &WorkerContext {
        &self.0
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A pool on the byte path; shared by its listeners on all workers.
#[derive(Debug)]
pub(super) struct PoolContext {
    pub(super) name: Arc<str>,
    pub(super) connect_timeout: Duration,
    pub(super) hold_config: HoldConfig,
    pub(super) protocol: Protocol,
    pub(super) routes: RouteWatch,
    pub(super) reporter: ReportSender,
    pub(super) metrics: Arc<PoolMetrics>,
    pub(super) process: Arc<ProcessContext>,
    pub(super) retired: CancellationToken,
}

impl PoolContext {
    /// Reports to control what was learned about a route's backend.
    pub(super) fn report(&self, route: &Route, what: Passive) {
        if !self.reporter.send(PassiveReport { id: route.id, what, at: self.process.clock.now() }) {
            self.process.process_metrics().reports_dropped.inc();
        }
    }
}

/// The clients of a listener, counted. The counts survive a change of the configuration.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    /// All that are served or wait for that: `max_connections` of the listener, and of the process.
    pub(super) guests: Arc<Admission>,
    /// By address, if that is limited.
    pub(super) per_ip: Arc<PerIpLimiter>,
}

/// A listener on the byte path.
#[derive(Debug)]
pub(super) struct ListenerContext {
    pub(super) pool: Arc<PoolContext>,
    pub(super) frontend: Arc<Frontend>,
    /// Of clients' sockets, which inherit them from the listening socket.
    pub(super) client_leg: LegOptions,
    /// Of backends' sockets, from the start.
    pub(super) server_leg: LegOptions,
    pub(super) relay: RelaySettings,
    /// For the first exchange with a backend.
    pub(super) login_timeout: Option<Duration>,
    /// Set when it leads to readers.
    pub(super) balancer: Option<ReaderBalancer>,
    /// Where its clients wait. Clients that want the primary and clients that want readers wait separately, so neither delays the
    /// other.
    pub(super) hold: Arc<Hold>,
    pub(super) metrics: Arc<ListenerMetrics>,
    pub(super) guests: Arc<Admission>,
    /// Clients over the limit that get an error; further ones are reset.
    pub(super) refusals: Arc<Admission>,
    /// The access rules, if there are any.
    pub(super) rules: Option<Box<AccessRules>>,
    pub(super) refusal: Refusal,
    log: RejectLog,
    /// Of the lines about sessions with an end that is not ordinary, by reason.
    pub(super) ends: LineLimit<&'static str>,
    /// The PROXY header that backends get, if any.
    pub(super) header: Option<proxy_protocol::Version>,
}

impl ListenerContext {
    pub(super) fn new(
        pool: Arc<PoolContext>,
        config: &ListenerConfig,
        hold: Arc<Hold>,
        metrics: Arc<ListenerMetrics>,
        counts: Counts,
    ) -> Self {
        let client_leg = LegOptions { keepalive: Some(config.keepalive), user_timeout: config.tcp_user_timeout };
        // Keepalive takes four system calls; a session of one query should not pay for them. A greeting waits, so it needs
        // keepalive.
        let deferred: Option<Keepalive> = Some(config.keepalive).filter(|_| !pool.protocol.is_greeted());
        Self {
            frontend: Arc::new(Frontend { pool: Arc::clone(&pool.name), listener: Arc::clone(&config.name) }),
            pool,
            client_leg,
            server_leg: LegOptions { keepalive: client_leg.keepalive.filter(|_| deferred.is_none()), ..client_leg },
            relay: RelaySettings {
                mode: config.relay,
                idle: config.idle_timeout,
                half_close: config.half_close_timeout,
                reset: RESET_PATIENCE,
                keepalive: deferred,
            },
            login_timeout: config.client_login_timeout,
            balancer: ReadTarget::of(config).map(|target| ReaderBalancer::new(target, config.balance)),
            hold,
            metrics,
            guests: counts.guests,
            refusals: Arc::new(Admission::new(16)),
            rules: AccessRules::of(config, counts.per_ip),
            refusal: config.refusal,
            log: RejectLog::default(),
            ends: LineLimit::new(END_LINES, Duration::from_secs(1)),
            header: config.proxy_protocol.send.version(),
        }
    }

    /// A canary, if the new client is one of those that it gets.
    pub(super) fn canary(&self, peer: Peer, now: Instant) -> Option<TakenRoute> {
        let (routes, held) = (&self.pool.routes, &self.pool.metrics.held);
        self.balancer.as_ref()?.canary((routes, held), peer.ip(), now)
    }

    /// Where the next client goes now; not to the readers that just `failed`. It was dropped `drops` times before a byte.
    pub(super) fn choose(&self, failed: &[RouteId], drops: u32, peer: Peer, now: Instant) -> Option<TakenRoute> {
        let (routes, held) = (&self.pool.routes, &self.pool.metrics.held);
        match &self.balancer {
            None => TakenRoute::take(routes.take(now)?, now, held).ok(),
            Some(balancer) => balancer.choose((routes, held), failed, drops, peer.ip(), now),
        }
    }

    /// Whether a client that waited, and was dropped `drops` times, goes to any backend that has a place for it.
    pub(super) fn is_for_any(&self, drops: u32) -> bool {
        self.balancer.as_ref().is_none_or(|balancer| balancer.is_for_any(drops))
    }

    /// Where its clients may be.
    pub(super) fn offered(&self) -> Vec<Arc<Route>> {
        let (routes, now) = (&self.pool.routes, Instant::now());
        self.balancer.as_ref().map_or_else(|| routes.take(now).into_iter().collect(), |balancer| balancer.routes(routes, now))
    }

    /// Where any of its clients may go.
    fn places(&self) -> Vec<Arc<Route>> {
        let (routes, now) = (&self.pool.routes, Instant::now());
        self.balancer.as_ref().map_or_else(|| routes.take(now).into_iter().collect(), |balancer| balancer.places(routes, now))
    }

    /// Every backend that any of its clients may use has as many sessions as it may.
    pub(super) fn is_full(&self) -> bool {
        let places = self.places();
        !places.is_empty() && places.iter().all(|route| route.places.is_full())
    }

    /// Why its clients find no backend.
    pub(super) fn why(&self) -> Arc<str> {
        let routes = &self.pool.routes;
        self.balancer.as_ref().map_or_else(|| routes.why(), |balancer| balancer.why(routes))
    }

    /// Why its clients find no place at a backend.
    pub(super) fn why_full(&self) -> Arc<str> {
        let each = self.places().into_iter().filter_map(|route| {
            let limit = route.places.limit()?;
            Some(format!("{} is at its max_connections, {limit}", route.backend))
        });
        each.collect::<Vec<_>>().join(", ").into()
    }

    /// Counts a rejected client and logs it, at a limited rate, since strangers can cause it at will.
    pub(super) fn turned_away(&self, reason: RejectReason, peer: Peer, why: &str) {
        self.metrics.rejected.get(reason).inc();
        let Some(passed_over) = self.log.may_log(reason, self.pool.process.clock.now()) else { return };
        let passed_over = (passed_over > 0).then_some(passed_over);
        let (Frontend { pool, listener }, reason) = (&*self.frontend, reason.as_str());
        tracing::info!(%pool, %listener, client = %peer, reason, %why, passed_over, "client turned away");
    }
}
