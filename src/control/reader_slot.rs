//! A backend's place among the readers, and its readers' sessions.

use std::sync::Arc;

use crate::{
    failover::{ReadEligibility, RevokeMode, Time},
    metrics::BackendMetrics,
    net::addresses::Addresses,
    route::{Generation, Pulse, Reader, ReaderKind, Revocation, Route, RouteId},
};

/// A backend's slot among the readers, taken or not.
#[derive(Debug, Default)]
pub(super) struct ReaderSlot {
    generation: Generation,
    /// One for all sessions of the generation, also while no client may be sent there.
    revocation: Arc<Revocation>,
    pulse: Arc<Pulse>,
    /// While the slot is taken.
    route: Option<Arc<Route>>,
}

impl ReaderSlot {
    /// The backend answered.
    pub(super) fn heard(&self, at: Time) {
        self.pulse.heard(at);
    }

    /// Whether a report of the byte path concerns this generation.
    pub(super) fn is_of(&self, generation: Generation) -> bool {
        self.generation == generation && generation != Generation::default()
    }

    /// The backend may be read, by `route` under a generation. `last` is the one that was given last.
    pub(super) fn take(&mut self, last: &mut u64, route: Route) {
        if self.route.is_some() {
            return;
        }
        if self.generation == Generation::default() || self.revocation.is_revoked() {
            // A server that serves again has dropped its earlier sessions.
            self.revocation.revoke(RevokeMode::Abort);
            *last += 1;
            (self.generation, self.revocation) = (Generation(*last), Arc::default());
        }
        let (id, revocation) = (RouteId::Reader(self.generation), Arc::clone(&self.revocation));
        self.route = Some(Arc::new(Route { id, revocation, ..route }));
    }

    /// Clients of the present generation, at any address.
    pub(super) fn sessions(&self) -> usize {
        self.revocation.clients()
    }

    /// The backend may be read no longer. Its sessions go on.
    pub(super) fn give_up(&mut self) {
        self.route = None;
    }

    /// The backend has other addresses now. Same generation: its sessions stay. Whether anything is new.
    pub(super) fn readdress(&mut self, addresses: &Addresses) -> bool {
        let Some(route) = self.route.as_mut().filter(|route| route.addresses != *addresses) else { return false };
        *route = Arc::new(Route { addresses: addresses.clone(), ..Route::clone(route) });
        true
    }

    /// What is offered of it while it is taken.
    pub(super) fn reader(&self, kind: ReaderKind) -> Option<Reader> {
        let route = self.route.as_ref()?;
        Some(Reader { route: Arc::clone(route), kind, pulse: Arc::clone(&self.pulse) })
    }

    /// Its sessions end as `mode` says, because the backend is `to` and was `from`; how many.
    pub(super) fn revoke(
        &self,
        mode: RevokeMode,
        (from, to): (ReadEligibility, ReadEligibility),
        metrics: &BackendMetrics,
    ) -> u64 {
        if mode == RevokeMode::Drain {
            return 0;
        }
        let is_counted = self.revocation.is_revoked();
        // The sessions of a server that fell silent were counted when they were left to it.
        let closed = if !is_counted || from == to { self.sessions() as u64 } else { 0 };
        self.revocation.revoke(mode);
        if let Some(cause) = to.closes_sessions().filter(|_| !is_counted) {
            metrics.sessions_revoked.get(cause).inc_by(closed);
        }
        closed
    }

    /// The end of its sessions, which outlive the slot.
    pub(super) const fn revocation(&self) -> &Arc<Revocation> {
        &self.revocation
    }
}
