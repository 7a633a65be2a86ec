//! The route of the active backend. An epoch is revoked before the next one is activated, and what is left of earlier epochs is
//! aborted first. What was done is returned, to be logged.

use std::{sync::Arc, time::Duration};

use super::{orders::PAUSED, settings::Lead};
use crate::{
    failover::{BackendState, Cause, Epoch, Printable, Reason, RevokeMode, Time},
    net::addresses::Addresses,
    route::{LastFailover, Offer, Publisher, Revocation, Route, Snapshot},
};

/// Told to clients that wait in a process that no longer decides.
const ELSEWHERE: &str = "the mainstay that has taken over has no such backend active";

/// Publishes routes, and keeps withdrawn ones that may still have sessions.
pub(super) struct RoutePublisher {
    publisher: Publisher,
    /// The route of the active epoch, offered or suspended.
    route: Option<Arc<Route>>,
    /// When the byte path first learned something against its backend, since that last answered.
    reported: Option<Time>,
    /// Earlier epochs whose sessions end by themselves.
    lingering: Vec<Arc<Revocation>>,
    /// The last revocation and its time, if no activation has followed yet.
    gap: Option<LastFailover>,
    /// The last time that another backend took over.
    last_failover: Option<LastFailover>,
    /// What the process that decides says, while that is another one.
    lead: Option<Lead>,
}

/// What was done with the route of a backend, and why.
pub(super) struct RouteChange {
    pub(super) action: Action,
    pub(super) backend: Arc<str>,
    pub(super) epoch: Epoch,
    pub(super) cause: Option<Cause>,
    pub(super) evidence: Printable,
}

pub(super) enum Action {
    /// This many sessions end.
    Revoked {
        sessions: u64,
        mode: RevokeMode,
        detected: Duration,
    },
    /// What was left of a revoked epoch has ended.
    Aborted,
    /// After a gap, unless it is the first.
    Activated {
        after: Option<LastFailover>,
        /// Bytes that the backend before had and this one lacks, as far as both have told.
        unknown_bytes: Option<u64>,
    },
    /// New clients wait.
    Suspended,
    Resumed,
}

impl RoutePublisher {
    pub(super) const fn new(publisher: Publisher) -> Self {
        Self { publisher, route: None, reported: None, lingering: Vec::new(), gap: None, last_failover: None, lead: None }
    }

    pub(super) const fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// The byte path learned something against the active backend. A busy machine has that told later.
    pub(super) fn reported(&mut self, at: Time) {
        self.reported = Some(self.reported.map_or(at, |first| first.min(at)));
    }

    /// The active backend answers.
    pub(super) const fn heard(&mut self) {
        self.reported = None;
    }

    pub(super) const fn last_failover(&self) -> Option<&LastFailover> {
        self.last_failover.as_ref()
    }

    /// How the route of the active epoch ends, and its gate.
    pub(super) fn revocation(&self) -> Option<Arc<Revocation>> {
        self.route.as_ref().map(|route| Arc::clone(&route.revocation))
    }

    /// Whether no backend was active before the next one.
    pub(super) const fn is_first(&self) -> bool {
        self.route.is_none() && self.gap.is_none()
    }

    /// Publishes why no backend may serve, while that is so.
    pub(super) fn explain(&self, snapshot: &Snapshot) {
        let (offer, why) = (self.publisher.current(), why(snapshot));
        if offer.route.is_none() && *offer.why != *why {
            self.withdraw(&why);
        }
    }

    /// Whether clients use a route of this epoch, or of one whose sessions end by themselves.
    pub(super) fn has_sessions(&self) -> bool {
        let present = self.route.as_ref().map(|route| &route.revocation);
        self.lingering.iter().chain(present).any(|revocation| revocation.clients() > 0)
    }

    /// The active backend's name resolves to other addresses now. Same epoch: its sessions stay, unless `leave` says how those at
    /// removed addresses end. Returns how many those may be.
    pub(super) fn readdress(&mut self, addresses: &Addresses, leave: Option<RevokeMode>) -> Option<u64> {
        let route = self.route.as_mut().filter(|route| route.addresses != *addresses)?;
        let leave = leave.filter(|_| !route.addresses.iter().any(|old| addresses.contains(old)));
        let sessions = route.sessions.get();
        let old = Arc::clone(&route.revocation);
        let revocation = if leave.is_some() { Arc::default() } else { Arc::clone(&old) };
        *route = Arc::new(Route { addresses: addresses.clone(), revocation, ..Route::clone(route) });
        let route = Arc::clone(route);
        if self.publisher.current().route.is_some() {
            self.offer(&route);
        }
        old.revoke(leave?);
        route.metrics.sessions_revoked.get(Cause::Down).inc_by(sessions);
        Some(sessions)
    }

    /// The process is forced: every session ends.
    pub(super) fn end_all(&mut self) {
        self.abort_lingering();
        if let Some(route) = self.route.take() {
            route.revocation.revoke(RevokeMode::Abort);
        }
        self.withdraw("mainstay is shutting down");
    }

    /// `known` is the state of the backend, unless it left the configuration. Its clients that are `readers` are not counted.
    pub(super) fn revoke(
        &mut self,
        now: Time,
        (epoch, mode, cause): (Epoch, RevokeMode, Cause),
        (known, readers): (Option<&BackendState>, usize),
        evidence: Printable,
    ) -> Option<RouteChange> {
        let route = self.route.take()?;
        let reported = self.reported.take().unwrap_or(now);
        let detected =
            known.and_then(|state| state.trouble_since).map(|since| now.since(since.min(reported))).unwrap_or_default();
        let sessions = route.sessions.get().saturating_sub(readers as u64);
        let backend = Arc::clone(&route.backend);
        self.withdraw(&format!("{backend} was withdrawn: {cause}"));
        route.revocation.revoke(mode);
        if mode != RevokeMode::Abort {
            self.lingering.push(Arc::clone(&route.revocation));
        }
        if mode != RevokeMode::Drain {
            route.metrics.sessions_revoked.get(cause).inc_by(sessions);
        }
        self.gap = Some(LastFailover {
            at: now,
            from: Arc::clone(&backend),
            to: Arc::clone(&backend),
            cause,
            evidence: evidence.clone(),
            detected,
            gap: Duration::ZERO,
            sessions_closed: sessions,
        });
        Some(RouteChange { action: Action::Revoked { sessions, mode, detected }, backend, epoch, cause: Some(cause), evidence })
    }

    /// Ends what is left of earlier epochs; whether anything was left.
    pub(super) fn abort_lingering(&mut self) -> bool {
        let any = self.lingering.iter().any(|revocation| revocation.clients() > 0);
        self.lingering.drain(..).for_each(|revocation| revocation.revoke(RevokeMode::Abort));
        any
    }

    /// New clients go to `route`, unless they are held; `held` says why.
    pub(super) fn activate(
        &mut self,
        now: Time,
        route: Route,
        (epoch, cause): (Epoch, Cause),
        evidence: Printable,
        held: Option<&str>,
    ) -> RouteChange {
        self.abort_lingering();
        let backend = Arc::clone(&route.backend);
        let route = Arc::new(route);
        self.publisher.verified(now);
        match held {
            None => self.offer(&route),
            Some(why) => self.withdraw(why),
        }
        self.route = Some(route);
        let gap = self.gap.take();
        let after = gap.map(|gap| LastFailover { at: now, to: Arc::clone(&backend), gap: now.since(gap.at), ..gap });
        if let Some(failover) = after.as_ref().filter(|after| after.from != after.to) {
            self.last_failover = Some(failover.clone());
        }
        RouteChange { action: Action::Activated { after, unknown_bytes: None }, backend, epoch, cause: Some(cause), evidence }
    }

    /// New clients are held; `why` tells them.
    pub(super) fn suspend(&self, epoch: Epoch, why: &str, evidence: Printable) -> Option<RouteChange> {
        let backend = Arc::clone(&self.route.as_ref()?.backend);
        self.withdraw(why);
        Some(RouteChange { action: Action::Suspended, backend, epoch, cause: None, evidence })
    }

    pub(super) fn resume(&self, epoch: Epoch) -> Option<RouteChange> {
        let route = self.route.as_ref()?;
        self.offer(route);
        let backend = Arc::clone(&route.backend);
        Some(RouteChange { action: Action::Resumed, backend, epoch, cause: None, evidence: "".into() })
    }

    /// Another process decides: what it says of the active backend counts beside what is known here. `held` says why clients are to
    /// wait. Returns the backend whose sessions end for that, and how many those are.
    pub(super) fn follow(&mut self, lead: Option<Lead>, held: Option<&str>) -> Option<(Arc<str>, u64)> {
        self.lead = lead;
        let forbidden = self.forbids();
        let route = self.route.as_mut()?;
        if let Some(mode) = forbidden {
            let (backend, sessions) = (Arc::clone(&route.backend), route.sessions.get());
            let is_new = !route.revocation.is_revoked();
            route.revocation.revoke(mode);
            self.withdraw(ELSEWHERE);
            return is_new.then_some((backend, sessions));
        }
        if route.revocation.is_revoked() {
            *route = Arc::new(Route { revocation: Arc::default(), ..Route::clone(route) });
        }
        let route = Arc::clone(route);
        match held {
            None => self.offer(&route),
            Some(why) => self.withdraw(why),
        }
        None
    }

    /// How the sessions of the present route end, because the process that decides has another active backend, or none.
    fn forbids(&self) -> Option<RevokeMode> {
        let (lead, route) = (self.lead.as_ref()?, self.route.as_ref()?);
        (lead.active.as_deref() != Some(&*route.backend)).then_some(lead.sessions_end)
    }

    fn withdraw(&self, why: &str) {
        self.publisher.offer(Offer { route: None, why: why.into() });
    }

    fn offer(&self, route: &Arc<Route>) {
        if self.lead.as_ref().is_some_and(|lead| lead.active.as_deref() != Some(&*route.backend)) {
            return self.withdraw(ELSEWHERE);
        }
        self.publisher.offer(Offer { route: Some(Arc::clone(route)), why: "".into() });
    }
}

/// One sentence for a client that was rejected.
fn why(snapshot: &Snapshot) -> String {
    let each = snapshot.backends.iter().map(|backend| match &backend.last_probe {
        Some(probe) if backend.reason == Reason::Down => format!("{} is down: {}", backend.name, probe.outcome),
        _ => format!("{}: {}", backend.name, backend.reason),
    });
    let each = each.collect::<Vec<_>>().join(", ");
    if snapshot.paused { format!("{PAUSED}; {each}") } else { each }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metrics::{Metrics, PoolLabels},
        route::{self, Clock, RouteId},
    };

    #[test]
    fn the_first_sign_is_when_the_byte_path_learned_it_unless_the_backend_has_answered_since() {
        let labels = PoolLabels { name: "orders".into(), listeners: vec![], backends: vec![("db-a".into(), "x:1".into())] };
        let series = Metrics::new().unwrap().series(&labels).unwrap();
        let seam = route::seam(Clock::start(), Duration::from_mins(1), Snapshot::default());
        let mut routes = RoutePublisher::new(seam.publisher);
        let at = Time::from_millis;
        // Control heard of it 300 ms late.
        let mut known = BackendState::default();
        known.trouble_since = Some(at(1300));
        let mut detected = |reports: &[u64], answers: bool, known: Option<&BackendState>| {
            let id = RouteId::Active(Epoch(1));
            let way = Route::new("db-a".into(), &series.backends[0], id, [].into(), Arc::default());
            routes.activate(at(0), way, (Epoch(1), Cause::Startup), "".into(), None);
            for report in reports {
                routes.reported(at(*report));
            }
            if answers {
                routes.heard();
            }
            let change = routes.revoke(at(1400), (Epoch(1), RevokeMode::Abort, Cause::Down), (known, 0), "".into()).unwrap();
            let Action::Revoked { detected, .. } = change.action else { panic!("not revoked") };
            detected.as_millis()
        };
        assert_eq!(detected(&[1010, 1000], false, Some(&known)), 400);
        assert_eq!(detected(&[1000], true, Some(&known)), 100);
        assert_eq!(detected(&[1350], false, Some(&known)), 100);
        assert_eq!(detected(&[1000], false, None), 0, "it left the configuration");
        assert_eq!(detected(&[], false, Some(&known)), 100, "and nothing is left of that");
    }
}
