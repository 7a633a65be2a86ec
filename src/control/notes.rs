//! Reports changes: a log line, an event and a count for each.

use std::{sync::Arc, time::Duration};

use super::{
    effects::{Action, RouteChange},
    node::Node,
    probe::agreement::Agreement,
};
use crate::{
    failover::{
        BackendId, Cause, Epoch, Health, Note, Outcome, Printable, ReadEligibility, RevokeMode, Time, Verdict, label::Label,
    },
    metrics::PoolMetrics,
    net::endpoint::Endpoint,
    route::{EventLog, StateEvent},
    telemetry::{Admitted, LineLimit},
};

/// Reports for one pool.
pub(super) struct Teller {
    pub(super) pool: Arc<str>,
    pub(super) events: Arc<EventLog>,
    pub(super) metrics: Arc<PoolMetrics>,
    /// Of the lines about a backend's proof, those that warn and the others.
    pub(super) proof_lines: LineLimit<(Arc<str>, bool)>,
    /// Of the lines about each backend's probes that do not count, by what is said.
    pub(super) probe_lines: LineLimit<(Arc<str>, &'static str)>,
}

/// When, and under which epoch.
pub(super) type Moment = (Time, Epoch);

impl Teller {
    /// What the core noted.
    pub(super) fn note(&self, at: Moment, nodes: &[Node], note: &Note) {
        let (pool, name) = (&*self.pool, |id: &BackendId| &nodes[id.index()].config.name);
        match note {
            Note::Verdict { from, to } => self.verdict(at, *from, *to),
            Note::Conflict { present, claimants } => {
                let claimants = claimants.iter().map(|id| &**name(id)).collect::<Vec<_>>().join(", ");
                self.conflict(at, claimants, *present);
            }
            Note::Health { backend, from, to, cause, evidence } => {
                nodes[backend.index()].metrics.transitions.get(*to).get(*cause).inc();
                self.health(at, name(backend), (*from, *to), *cause, evidence);
            }
            Note::Role { backend, from, to } => self.changed(at, name(backend), ("role", "role changed"), *from, *to),
            Note::Eligibility { backend, from, to } => {
                self.changed(at, name(backend), ("eligibility", "eligibility changed"), *from, *to);
            }
            Note::Proof { backend, from, to, what } => self.proof(at, name(backend), (*from, *to), what),
            Note::AdminSet { backend, from, to } => {
                self.changed(at, name(backend), ("admin", "administrative state set"), *from, *to);
            }
            Note::CheckAlert { backend, outcome, evidence } => self.check(at, name(backend), *outcome, evidence),
            Note::UnknownBackend(id) => tracing::warn!(pool, backend = id.0, "an event names a backend this pool does not have"),
            // The answer to the order tells it.
            Note::OperationRefused { .. } | Note::NobodyTakesOver(_) | Note::Trial(..) => {}
            Note::Pause(until) => self.pause(at, *until),
        }
    }

    fn changed<L: Label>(&self, at: Moment, backend: &Arc<str>, (kind, message): (&'static str, &str), from: L, to: L) {
        let (from, to) = (from.as_str(), to.as_str());
        tracing::info!(pool = &*self.pool, %backend, from, to, "{message}");
        self.events.push(StateEvent { from: Some(from), to: Some(to), ..self.event(at, Some(backend), kind) });
    }

    fn health(&self, at: Moment, backend: &Arc<str>, (from, to): (Health, Health), cause: Cause, evidence: &Printable) {
        let pool = &*self.pool;
        let (is, from, to, cause) = (to, from.as_str(), to.as_str(), cause.as_str());
        if is == Health::Down {
            tracing::warn!(pool, %backend, from, to, cause, %evidence, "health changed");
        } else {
            tracing::info!(pool, %backend, from, to, cause, %evidence, "health changed");
        }
        let (cause, evidence) = (Some(cause), evidence.clone());
        self.events.push(StateEvent {
            from: Some(from),
            to: Some(to),
            cause,
            evidence,
            ..self.event(at, Some(backend), "health")
        });
    }

    fn check(&self, at: Moment, backend: &Arc<str>, outcome: Outcome, evidence: &Printable) {
        let pool = &*self.pool;
        match outcome {
            Outcome::Ok => tracing::info!(pool, %backend, "the check works again"),
            _ => {
                tracing::error!(pool, %backend, outcome = outcome.as_str(), %evidence, "the check cannot do its work; the verdict stays as it is");
            }
        }
        let (to, evidence) = (Some(outcome.as_str()), evidence.clone());
        self.events.push(StateEvent { to, evidence, ..self.event(at, Some(backend), "check") });
    }

    fn verdict(&self, at: Moment, from: Verdict, to: Verdict) {
        let pool = &*self.pool;
        let (before, verdict) = (from.as_str(), to.as_str());
        match to {
            Verdict::SplitBrain => {
                tracing::error!(pool, before, verdict, "more than one primary and no rule to tell them apart: fence one of them");
            }
            Verdict::HoldDown => tracing::error!(
                pool,
                before,
                verdict,
                "the failover budget is used up and every candidate failed lately: repair a backend; this ends by itself when the budget's window has passed"
            ),
            // What is known of it is told when it is known (`tell_unproven`).
            Verdict::NoProvenNode => {
                tracing::info!(pool, before, verdict, "whoever could serve is looked at first: new clients are held");
            }
            Verdict::NoEligible => tracing::warn!(pool, before, verdict, "no backend may serve: new clients are held"),
            _ => tracing::debug!(pool, before, verdict, "verdict changed"),
        }
        // `activate` and `revoke` report that the active backend stays, or that another took over.
        if !matches!((from, to), (Verdict::Keep | Verdict::Switch | Verdict::Settling, Verdict::Keep | Verdict::Switch)) {
            self.events.push(StateEvent { from: Some(before), to: Some(verdict), ..self.event(at, None, "verdict") });
        }
    }

    fn pause(&self, at: Moment, until: Option<Time>) {
        let pool = &*self.pool;
        let to = if let Some(until) = until {
            let max_ms = u64::try_from(until.since(at.0).as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(pool, max_ms, "paused: new clients wait");
            "begun"
        } else {
            tracing::warn!(pool, "the pause is over");
            "ended"
        };
        self.events.push(StateEvent { to: Some(to), ..self.event(at, None, "pause") });
    }

    fn conflict(&self, at: Moment, claimants: String, present: bool) {
        let pool = &*self.pool;
        if present {
            tracing::error!(pool, claimants, "more than one backend says it is the primary: shut down or rebuild the wrong one");
        } else {
            tracing::info!(pool, "one primary again");
        }
        let to = Some(if present { "present" } else { "gone" });
        self.events.push(StateEvent { to, evidence: claimants.into(), ..self.event(at, None, "conflict") });
    }

    /// The endpoint of a backend fell silent, contradicts its database, or works again. The database decides about health, so this
    /// does not change the state of the backend.
    pub(super) fn second_opinion(&self, at: Moment, backend: &Arc<str>, agreement: Agreement, evidence: Printable) {
        let pool = &*self.pool;
        match agreement {
            Agreement::Agrees => tracing::info!(pool, %backend, "the HTTP check gives a second opinion again"),
            Agreement::Silent => {
                tracing::warn!(pool, %backend, evidence = &*evidence, "the HTTP check gives no second opinion; the other check decides alone");
            }
            Agreement::Contradicts => {
                tracing::warn!(pool, %backend, evidence = &*evidence, "the HTTP check contradicts the database, which says it is the primary");
            }
        }
        let to = Some(agreement.as_str());
        self.events.push(StateEvent { to, evidence, ..self.event(at, Some(backend), "second_opinion") });
    }

    /// The name of a backend now resolves to `addresses`.
    pub(super) fn addresses(&self, nodes: &[Node], index: usize, addresses: &[Endpoint]) {
        let (pool, node) = (&*self.pool, &nodes[index]);
        let name = &*node.config.name;
        if !node.resolved.is_empty() {
            tracing::info!(pool, backend = name, was = ?node.resolved, is = ?addresses, "the backend's name stands for other addresses now");
        }
        for (_, other) in nodes.iter().enumerate().filter(|(other, _)| *other != index) {
            if let Some(address) = other.resolved.iter().find(|address| addresses.contains(address)) {
                tracing::warn!(pool, backend = name, other = %other.config.name, %address, "two backends stand for one address: a server cannot take over from itself");
            }
        }
    }

    /// What was done with the route to the active backend.
    pub(super) fn route_change(&self, at: Time, change: impl Into<Option<RouteChange>>) {
        let Some(RouteChange { action, backend, epoch, cause, evidence }) = change.into() else { return };
        let (pool, cause) = (&self.pool, cause.map(Label::as_str));
        let (mut first_sign, mut sessions_end, mut unknown) = (None, None, None);
        let kind = match action {
            Action::Revoked { sessions, mode, detected } => {
                tracing::warn!(
                    %pool,
                    %backend,
                    epoch = epoch.0,
                    cause,
                    %evidence,
                    sessions,
                    sessions_end = mode.as_str(),
                    detected_ms = millis(detected),
                    "revoked: the backend takes no more clients"
                );
                first_sign = Some(Time::new(at.since_origin().saturating_sub(detected)));
                sessions_end = Some(mode);
                "revoke"
            }
            Action::Aborted => {
                tracing::warn!(%pool, %backend, epoch = epoch.0, cause, %evidence, "aborted: the sessions that the backend had not ended itself");
                "abort"
            }
            Action::Activated { after, unknown_bytes } => {
                unknown = unknown_bytes;
                let (gap_ms, from) = after.as_ref().map(|after| (millis(after.gap), &*after.from)).unzip();
                tracing::info!(
                    %pool,
                    %backend,
                    epoch = epoch.0,
                    cause,
                    %evidence,
                    gap_ms,
                    from,
                    "activated: new clients go to this backend"
                );
                if let Some(failover) = after.filter(|after| after.from != after.to) {
                    self.metrics.failovers.get(failover.cause).inc();
                    self.metrics.failover_detection.observe(failover.detected.as_secs_f64());
                    self.metrics.failover_gap.observe(failover.gap.as_secs_f64());
                }
                "activate"
            }
            Action::Suspended => {
                tracing::info!(%pool, %backend, epoch = epoch.0, %evidence, "suspended: new clients wait");
                "suspend"
            }
            Action::Resumed => {
                tracing::info!(%pool, %backend, epoch = epoch.0, "resumed: new clients go on");
                "resume"
            }
        };
        let event = self.event((at, epoch), Some(&backend), kind);
        self.events.push(StateEvent { cause, evidence, first_sign, sessions_end, unknown_bytes: unknown, ..event });
    }

    /// The name of the active backend no longer resolves to addresses that did not answer.
    pub(super) fn moved(&self, backend: &str, epoch: Epoch, sessions: u64, mode: RevokeMode) {
        tracing::warn!(
            pool = %self.pool,
            %backend,
            epoch = epoch.0,
            cause = Cause::Down.as_str(),
            sessions,
            sessions_end = mode.as_str(),
            "the backend moved away from an address that did not answer: the sessions there end"
        );
    }

    /// A backend may be read, or no longer; this many sessions were closed.
    pub(super) fn read_eligibility(
        &self,
        at: Moment,
        backend: &Arc<str>,
        (from, to): (ReadEligibility, ReadEligibility),
        (sessions, closed): (RevokeMode, u64),
        why: String,
    ) {
        if from != ReadEligibility::Reader && to != ReadEligibility::Reader && closed == 0 {
            return;
        }
        let (pool, before, reason) = (&*self.pool, from.as_str(), to.as_str());
        if to == ReadEligibility::Reader {
            tracing::info!(pool, %backend, before, "backend may be read");
        } else if sessions == RevokeMode::Drain {
            tracing::info!(pool, %backend, reason, "backend may not be read: {why}; sessions go on");
        } else {
            let sessions_end = sessions.as_str();
            tracing::warn!(pool, %backend, reason, sessions = closed, sessions_end, "backend may not be read: {why}");
        }
        let (from, to, evidence) = (Some(before), Some(reason), why.into());
        self.events.push(StateEvent { from, to, evidence, ..self.event(at, Some(backend), "reader") });
    }

    /// A probe was too late to count.
    pub(super) fn late(&self, node: &Node, lateness: Duration) {
        node.metrics.probe_lateness.observe(lateness.as_secs_f64());
        let Some(Admitted { suppressed }) = self.probe_lines.admits((Arc::clone(&node.config.name), "late")) else { return };
        tracing::warn!(
            pool = %self.pool,
            backend = %node.config.name,
            late_ms = u64::try_from(lateness.as_millis()).unwrap_or(u64::MAX),
            suppressed,
            "a probe was late because this machine was busy; its result does not count"
        );
    }

    /// A probe could not be made.
    pub(super) fn no_verdict(&self, node: &Node, evidence: &Printable) {
        let backend = &node.config.name;
        let Some(Admitted { suppressed }) = self.probe_lines.admits((Arc::clone(backend), "no_verdict")) else { return };
        tracing::warn!(pool = %self.pool, %backend, %evidence, suppressed, "a probe could not be made; that says nothing of the backend");
    }

    /// No probe of a backend has finished for this long.
    pub(super) fn silence(&self, backend: &str, silent: Duration) {
        tracing::error!(
            pool = %self.pool,
            %backend,
            silent_ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX),
            "no probe has finished in time: a failure of this backend would not be noticed"
        );
    }

    /// An event with only its kind set.
    pub(super) fn event(&self, (at, epoch): Moment, backend: Option<&Arc<str>>, kind: &'static str) -> StateEvent {
        let (pool, backend) = (Arc::clone(&self.pool), backend.cloned());
        StateEvent { at, pool, backend, kind, epoch, ..StateEvent::default() }
    }
}

pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
