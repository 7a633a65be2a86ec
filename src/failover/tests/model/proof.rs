//! What the judge knows of proofs (I27–I29): who must prove itself first, and when the quick proofs are ordered.

use super::*;

/// What was told of one backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Proven {
    last: Proof,
    what: Printable,
    /// Clients wait for its quick proofs until then.
    pub(super) asked: Option<Time>,
    /// Nothing more is expected of them.
    tried: bool,
}

impl Judge {
    fn enforces(&self) -> bool {
        self.policy.guard.mode == GuardMode::Enforce
    }

    pub(super) fn is_good(&self, id: BackendId) -> bool {
        self.policy.guard.mode == GuardMode::Off || matches!(self.node(id).proof.last, Proof::Proven | Proof::Approved)
    }

    pub(super) fn good_ones(&self, all: Vec<BackendId>) -> Vec<BackendId> {
        some_of(&all, |id| self.is_good(*id))
    }

    /// The rules of who would be eligible but for its proofs.
    pub(super) fn is_barred(&self, id: BackendId) -> bool {
        let keeps = |id: BackendId| match self.active {
            Some(active) => active == id,
            None => self.last_active == Some(id) && self.node(id).eligible_since.is_some(),
        };
        let may = |id: BackendId| self.is_good(id) || self.is_forced(id);
        if !self.enforces() || may(id) || keeps(id) {
            return false;
        }
        let better = |id: BackendId| if self.could_serve(id) { may(id) || keeps(id) } else { self.stands_by(id) && may(id) };
        let open = |id: BackendId| self.could_serve(id) && !self.node(id).proof.tried;
        self.policy.guard.last_resort == LastResort::Hold || self.ids().any(|id| better(id) || open(id))
    }

    pub(super) fn would_serve(&self, id: BackendId) -> bool {
        let other = |other: BackendId| other != id && self.is_good(other) && (self.could_serve(other) || self.stands_by(other));
        let is_last = self.policy.guard.last_resort == LastResort::Serve && !self.ids().any(other);
        !self.enforces() || self.is_good(id) || is_last
    }

    /// Without force: a good one, or in an outage one that would serve. A trial that goes back by itself asks for proofs only where
    /// they decide who serves.
    pub(super) fn may_be_ordered(&self, id: BackendId, by: OperationId) -> bool {
        let serves_another = self.active.is_some() && self.active != Some(id);
        let by_itself = by.0 >= 1 << 63 && !self.enforces();
        self.is_good(id) || by_itself || (!serves_another && self.would_serve(id))
    }

    pub(super) fn is_read(&self, id: BackendId) -> bool {
        !self.enforces() || self.is_good(id)
    }

    pub(super) fn is_canary(&self, id: BackendId) -> bool {
        self.enforces() && self.policy.guard.canary && self.node(id).proof.last == Proof::Proving
    }

    pub(super) fn end_quick_proofs(&mut self, now: Time) {
        for node in &mut self.nodes {
            if node.proof.asked.is_some_and(|until| until <= now) {
                (node.proof.asked, node.proof.tried) = (None, true);
            }
        }
    }

    pub(super) fn take_proof(&mut self, id: BackendId, told: Proof, what: &Printable) -> bool {
        let Some(node) = self.nodes.get_mut(id.index()) else { return false };
        let proof = &mut node.proof;
        if (proof.last, &proof.what) == (told, what) {
            return true;
        }
        (proof.last, proof.what) = (told, what.clone());
        match told {
            Proof::Proven | Proof::Approved => (proof.asked, proof.tried) = (None, false),
            // Another change; but while clients wait, they wait no longer for it.
            Proof::Unproven => proof.tried = false,
            Proof::Failed | Proof::Inconclusive => (proof.asked, proof.tried) = (None, true),
            Proof::Proving => {}
        }
        if told == Proof::Failed && self.policy.guard.mode != GuardMode::Off {
            self.fail_trial(id);
        }
        true
    }

    /// They are ordered exactly when nobody may serve and this one could; the verdict says so, and each change is told.
    pub(super) fn quick_proofs(&mut self, step: &Step) -> Result<(), String> {
        let nobody = self.settled && self.active.is_none() && self.all_eligible().is_empty();
        let waits: Vec<_> = self.ids().filter(|id| nobody && self.could_serve(*id)).collect();
        let verdict = step.after.verdict();
        rule!((verdict == Verdict::NoProvenNode) != waits.is_empty(), "I28: the verdict is {verdict}, {waits:?} could serve");
        let open = |id: &BackendId| self.node(*id).proof.asked.is_none() && !self.node(*id).proof.tried;
        let should: Vec<_> = waits.into_iter().filter(open).map(Effect::ProveNow).collect();
        let says: Vec<_> = step.effects.iter().filter(|effect| matches!(effect, Effect::ProveNow(_))).cloned().collect();
        rule!(says == should, "I28: ordered {says:?}, the rules say {should:?}");
        for effect in should {
            let Effect::ProveNow(id) = effect else { continue };
            self.nodes[id.index()].proof.asked = Some(step.now + self.policy.guard.quick);
        }
        for id in self.ids() {
            let (is, was) = (step.after.backend(id), step.before.backend(id));
            let (says, should) = (is.map(|of| (of.proof, &of.proof_what)), (self.node(id).proof.last, &self.node(id).proof.what));
            rule!(says == Some(should), "I27: the proof of {} is {says:?}, was told {should:?}", name(id));
            let changed = was.map(|of| (of.proof, &of.proof_what)) != says;
            let told = step.effects.iter().any(|e| matches!(e, Effect::Note(Note::Proof { backend, .. }) if *backend == id));
            rule!(told == changed, "I27: changed={changed}, told={told}");
        }
        Ok(())
    }
}

/// I29: proofs take nobody out, but for one that makes another backend good.
pub(super) fn i29_revokes(was: &Judge, step: &Step) -> Result<(), String> {
    if let Event::Proof { backend, proof, .. } = step.event
        && (was.active == Some(*backend) || !matches!(proof, Proof::Proven | Proof::Approved))
        && step.before.next_deadline(Time::ZERO).is_none_or(|at| at > step.now)
    {
        let revokes = step.effects.iter().any(|effect| matches!(effect, Effect::Revoke { .. }));
        rule!(!revokes && step.after.active().is_some() >= was.active.is_some(), "I29: a proof revoked the active one");
    }
    Ok(())
}

/// I27, on the pool itself: the same step with the guard off. The same backends are eligible, and somebody is active if somebody
/// would be then: the same one, or a good one in place of one that is not, or the one that is left as it was.
pub(in super::super) fn i27_without_a_guard(step: &Step) -> Result<(), String> {
    let mode = step.after.policy().guard.mode;
    let is_plain = step.before.backends.iter().all(|of| of.proof == Proof::Proven) && !matches!(step.event, Event::Proof { .. });
    if is_plain || mode == GuardMode::Enforce || matches!(step.event, Event::Configure(_)) {
        return Ok(());
    }
    let mut without = step.before.clone();
    without.policy.guard.mode = GuardMode::Off;
    let effects = without.advance(step.now, step.event);
    if mode == GuardMode::Off {
        for backend in &mut without.backends {
            (backend.proof, backend.proof_what, backend.quick) = Default::default();
        }
        let mut proven = step.before.clone();
        for backend in &mut proven.backends {
            (backend.proof, backend.proof_what, backend.quick) = Default::default();
        }
        if !matches!(step.event, Event::Proof { .. }) {
            rule!(proven.advance(step.now, step.event) == effects && proven == without, "I27: a proof counts with the guard off");
        } else {
            let told = effects.iter().all(|effect| matches!(effect, Effect::Note(Note::Proof { .. } | Note::UnknownBackend(_))));
            let due = step.before.next_deadline(Time::ZERO).is_some_and(|at| at <= step.now);
            rule!(told || due, "I27: a proof has effects with the guard off: {effects:?}");
        }
        return Ok(());
    }
    let (is, would) = (step.after.active(), without.active());
    rule!(is.is_some() == would.is_some(), "I27: {is:?} is active, with the guard off {would:?} would be");
    let good = |id: BackendId| step.after.is_good(id);
    let better = is.is_some_and(good) && !would.is_some_and(good);
    rule!(is == would || better || is == step.before.active(), "I27: {is:?} instead of {would:?}");
    if is == would {
        let reasons = |pool: &Pool| pool.ids().map(|id| pool.reason(id)).collect::<Vec<_>>();
        rule!(reasons(step.after) == reasons(&without), "I27: {:?}, with the guard off {:?}", step.after, without);
        rule!(step.after.epoch() == without.epoch(), "I27: another epoch");
    }
    Ok(())
}
