//! What follows from a backend that has not proven itself ([`Proof`] is not good), by the mode of the guard.
//!
//! | | `off` | `warn` | `enforce` |
//! |---|---|---|---|
//! | it would be eligible | `eligible` | `eligible` | `unproven`; but see below |
//! | of several that may serve equally | no difference | a good one is preferred | a good one is preferred |
//! | a switchover to it from another one | done | refused unless forced | refused unless forced |
//! | an operation towards it, and nobody is active | done | done | refused if it would not serve then, unless forced |
//! | an automatic promotion of it | done | done | not done, if it would not serve then |
//! | of several candidates in an outage | who has most | who has most, then a good one | the same, of those that would serve then |
//! | a trial goes back to it | done | done | waits |
//! | failback to it | done | waits | waits |
//! | it fails a proof, or cannot commit, while it is on trial | – | the trial fails | the trial fails |
//! | it is a standby | `reader` | `reader` | `unproven`, or `canary` |
//!
//! With `enforce` it may serve all the same:
//!
//! * while it is active, and after that until it stops being eligible or another one is activated;
//! * by an operation that is forced, from its point of no return on;
//! * by the last resort: `serve` is set, none that may serve and no standby is good, and nothing is left to be tried. What can be
//!   tried are the quick proofs: they are ordered once for a change, when nobody may serve, and decide within `guard.quick`.
//!
//! An unproven primary takes no part in the choice between two primaries, as one in maintenance does not. It is a conflict all the
//! same.

use std::time::Duration;

use super::{
    event::{Effect, Note},
    operation::OperationId,
    policy::Election,
    pool::Pool,
    promotion::AUTOMATIC,
    proof::{Guard, GuardMode, LastResort, Proof, Quick},
    text::Printable,
    time::Time,
    vocabulary::{BackendId, Reason, Verdict},
};

impl Pool {
    /// Restores what an earlier process knew of a backend.
    pub fn restore_proof(&mut self, id: BackendId, proof: Proof, what: Printable) {
        if let Some(backend) = self.backends.get_mut(id.index()) {
            (backend.proof, backend.proof_what, backend.quick) = (proof, what, Quick::Open.after(proof));
        }
    }

    pub(super) fn on_proof(&mut self, now: Time, (id, proof): (BackendId, Proof), what: &Printable, effects: &mut Vec<Effect>) {
        let Some(backend) = self.backends.get_mut(id.index()) else {
            return effects.push(Effect::Note(Note::UnknownBackend(id)));
        };
        if backend.proof == proof && backend.proof_what == *what {
            return;
        }
        let from = std::mem::replace(&mut backend.proof, proof);
        backend.proof_what = what.clone();
        backend.quick = backend.quick.at(now).after(proof);
        effects.push(Effect::Note(Note::Proof { backend: id, from, to: proof, what: what.clone() }));
        if proof == Proof::Failed {
            self.fail_trial(id, what);
        }
    }

    pub(super) fn on_cannot_commit(&mut self, id: BackendId, evidence: &Printable, effects: &mut Vec<Effect>) {
        match self.backend(id) {
            Some(_) => self.fail_trial(id, evidence),
            None => effects.push(Effect::Note(Note::UnknownBackend(id))),
        }
    }

    fn fail_trial(&mut self, id: BackendId, evidence: &Printable) {
        let on_trial = self.trial.as_mut().filter(|trial| trial.to == id && self.policy.guard.mode != GuardMode::Off);
        if let Some(trial) = on_trial {
            trial.failed = Some(evidence.clone());
        }
    }

    /// Whether nothing speaks against serving from it.
    pub(super) fn is_good(&self, id: BackendId) -> bool {
        self.policy.guard.mode == GuardMode::Off || self.backends[id.index()].proof.is_good()
    }

    /// This operation must be forced to make it the active one. While another one serves, an order can wait; a trial that goes back
    /// is no order, and waits only for what may not serve at all.
    pub(super) fn lacks_proof(&self, id: BackendId, operation: OperationId) -> bool {
        let can_wait = self.policy.guard.mode == GuardMode::Enforce || operation.0 < AUTOMATIC;
        let serves_another = self.active().is_some_and(|active| active != id);
        if serves_another && can_wait { !self.is_good(id) } else { !self.would_serve(id) }
    }

    /// The guard would let it serve if it were a primary.
    pub(super) fn would_serve(&self, id: BackendId) -> bool {
        let Guard { mode, last_resort, .. } = self.policy.guard;
        let is_other = |other: &BackendId| *other != id && matches!(self.reason(*other), Reason::Eligible | Reason::Standby);
        let is_last = || !self.ids().filter(is_other).any(|other| self.is_good(other));
        mode != GuardMode::Enforce || self.is_good(id) || (last_resort == LastResort::Serve && is_last())
    }

    pub(super) fn refresh_reasons(&mut self, now: Time, effects: &mut Vec<Effect>) {
        self.backends.iter_mut().for_each(|backend| backend.quick = backend.quick.at(now));
        let by_role = self.policy.election == Election::ByRole;
        let judge = |id: BackendId| {
            let backend = &self.backends[id.index()];
            let is_absurd = self.absurdly_above(id, &backend.facts).is_some();
            backend.judge(by_role, is_absurd, self.fence, self.system_id)
        };
        let mut reasons: Vec<Reason> = self.ids().map(judge).collect();
        self.bar(&mut reasons);
        for (index, (backend, reason)) in self.backends.iter_mut().zip(reasons).enumerate() {
            if reason == Reason::Eligible {
                backend.eligible_since.get_or_insert(now);
            } else {
                backend.eligible_since = None;
            }
            let from = std::mem::replace(&mut backend.reason, reason);
            if from != reason {
                effects.push(Effect::Note(Note::Eligibility { backend: BackendId::at(index), from, to: reason }));
            }
        }
    }

    /// Those that would be eligible, and must prove themselves first.
    fn bar(&self, reasons: &mut [Reason]) {
        let Guard { mode, last_resort, .. } = self.policy.guard;
        if mode != GuardMode::Enforce {
            return;
        }
        let is_free = |id: BackendId, reason| match reason {
            Reason::Eligible => self.is_good(id) || self.stays(id) || self.is_forced(id),
            Reason::Standby => self.is_good(id) || self.is_forced(id),
            _ => false,
        };
        let is_left = !self.ids().any(|id| is_free(id, reasons[id.index()]));
        let is_tried = |id: BackendId| reasons[id.index()] != Reason::Eligible || self.backends[id.index()].quick == Quick::Over;
        if last_resort == LastResort::Serve && is_left && self.ids().all(is_tried) {
            return;
        }
        for id in self.ids() {
            let reason = &mut reasons[id.index()];
            if *reason == Reason::Eligible && !is_free(id, *reason) {
                *reason = Reason::Unproven;
            }
        }
    }

    /// It is active; or it was, no other has been since, and it was eligible all the time.
    fn stays(&self, id: BackendId) -> bool {
        let was = self.active().is_none() && self.last_active == Some(id) && self.reason(id) == Reason::Eligible;
        self.active() == Some(id) || was
    }

    fn is_forced(&self, id: BackendId) -> bool {
        self.operation.as_ref().is_some_and(|operation| operation.force && operation.is_due(id))
    }

    /// Nobody may be active.
    pub(super) fn nobody(&self) -> Verdict {
        let is_unproven = self.ids().any(|id| self.reason(id) == Reason::Unproven);
        if is_unproven { Verdict::NoProvenNode } else { Verdict::NoEligible }
    }

    /// Clients wait for nothing else.
    pub(super) fn ask_for_proofs(&mut self, now: Time, effects: &mut Vec<Effect>) {
        if self.verdict() != Verdict::NoProvenNode {
            return;
        }
        let until = now + self.policy.guard.quick.max(Duration::from_millis(1));
        for (index, backend) in self.backends.iter_mut().enumerate() {
            if backend.reason == Reason::Unproven && backend.quick == Quick::Open {
                backend.quick = Quick::Asked(until);
                effects.push(Effect::ProveNow(BackendId::at(index)));
            }
        }
    }

    /// When the first quick proofs must be over.
    pub(super) fn quick_due(&self) -> Option<Time> {
        self.backends.iter().filter_map(|backend| backend.quick.deadline()).min()
    }
}
