//! Metrics of a pool, its listeners and its backends.

use prometheus::{Counter, Error, Gauge, Histogram, IntCounter, IntGauge};

use super::{
    live::LiveCount,
    names,
    series::{Buckets, Info, OneHot, Per, Series, Table},
};
use crate::{
    failover::{
        Cause, Class, FailoverReady, Health, OperationKind, OperationResult, Outcome, PromotionCondition, Proof, ReadEligibility,
        Reason, Role, Step, label::Label,
    },
    reason::{AcceptError, CloseReason, DialError, Direction, RejectReason},
};

/// Bounds, in seconds, for what normally takes milliseconds: probes, dials.
const QUICK: Buckets = Buckets { full: FINE, short: &[0.001, 0.01, 0.1, 1.0, 5.0] };

/// Bounds, in seconds, for how late a probe began.
const LATE: Buckets = Buckets { full: FINE, short: &[0.05, 0.5, 5.0] };

/// Bounds, in seconds, for what clients feel of a failover: detection, gaps.
const FELT: Buckets = Buckets { full: FINE, short: &[0.01, 0.05, 0.25, 1.0, 5.0, 30.0] };

const FINE: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Bounds, in seconds, for the time that clients are held.
const HOLD: Buckets = Buckets {
    full: &[0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0],
    short: &[0.01, 0.05, 0.25, 1.0, 5.0, 15.0],
};

/// Bounds, in seconds, for sessions: from one query to a day.
const SESSION: Buckets = Buckets {
    full: &[0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 14_400.0, 43_200.0, 86_400.0],
    short: &[0.1, 1.0, 60.0, 3600.0, 86_400.0],
};

/// Metrics of a pool.
#[derive(Debug)]
pub struct PoolMetrics {
    /// Clients that wait because no backend may serve, or takes more.
    pub held: LiveCount,
    /// Those of them that found a backend which had `max_connections` sessions.
    pub queued: LiveCount,
    /// Seconds that held clients waited.
    pub hold_duration: Histogram,
    /// Seconds that clients waited because no backend served them.
    pub client_wait: Counter,
    /// Seconds that sessions lasted.
    pub connection_duration: Histogram,
    /// Dials that were tried again.
    pub dial_retries: IntCounter,
    /// 1 when clients have a backend.
    pub serving: IntGauge,
    /// Number of the last activation.
    pub epoch: IntGauge,
    /// Failovers, by cause.
    pub failovers: Per<Cause, IntCounter>,
    /// Seconds from the first sign of trouble to the revocation.
    pub failover_detection: Histogram,
    /// Seconds from the revocation to the next activation.
    pub failover_gap: Histogram,
    /// Operations that ended, by kind and result.
    pub operations: Per<OperationKind, Per<OperationResult, IntCounter>>,
    /// Seconds of each step, the last time.
    pub operation_steps: Per<OperationKind, Per<Step, Gauge>>,
    /// Operations that told a standby to become the primary, by result.
    pub promotions: Per<OperationResult, IntCounter>,
    /// Times that no standby was promoted automatically, by the condition that did not hold.
    pub promotions_refused: Per<PromotionCondition, IntCounter>,
    /// Seconds during which no backend was active.
    pub outage_seconds: Counter,
    /// Part of the last 30 days during which a backend was active.
    pub availability: Gauge,
    /// 1 when a rollback would lose nothing.
    pub rollback_ready: IntGauge,
    /// Bytes that it would lose.
    pub rollback_lost: IntGauge,
    /// When a rehearsal was last done.
    pub drill_success: Gauge,
    /// Seconds of the last commit that was tried on the active backend.
    pub commit_probe: Gauge,
    /// 1 while new clients are held by command.
    pub paused: IntGauge,
    /// 1 while more than one backend says it is the primary.
    pub primary_conflict: IntGauge,
    /// 1 when another backend would take over now.
    pub failover_ready: IntGauge,
    /// Why it would or would not.
    pub failover_ready_reason: OneHot<FailoverReady>,
}

impl PoolMetrics {
    pub(super) fn new(series: &Series<'_>) -> Result<Self, Error> {
        Ok(Self {
            held: series.live(names::CONNECTIONS_HELD),
            queued: series.live(names::CONNECTIONS_QUEUED),
            hold_duration: series.histogram(names::HOLD_DURATION, HOLD)?,
            client_wait: series.counter(names::CLIENT_WAIT)?,
            connection_duration: series.histogram(names::CONNECTION_DURATION, SESSION)?,
            dial_retries: series.int_counter(names::DIAL_RETRIES)?,
            serving: series.int_gauge(names::POOL_SERVING)?,
            epoch: series.int_gauge(names::POOL_EPOCH)?,
            failovers: series.int_counters(names::FAILOVERS, "cause")?,
            failover_detection: series.histogram(names::FAILOVER_DETECTION, FELT)?,
            failover_gap: series.histogram(names::FAILOVER_GAP, FELT)?,
            outage_seconds: series.counter(names::OUTAGE)?,
            availability: series.with("window", "30d").gauge(names::AVAILABILITY)?,
            operations: Per::new(|kind: OperationKind| {
                series.with("kind", kind.as_str()).int_counters(names::OPERATIONS, "result")
            })?,
            operation_steps: Per::new(|kind: OperationKind| {
                let series = series.with("kind", kind.as_str());
                series.gauges(names::OPERATION_STEPS, "step")
            })?,
            promotions: series.int_counters(names::PROMOTIONS, "result")?,
            promotions_refused: series.int_counters(names::PROMOTIONS_REFUSED, "condition")?,
            rollback_ready: series.int_gauge(names::ROLLBACK_READY)?,
            rollback_lost: series.int_gauge(names::ROLLBACK_LOST)?,
            drill_success: series.gauge(names::DRILL_SUCCESS)?,
            commit_probe: series.gauge(names::COMMIT_PROBE)?,
            paused: series.int_gauge(names::PAUSED)?,
            primary_conflict: series.int_gauge(names::PRIMARY_CONFLICT)?,
            failover_ready: series.int_gauge(names::FAILOVER_READY)?,
            failover_ready_reason: series.one_hot(names::FAILOVER_READY_REASON, "reason", FailoverReady::NoActive),
        })
    }
}

/// Metrics of a listener.
#[derive(Debug)]
pub struct ListenerMetrics {
    /// Connections that were accepted.
    pub accepted: IntCounter,
    /// Connections that are open. Only the API shows it, because sessions are counted by backend.
    pub active: LiveCount,
    /// Connections that were rejected, by reason.
    pub rejected: Per<RejectReason, IntCounter>,
    /// Failed calls of `accept`, by reason.
    pub accept_errors: Per<AcceptError, IntCounter>,
}

impl ListenerMetrics {
    pub(super) fn new(series: &Series<'_>) -> Result<Self, Error> {
        Ok(Self {
            accepted: series.int_counter(names::CONNECTIONS_ACCEPTED)?,
            active: LiveCount::default(),
            rejected: series.int_counters(names::CONNECTIONS_REJECTED, "reason")?,
            accept_errors: series.int_counters(names::ACCEPT_ERRORS, "reason")?,
        })
    }
}

/// Metrics of a backend.
#[derive(Debug)]
pub struct BackendMetrics {
    /// Sessions.
    pub connections_active: LiveCount,
    /// Its `max_connections`; 0 for none. Only shown: nothing decides by it.
    pub connections_limit: IntGauge,
    /// Sessions that ended, by reason.
    pub closed: Per<CloseReason, IntCounter>,
    /// Bytes relayed, counted as they are relayed.
    pub relay_bytes: Per<Direction, IntCounter>,
    /// Bytes relayed inside the kernel; a part of `relay_bytes`.
    pub relay_spliced_bytes: Per<Direction, IntCounter>,
    /// Seconds to connect a client.
    pub dial_duration: Histogram,
    /// Failed attempts to connect a client, by reason.
    pub dial_failures: Per<DialError, IntCounter>,
    /// 1 when it answers its checks.
    pub up: IntGauge,
    /// 1 when it may be active.
    pub eligible: IntGauge,
    /// 1 when new clients go to it.
    pub active: IntGauge,
    /// Observed health.
    pub health: OneHot<Health>,
    /// The role that the database reports.
    pub role: OneHot<Role>,
    /// Why it may or may not be active.
    pub reason: OneHot<Reason>,
    /// 1 while its check does not work, by the outcome.
    pub check_alert: Box<[(Outcome, IntGauge)]>,
    /// Whether it has proven itself since it last changed.
    pub proof: OneHot<Proof>,
    /// The last result of each of its proofs.
    pub proof_results: Table<2>,
    /// How long each of them took.
    pub proof_durations: Table<1>,
    /// What it is made of, in short.
    pub print: Info<1>,
    /// 1 when it may be read as a replica.
    pub reader: IntGauge,
    /// Why it may or may not be read.
    pub reader_reason: OneHot<ReadEligibility>,
    /// Replication lag in bytes; 0 when it reports none.
    pub replication_lag_bytes: IntGauge,
    /// The database's own epoch; 0 when it reports none.
    pub db_epoch: IntGauge,
    /// Finished probes, by outcome.
    pub probes: Per<Outcome, IntCounter>,
    /// Seconds that probes took.
    pub probe_duration: Histogram,
    /// Seconds since 1970 at the end of the last probe.
    pub probe_last_timestamp: Gauge,
    /// Seconds that probes started late.
    pub probe_lateness: Histogram,
    /// Changes of health: by the new value, then by cause.
    pub transitions: Per<Health, Per<Cause, IntCounter>>,
    /// Sessions that were revoked, by cause.
    pub sessions_revoked: Per<Cause, IntCounter>,
    info: Info<2>,
}

impl BackendMetrics {
    pub(super) fn new(series: &Series<'_>, address: &str) -> Result<Self, Error> {
        let info = series.info(names::BACKEND_INFO, ["address", "version"]);
        info.set([address, ""]);
        let alerts = Outcome::ALL.iter().filter(|outcome| outcome.class() == Class::Neutral);
        let alert =
            |outcome: &Outcome| Ok((*outcome, series.with("outcome", outcome.as_str()).int_gauge(names::BACKEND_CHECK_ALERT)?));
        let transitions = |to: Health| series.with("to", to.as_str()).int_counters(names::TRANSITIONS, "cause");
        Ok(Self {
            connections_active: series.live(names::CONNECTIONS_ACTIVE),
            connections_limit: series.int_gauge(names::CONNECTIONS_LIMIT)?,
            closed: series.int_counters(names::CONNECTIONS_CLOSED, "reason")?,
            relay_bytes: series.int_counters(names::RELAY_BYTES, "direction")?,
            relay_spliced_bytes: series.int_counters(names::RELAY_SPLICED_BYTES, "direction")?,
            dial_duration: series.histogram(names::DIAL_DURATION, QUICK)?,
            dial_failures: series.int_counters(names::DIAL_FAILURES, "reason")?,
            up: series.int_gauge(names::BACKEND_UP)?,
            eligible: series.int_gauge(names::BACKEND_ELIGIBLE)?,
            active: series.int_gauge(names::BACKEND_ACTIVE)?,
            health: series.one_hot(names::BACKEND_HEALTH, "state", Health::Unknown),
            role: series.one_hot(names::BACKEND_ROLE, "role", Role::Unknown),
            reason: series.one_hot(names::BACKEND_REASON, "reason", Reason::Unknown),
            check_alert: alerts.map(alert).collect::<Result<_, Error>>()?,
            proof: series.one_hot(names::BACKEND_PROOF, "state", Proof::Proven),
            proof_results: series.table(names::PROOF_RESULT, ["proof", "result"]),
            proof_durations: series.table(names::PROOF_DURATION, ["proof"]),
            print: series.info(names::BACKEND_PRINT_INFO, ["print"]),
            reader: series.int_gauge(names::BACKEND_READER)?,
            reader_reason: series.one_hot(names::BACKEND_READER_REASON, "reason", ReadEligibility::Unknown),
            replication_lag_bytes: series.int_gauge(names::BACKEND_REPLICATION_LAG)?,
            db_epoch: series.int_gauge(names::BACKEND_DB_EPOCH)?,
            probes: series.int_counters(names::PROBES, "outcome")?,
            probe_duration: series.histogram(names::PROBE_DURATION, QUICK)?,
            probe_last_timestamp: series.gauge(names::PROBE_LAST_TIMESTAMP)?,
            probe_lateness: series.histogram(names::PROBE_LATENESS, LATE)?,
            transitions: Per::new(transitions)?,
            sessions_revoked: series.int_counters(names::SESSIONS_REVOKED, "cause")?,
            info,
        })
    }

    const VERSION_MAX_CHARS: usize = 64;

    /// Sets address and server version in `mainstay_backend_info`. The version comes from the backend: cut at 64 characters; the
    /// series of the old values is removed.
    pub fn set_info(&self, address: &str, version: &str) {
        let end = version.char_indices().nth(Self::VERSION_MAX_CHARS).map_or(version.len(), |(at, _)| at);
        self.info.set([address, &version[..end]]);
    }
}
