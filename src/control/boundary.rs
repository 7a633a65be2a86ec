//! What a pause, an operation and a maintenance mean for clients: who waits is not turned away, and no transaction is stopped or broken
//! where the check can tell.

use std::sync::Arc;

use super::{
    departure::Departed,
    drain::{Drained, can_keep},
    session_pause::SessionPause,
    supervisor::Supervisor,
};
use crate::{
    failover::{Admin, BackendId, Command, Event, Operation},
    route::{Revocation, Selection, Session, kill},
};

impl Supervisor {
    /// Begins or ends what a pause or an operation means for clients, as the core says.
    pub(super) fn hold_clients(&mut self) {
        if self.core.paused_until().is_none() {
            self.session_pause = None;
        } else if self.session_pause.is_none() && can_keep(&self.config.check) {
            let drain = self.routes.revocation().zip(self.core.active()).and_then(|(route, active)| self.drain(active, route));
            self.session_pause = drain.map(|drain| SessionPause::begin(drain, Arc::clone(&self.config.name)));
        }
        // The time in which clients wait because of one does not count.
        let operation = self.core.operation().map(Operation::deadline);
        let until = self.core.paused_until().max(operation);
        if until.is_some() || self.held_until.is_some() {
            self.routes.publisher().held_until(until.unwrap_or_else(|| self.clock.now()));
        }
        self.held_until = until;
    }

    /// Ends the sessions of a backend that is drained, for its maintenance.
    pub(super) fn depart(&mut self, id: BackendId) {
        let backend = Arc::clone(self.name(id));
        let mut routes: Vec<Arc<Revocation>> = Vec::new();
        for session in self.sessions_with(&backend) {
            let route = &session.route.revocation;
            if !routes.iter().any(|known| Arc::ptr_eq(known, route)) {
                routes.push(Arc::clone(route));
            }
        }
        let drains = routes.into_iter().filter_map(|route| self.drain(id, route)).collect();
        self.departures.begin(&backend, drains);
    }

    /// The maintenance begins.
    pub(super) fn on_departed(&mut self, departed: &Departed) {
        let Departed { backend, drained, .. } = departed;
        if !self.departures.awaits(departed) {
            return;
        }
        let id = self.core.ids().zip(&self.nodes).find(|(_, node)| node.config.name == *backend).map(|(id, _)| id);
        if let Some(id) = id {
            self.step(&Event::Command(Command::SetAdmin { backend: id, to: Admin::Maint, force: true }));
            kill(&self.sessions_with(backend));
        }
        self.departures.call_off(backend);
        let sum = |count: fn(&Drained) -> u64| drained.iter().map(count).sum::<u64>();
        let (ended, broken, left) = (sum(|one| one.ended), sum(|one| one.broken), sum(|one| one.left));
        let notes = drained.iter().flat_map(|one| &one.notes).map(|note| &**note).collect::<Vec<_>>().join("; ");
        tracing::info!(
            pool = &*self.config.name, %backend, ended, broken, left, %notes,
            "maintenance: its sessions have ended; those that are broken or left were not at the end of a transaction, or nobody could tell"
        );
    }

    fn sessions_with(&self, backend: &str) -> Vec<Arc<Session>> {
        let which = Selection { pool: &self.config.name, backend: Some(backend), client: None };
        self.sessions.iter().flat_map(|table| table.select(which)).collect()
    }
}
