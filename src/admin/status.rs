//! The JSON of pools and backends. Field names are part of the interface.

use std::time::Duration;

use serde::Serialize;

use super::{AdminListener, AdminPool, AdminState, health, sentence};
use crate::{
    failover::{BackendId, FailoverReady, ReadEligibility, Reason, Role, Time, label::Label},
    net::cidr::Cidr,
    route::{BackendView, LastFailover, OlderProcess, OperationView, Snapshot, TrialView, rfc3339},
};

/// `GET /api/v1/status`.
#[derive(Serialize)]
pub(super) struct Status {
    version: &'static str,
    /// Of this process.
    pid: u32,
    started: String,
    uptime_seconds: u64,
    ready: bool,
    phase: &'static str,
    orders_need: &'static str,
    /// Older processes of an upgrade that still have clients, the newest first.
    older: Vec<OlderProcess>,
    pools: Vec<Pool>,
}

/// `GET /api/v1/pools/{p}`.
#[derive(Serialize)]
#[allow(clippy::struct_excessive_bools, reason = "the fields are the interface's")]
pub(super) struct Pool {
    name: String,
    summary: String,
    advice: Option<String>,
    epoch: u64,
    active: Option<String>,
    suspended: bool,
    verdict: &'static str,
    conflict: bool,
    failover_ready: bool,
    failover_ready_reason: &'static str,
    paused: bool,
    pause_left_seconds: Option<u64>,
    held: u64,
    operation: Option<Operation>,
    trial: Option<Trial>,
    listeners: Vec<Listener>,
    last_failover: Option<Failover>,
    backends: Vec<Backend>,
}

/// The operation that runs; all of it is at `/api/v1/operations/{id}`.
#[derive(Serialize)]
struct Operation {
    id: u64,
    kind: &'static str,
    from: Option<String>,
    to: String,
    step: Option<&'static str>,
    /// When the step began.
    since: Option<String>,
    can_abort: bool,
}

/// The trial that runs, or the way back of a drill.
#[derive(Serialize)]
struct Trial {
    /// The number of the switchover that it follows.
    operation: u64,
    /// The backend to which it goes back.
    from: Option<String>,
    to: String,
    returns: bool,
    until: String,
    sentence: String,
}

#[derive(Serialize)]
struct Listener {
    name: String,
    listen: Vec<String>,
    route: &'static str,
    connections: u64,
    limit: Option<usize>,
    limit_per_ip: Option<usize>,
    allow: Vec<String>,
    deny: Vec<String>,
    proxy_protocol: ProxyProtocol,
}

#[derive(Serialize)]
struct ProxyProtocol {
    accept_from: Vec<String>,
    send: &'static str,
}

#[derive(Serialize)]
struct Failover {
    at: String,
    from: String,
    to: String,
    cause: &'static str,
    evidence: String,
    detected_ms: f64,
    gap_ms: f64,
    sessions_closed: u64,
}

#[derive(Serialize)]
#[allow(clippy::struct_excessive_bools, reason = "the fields are the interface's")]
struct Backend {
    name: String,
    address: String,
    resolved: Vec<String>,
    health: &'static str,
    pending: bool,
    role: &'static str,
    admin: &'static str,
    eligible: bool,
    reason: String,
    alert: Option<&'static str>,
    alert_evidence: Option<String>,
    active: bool,
    reader: bool,
    reader_reason: &'static str,
    proof: &'static str,
    proof_what: Option<String>,
    since: String,
    connections: u64,
    limit: Option<i64>,
    lag_bytes: Option<u64>,
    version: Option<String>,
    db_epoch: Option<u64>,
    last_probe: Option<Probe>,
}

#[derive(Serialize)]
struct Probe {
    outcome: &'static str,
    evidence: String,
    at: String,
    took_ms: f64,
}

pub(super) fn status(state: &AdminState, caller: &super::authority::Caller) -> Status {
    Status {
        version: state.version,
        pid: std::process::id(),
        started: moment(state, Time::ZERO),
        uptime_seconds: state.clock.now().since_origin().as_secs(),
        ready: health::not_ready(state).is_empty(),
        phase: state.phase.get().as_str(),
        orders_need: state.authority.orders_need(caller).as_str(),
        older: state.older.all(),
        pools: state.view().pools.iter().map(|entry| pool(state, entry)).collect(),
    }
}

pub(super) fn pool(state: &AdminState, entry: &AdminPool) -> Pool {
    let snapshot = entry.snapshot.get();
    let held = entry.metrics.held.get();
    let running = state.operations.running(&snapshot.pool);
    let under_way = running.as_ref().map(|running| sentence::under_way(running, state.clock.now()));
    let backends = snapshot.backends.iter().enumerate().map(|(index, view)| {
        let metrics = entry.backend(&view.name);
        let connections = metrics.map_or(0, |metrics| metrics.connections_active.get());
        let limit = metrics.map(|metrics| metrics.connections_limit.get()).filter(|limit| *limit > 0);
        let active = snapshot.active.map(BackendId::index) == Some(index);
        backend(state, &snapshot, view, active, (connections, limit))
    });
    Pool {
        name: snapshot.pool.to_string(),
        summary: sentence::summary(&snapshot, held, under_way) + &sentence::reading(&snapshot, &entry.routes()),
        advice: sentence::to_do(&snapshot),
        epoch: snapshot.epoch.0,
        active: snapshot.active.map(|id| name_of(&snapshot, id)),
        suspended: snapshot.suspended,
        verdict: snapshot.verdict.as_str(),
        conflict: snapshot.conflict,
        failover_ready: snapshot.failover_ready == FailoverReady::Yes,
        failover_ready_reason: snapshot.failover_ready.as_str(),
        paused: snapshot.paused,
        pause_left_seconds: snapshot.paused_until.map(|until| until.since(state.clock.now()).as_secs()),
        held,
        operation: running.map(|running| operation(state, &running)),
        trial: state.operations.on_trial(&snapshot.pool).and_then(|after| trial(state, &after)),
        listeners: entry.listeners.iter().map(listener).collect(),
        last_failover: snapshot.last_failover.as_ref().map(|last| failover(state, last)),
        backends: backends.collect(),
    }
}

fn operation(state: &AdminState, running: &OperationView) -> Operation {
    let step = running.step();
    Operation {
        id: running.id,
        kind: running.kind.as_str(),
        from: running.from.as_ref().map(ToString::to_string),
        to: running.to.to_string(),
        step: step.map(|step| step.step.as_str()),
        since: step.and_then(|step| step.since).map(|since| moment(state, since)),
        can_abort: running.can_abort,
    }
}

fn trial(state: &AdminState, after: &OperationView) -> Option<Trial> {
    let TrialView { returns, until, sentence, .. } = after.trial.as_ref()?;
    Some(Trial {
        operation: after.id,
        from: after.from.as_ref().map(ToString::to_string),
        to: after.to.to_string(),
        returns: *returns,
        until: moment(state, *until),
        sentence: sentence.to_string(),
    })
}

fn listener(listener: &AdminListener) -> Listener {
    let AdminListener { config, bound, limit, metrics } = listener;
    let texts = |networks: &[Cidr]| networks.iter().map(ToString::to_string).collect();
    Listener {
        name: config.name.to_string(),
        listen: bound.iter().map(ToString::to_string).collect(),
        route: config.route.as_str(),
        connections: metrics.active.get(),
        limit: *limit,
        limit_per_ip: config.max_connections_per_ip,
        allow: texts(&config.allow),
        deny: texts(&config.deny),
        proxy_protocol: ProxyProtocol {
            accept_from: texts(&config.proxy_protocol.accept_from),
            send: config.proxy_protocol.send.as_str(),
        },
    }
}

/// `at` on the wall clock.
pub(super) fn moment(state: &AdminState, at: Time) -> String {
    rfc3339::format(state.clock.wall(at))
}

fn backend(
    state: &AdminState,
    snapshot: &Snapshot,
    view: &BackendView,
    active: bool,
    (connections, limit): (u64, Option<i64>),
) -> Backend {
    let last_probe = view.last_probe.as_ref().map(|probe| Probe {
        outcome: probe.outcome.as_str(),
        evidence: probe.evidence.to_string(),
        at: moment(state, probe.at),
        took_ms: millis(probe.took),
    });
    Backend {
        name: view.name.to_string(),
        address: view.address.to_string(),
        resolved: view.resolved.iter().map(ToString::to_string).collect(),
        health: view.health.as_str(),
        pending: view.pending,
        role: view.facts.role.unwrap_or(Role::Unknown).as_str(),
        admin: view.admin.as_str(),
        eligible: view.reason == Reason::Eligible,
        reason: sentence::reason(snapshot, view),
        alert: view.alert.map(Label::as_str),
        alert_evidence: view.alert.map(|_| view.alert_evidence.to_string()),
        active,
        reader: view.read_eligibility == ReadEligibility::Reader,
        reader_reason: view.read_eligibility.as_str(),
        proof: view.proof.as_str(),
        proof_what: (!view.proof_what.is_empty()).then(|| view.proof_what.to_string()),
        since: moment(state, view.since),
        connections,
        limit,
        lag_bytes: view.facts.lag_bytes,
        version: view.facts.version.as_deref().map(str::to_owned),
        db_epoch: view.facts.db_epoch,
        last_probe,
    }
}

fn failover(state: &AdminState, last: &LastFailover) -> Failover {
    Failover {
        at: moment(state, last.at),
        from: last.from.to_string(),
        to: last.to.to_string(),
        cause: last.cause.as_str(),
        evidence: last.evidence.to_string(),
        detected_ms: millis(last.detected),
        gap_ms: millis(last.gap),
        sessions_closed: last.sessions_closed,
    }
}

fn name_of(snapshot: &Snapshot, id: BackendId) -> String {
    snapshot.backends.get(id.index()).map_or_else(|| format!("backend {}", id.0), |backend| backend.name.to_string())
}

/// Milliseconds, to a tenth.
pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
