//! What follows from a step of the core: routes, readers, probes, operations, notes.

use super::{
    effects::{Action, RouteChange},
    orders, readers,
    settings::ramp_rate,
    supervisor::Supervisor,
};
use crate::{
    config::CheckKind,
    failover::{BackendId, Cause, Effect, Epoch, Health, Note, ReadEligibility, RevokeMode, Time},
    route::RouteId,
};
use std::sync::Arc;

impl Supervisor {
    pub(super) fn set_paces(&self) {
        for (id, node) in self.core.ids().zip(&self.nodes) {
            node.prober.pace(self.core.pace(id));
        }
    }

    /// Every session ends.
    pub(super) fn end_all(&mut self) {
        self.routes.end_all();
        self.readers.end_all(&self.nodes, self.routes.publisher());
    }

    pub(super) fn carry_out(&mut self, now: Time, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Revoke { epoch, backend, mode, cause } => self.revoke(now, *backend, (*epoch, *mode, *cause)),
                Effect::Abort { epoch, backend, cause } => self.abort(now, *epoch, *backend, *cause),
                Effect::Activate { epoch, backend, cause } => self.activate(now, *epoch, *backend, *cause),
                Effect::Suspend { epoch } => {
                    let (why, evidence) = orders::why_held(&self.core, &self.nodes);
                    self.teller.route_change(now, self.routes.suspend(*epoch, &why, evidence));
                }
                Effect::Resume { epoch } => {
                    // The end of a pause is no answer of the backend.
                    if !effects.contains(&Effect::Note(Note::Pause(None))) {
                        self.routes.publisher().verified(now);
                    }
                    self.teller.route_change(now, self.routes.resume(*epoch));
                }
                Effect::BeginStep { id, kind, step, from, to } => self.begin_step(now, (*id, *kind, *step), (*from, *to)),
                Effect::Ungate { .. } => self.operations.ungate(),
                Effect::EndOperation { kind, ending, .. } => self.end_operation(now, *kind, ending),
                Effect::Read { backend, from, to, sessions } => self.read(now, *backend, (*from, *to), *sessions),
                Effect::Pace(backend, pace) => self.nodes[backend.index()].prober.pace(*pace),
                Effect::ProbeNow(backend) => self.nodes[backend.index()].prober.probe_now(),
                Effect::ProveNow(backend) => self.prove_now(*backend),
                Effect::Note(note) => {
                    if let Note::Pause(until) = note {
                        self.routes.publisher().held_until(until.unwrap_or(now));
                        self.offer_readers();
                    }
                    if let Note::Proof { backend, from, to, .. } = note
                        && from.is_good() != to.is_good()
                    {
                        self.tell_promoter(*backend, *to);
                    }
                    if let Note::Health { backend, to, .. } = note {
                        match to {
                            Health::Down => self.on_absence(*backend),
                            Health::Up => self.guard_is_due = true,
                            Health::Unknown => {}
                        }
                    }
                    if let Note::Trial(id, news) = note {
                        self.on_trial(now, *id, news);
                    }
                    self.teller.note((now, self.core.epoch()), &self.nodes, note);
                }
            }
        }
        self.memory.keep(&self.core, self.nodes.iter().map(|node| &*node.config.name));
    }

    fn revoke(&mut self, now: Time, backend: BackendId, order: (Epoch, RevokeMode, Cause)) {
        let (_, _, cause) = order;
        let known = self.core.backend(backend).filter(|_| cause != Cause::Removed);
        let evidence = match known {
            Some(_) => self.evidence_of(backend, cause),
            None => "it is no longer in the configuration".into(),
        };
        let readers = known.and_then(|_| self.nodes.get(backend.index())).map_or(0, |node| node.slot.sessions());
        let change = self.routes.revoke(now, order, (known, readers), evidence);
        self.teller.route_change(now, change);
    }

    /// A server that said it accepts no clients has nothing more to send: its remaining sessions end.
    fn abort(&mut self, now: Time, epoch: Epoch, backend: BackendId, cause: Cause) {
        if self.routes.abort_lingering() {
            let (backend, evidence) = (Arc::clone(self.name(backend)), self.evidence(backend));
            self.teller.route_change(now, RouteChange { action: Action::Aborted, backend, epoch, cause: Some(cause), evidence });
        }
    }

    fn activate(&mut self, now: Time, epoch: Epoch, backend: BackendId, cause: Cause) {
        readers::abort_last_words(&self.nodes, &self.core);
        // Nothing says that the first one has just become active.
        let ramp = ramp_rate(&self.config).filter(|_| !self.routes.is_first());
        self.nodes.iter().for_each(|node| node.places.ramp(None));
        self.nodes[backend.index()].places.ramp(ramp);
        let route = self.nodes[backend.index()].route(RouteId::Active(epoch), Arc::default());
        let held = self.core.suspended().then(|| orders::why_held(&self.core, &self.nodes).0);
        let mut change = self.routes.activate(now, route, (epoch, cause), self.evidence_of(backend, cause), held.as_deref());
        if let Action::Activated { after: Some(after), unknown_bytes } = &mut change.action {
            *unknown_bytes = self.unknown_bytes(&after.from, backend);
        }
        self.teller.route_change(now, change);
    }

    /// Bytes that `from` had when it last answered, and `to` lacks. Nothing where positions are no bytes, or of two histories.
    fn unknown_bytes(&self, from: &str, to: BackendId) -> Option<u64> {
        let counts_bytes = !matches!(self.config.check.kind, CheckKind::Mysql(_));
        let from = self.nodes.iter().position(|node| *node.config.name == *from).filter(|_| counts_bytes)?;
        let facts = |id| self.core.backend(id).map(|state| &state.facts);
        let (old, new) = facts(self.core.ids().nth(from)?).zip(facts(to))?;
        let (had, has) = old.position.zip(new.position).filter(|_| old.history == new.history)?;
        Some(had.get().saturating_sub(has.get()))
    }

    /// New clients of the active backend use the address of the last probe. If the name no longer resolves to the addresses that
    /// were `failing`, nothing else will end the sessions there, so they end like those of a backend that went down.
    pub(super) fn readdress(&mut self, failing: bool) {
        let Some(active) = self.core.active() else { return };
        let (node, mode) = (&self.nodes[active.index()], self.config.policy.on_down);
        let leave = Some(mode).filter(|mode| failing && *mode != RevokeMode::Drain);
        if let Some(sessions) = self.routes.readdress(&node.resolved, leave) {
            self.teller.moved(&node.config.name, self.core.epoch(), sessions, mode);
        }
    }

    /// A backend may be read, or no longer.
    fn read(&mut self, now: Time, backend: BackendId, (from, to): (ReadEligibility, ReadEligibility), sessions: RevokeMode) {
        self.readers.update(&mut self.nodes[backend.index()], to);
        self.offer_readers();
        let node = &self.nodes[backend.index()];
        let closed = node.slot.revoke(sessions, (from, to), &node.metrics);
        if readers::are_wanted(&self.config) {
            let state = self.core.backend(backend);
            let why = state.map(|state| readers::why_not_read(state, to, self.config.policy.max_lag)).unwrap_or_default();
            self.teller.read_eligibility((now, self.core.epoch()), &node.config.name, (from, to), (sessions, closed), why);
        }
    }

    pub(super) fn offer_readers(&self) {
        readers::offer(&self.nodes, &self.core, |id| self.canary(id), self.routes.publisher());
    }
}
