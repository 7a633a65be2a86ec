//! Carries out what the core ordered, in its order: an epoch is revoked before the next is activated, and whatever an earlier
//! epoch left is aborted first.

use std::sync::Arc;

use super::supervisor::Supervisor;
use crate::{
    failover::{BackendId, BackendState, Cause, Epoch, Printable, RevokeMode, Time, label::Label},
    net::addresses::Addresses,
    route::{LastFailover, Offer, Publisher, Revocation, Route, StateEvent, Tenure},
};

/// Publishes routes and keeps hold of those that were withdrawn but may still have sessions.
pub(super) struct Carrier {
    publisher: Publisher,
    /// The route of the active epoch, offered or suspended.
    route: Option<Arc<Route>>,
    /// Earlier epochs whose sessions were left to end by themselves.
    lingering: Vec<Arc<Revocation>>,
    /// The last revocation that was not followed by an activation yet.
    gap: Option<Gap>,
}

struct Gap {
    since: Time,
    from: Arc<str>,
    cause: Cause,
    evidence: Printable,
    detected: std::time::Duration,
    sessions_closed: u64,
}

impl Carrier {
    pub(super) const fn new(publisher: Publisher) -> Self {
        Self { publisher, route: None, lingering: Vec::new(), gap: None }
    }

    pub(super) const fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Tells why nobody may serve, as long as nobody may.
    pub(super) fn explain(&self, why: &str) {
        let offer = self.publisher.current();
        if offer.route.is_none() && *offer.why != *why {
            self.publisher.offer(Offer { route: None, why: why.into() });
        }
    }

    /// Clients stand under a route, of this epoch or of one that was left to end by itself.
    pub(super) fn has_sessions(&self) -> bool {
        let present = self.route.as_ref().map(|route| &route.revocation);
        self.lingering.iter().chain(present).any(|revocation| revocation.clients() > 0)
    }

    /// The active backend's name stands for other addresses now. Same epoch: its sessions stay, unless `leave` says how those at
    /// addresses that are gone end. Whether any may have been there.
    fn readdress(&mut self, addresses: &Addresses, leave: Option<RevokeMode>) -> bool {
        let Some(route) = self.route.as_mut().filter(|route| route.addresses != *addresses) else { return false };
        let leave = leave.filter(|_| !route.addresses.iter().any(|old| addresses.contains(old)));
        let old = Arc::clone(&route.revocation);
        let revocation = if leave.is_some() { Arc::default() } else { Arc::clone(&old) };
        *route = Arc::new(Route { addresses: addresses.clone(), revocation, ..Route::clone(route) });
        if self.publisher.current().route.is_some() {
            self.publisher.offer(Offer { route: Some(Arc::clone(route)), why: "".into() });
        }
        if let Some(mode) = leave {
            old.revoke(mode);
        }
        leave.is_some()
    }

    /// The process is out of patience: every session ends.
    pub(super) fn end_all(&mut self) {
        for revocation in self.lingering.drain(..).chain(self.route.take().map(|route| Arc::clone(&route.revocation))) {
            revocation.revoke(RevokeMode::Abort);
        }
        self.withdraw("mainstay is shutting down");
    }

    fn withdraw(&self, why: &str) {
        self.publisher.offer(Offer { route: None, why: why.into() });
    }

    fn offer(&self, route: &Arc<Route>) {
        self.publisher.offer(Offer { route: Some(Arc::clone(route)), why: "".into() });
    }
}

impl Supervisor {
    pub(super) fn revoke(&mut self, now: Time, epoch: Epoch, backend: BackendId, mode: RevokeMode, cause: Cause) {
        let Some(route) = self.carrier.route.take() else { return };
        let known = self.core.backend(backend).filter(|_| cause != Cause::Removed);
        let evidence = known.map_or_else(|| "it is no longer in the configuration".into(), |state| state.evidence().clone());
        let detected = known.and_then(BackendState::trouble_since).map(|since| now.since(since)).unwrap_or_default();
        let sessions = u64::try_from(route.metrics.connections_active.get()).unwrap_or(0);
        // Those who read from it are another matter.
        let reading = known.and_then(|_| self.nodes.get(backend.index())).map_or(0, |node| node.seat.sessions());
        let sessions = sessions.saturating_sub(reading as u64);
        self.carrier.withdraw(&format!("{} was withdrawn: {cause}", route.backend));
        route.revocation.revoke(mode);
        if mode == RevokeMode::Drain {
            self.carrier.lingering.push(Arc::clone(&route.revocation));
        } else {
            route.metrics.sessions_revoked.get(cause).inc_by(sessions);
            if mode == RevokeMode::LastWords {
                self.carrier.lingering.push(Arc::clone(&route.revocation));
            }
        }
        self.carrier.gap = Some(Gap {
            since: now,
            from: Arc::clone(&route.backend),
            cause,
            evidence: evidence.clone(),
            detected,
            sessions_closed: sessions,
        });
        tracing::warn!(
            pool = %self.config.name,
            backend = %route.backend,
            epoch = epoch.0,
            cause = cause.as_str(),
            %evidence,
            sessions,
            sessions_end = mode.as_str(),
            detected_ms = millis(detected),
            "revoked: the backend takes no more clients"
        );
        self.tell(now, &route.backend, "revoke", epoch, Some(cause), evidence);
    }

    /// A server that had said that it takes nobody in has nothing more to say: what it left of its sessions ends.
    pub(super) fn abort(&mut self, now: Time, epoch: Epoch, backend: BackendId, cause: Cause) {
        let left: Vec<_> = self.carrier.lingering.drain(..).collect();
        for revocation in &left {
            revocation.revoke(RevokeMode::Abort);
        }
        if left.iter().all(|revocation| Arc::strong_count(revocation) == 1) {
            return;
        }
        let name = Arc::clone(self.name(backend));
        let evidence = self.core.backend(backend).map(|state| state.evidence().clone()).unwrap_or_default();
        tracing::warn!(
            pool = %self.config.name,
            backend = %name,
            epoch = epoch.0,
            cause = cause.as_str(),
            %evidence,
            "aborted: the sessions that the backend had not ended itself"
        );
        self.tell(now, &name, "abort", epoch, Some(cause), evidence);
    }

    pub(super) fn activate(&mut self, now: Time, epoch: Epoch, backend: BackendId, cause: Cause) {
        for revocation in self.carrier.lingering.drain(..) {
            revocation.revoke(RevokeMode::Abort);
        }
        self.abort_last_words();
        let node = &self.nodes[backend.index()];
        let name = Arc::clone(&node.config.name);
        let route = Arc::new(Route {
            backend: Arc::clone(&name),
            metrics: Arc::clone(&node.metrics),
            tenure: Tenure::Active(epoch),
            addresses: node.resolved.clone(),
            revocation: Arc::new(Revocation::default()),
        });
        self.carrier.publisher.verified(now);
        self.carrier.offer(&route);
        self.carrier.route = Some(route);
        let evidence = self.core.backend(backend).map(|state| state.evidence().clone()).unwrap_or_default();
        let gap = self.carrier.gap.take();
        tracing::info!(
            pool = %self.config.name,
            backend = %name,
            epoch = epoch.0,
            cause = cause.as_str(),
            %evidence,
            gap_ms = gap.as_ref().map(|gap| millis(now.since(gap.since))),
            from = gap.as_ref().map(|gap| gap.from.as_ref()),
            "activated: new clients go to this backend"
        );
        if let Some(gap) = gap.filter(|gap| gap.from != name) {
            self.count_failover(now, &name, gap);
        }
        self.tell(now, &name, "activate", epoch, Some(cause), evidence);
    }

    fn count_failover(&mut self, now: Time, to: &Arc<str>, gap: Gap) {
        let length = now.since(gap.since);
        self.metrics.failovers.get(gap.cause).inc();
        self.metrics.failover_detection.observe(gap.detected.as_secs_f64());
        self.metrics.failover_gap.observe(length.as_secs_f64());
        self.last_failover = Some(LastFailover {
            at: now,
            from: gap.from,
            to: Arc::clone(to),
            cause: gap.cause,
            evidence: gap.evidence,
            detected: gap.detected,
            gap: length,
            sessions_closed: gap.sessions_closed,
        });
    }

    /// New clients of the active backend go where the last probe went. What was `failing` before has been left by its name as well:
    /// nobody will tell its sessions that it is gone, so they end as those of a backend that went down.
    pub(super) fn readdress(&mut self, failing: bool) {
        let Some(active) = self.core.active() else { return };
        let node = &self.nodes[active.index()];
        let mode = self.config.policy.on_down;
        let sessions = u64::try_from(node.metrics.connections_active.get()).unwrap_or(0);
        if !self.carrier.readdress(&node.resolved, Some(mode).filter(|mode| failing && *mode != RevokeMode::Drain)) {
            return;
        }
        node.metrics.sessions_revoked.get(Cause::Down).inc_by(sessions);
        tracing::warn!(
            pool = %self.config.name,
            backend = %node.config.name,
            epoch = self.core.epoch().0,
            cause = Cause::Down.as_str(),
            sessions,
            sessions_end = mode.as_str(),
            "the backend moved away from an address that did not answer: the sessions there end"
        );
    }

    pub(super) fn suspend(&mut self, now: Time, epoch: Epoch) {
        let Some(name) = self.carrier.route.as_ref().map(|route| Arc::clone(&route.backend)) else { return };
        self.carrier.withdraw(&format!("{name} is in doubt and is being probed"));
        let state = self.core.active().and_then(|active| self.core.backend(active));
        let evidence = state.map(|state| state.evidence().clone()).unwrap_or_default();
        tracing::info!(pool = %self.config.name, backend = %name, epoch = epoch.0, %evidence, "in doubt: new clients wait for a second opinion");
        self.tell(now, &name, "suspend", epoch, None, evidence);
    }

    pub(super) fn resume(&mut self, now: Time, epoch: Epoch) {
        let Some(route) = self.carrier.route.clone() else { return };
        self.carrier.publisher.verified(now);
        self.carrier.offer(&route);
        tracing::info!(pool = %self.config.name, backend = %route.backend, epoch = epoch.0, "the doubt is gone: new clients go on");
        self.tell(now, &route.backend, "resume", epoch, None, "".into());
    }

    fn tell(&self, at: Time, backend: &Arc<str>, kind: &'static str, epoch: Epoch, cause: Option<Cause>, evidence: Printable) {
        self.events.push(StateEvent {
            id: 0,
            at,
            pool: Arc::clone(&self.config.name),
            backend: Some(Arc::clone(backend)),
            kind,
            from: None,
            to: None,
            epoch,
            cause: cause.map(Label::as_str),
            evidence,
        });
    }
}

fn millis(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}
