//! What must hold after every step, checked in debug builds.

use super::{
    event::{Command, Effect, Event},
    facts::Role,
    label::Label,
    operation::{Operation, OperationKind, OperationResult, Step},
    policy::{Election, OnConflict},
    pool::Pool,
    proof::{GuardMode, LastResort, Quick},
    time::Time,
    vocabulary::{Admin, Cause, Health, ReadEligibility, Reason, Verdict},
};

impl Pool {
    /// Panics with the rule's name when one is broken.
    pub(super) fn check_invariants(&self, before: &Self, now: Time, event: &Event, effects: &[Effect]) {
        let position = |found: fn(&Effect) -> bool| effects.iter().position(found);
        let revoke = position(|effect| matches!(effect, Effect::Revoke { .. }));
        let activate = position(|effect| matches!(effect, Effect::Activate { .. }));
        let count = |found: fn(&Effect) -> bool| effects.iter().filter(|effect| found(effect)).count();

        assert!(count(|e| matches!(e, Effect::Activate { .. })) <= 1, "I1: two activations in one step");
        if let (Some(Effect::Activate { backend, epoch, .. }), active) = (activate.map(|i| &effects[i]), self.active()) {
            assert_eq!(active, Some(*backend), "I1: activated one, recorded another");
            assert_eq!(self.reason(*backend), Reason::Eligible, "I2: activated an ineligible backend");
            assert_eq!(*epoch, before.epoch.next(), "I3: the epoch must rise by one");
            if before.active().is_some() {
                assert!(revoke < activate && revoke.is_some(), "I4: activated before the old one was revoked");
            }
        } else {
            assert_eq!(self.epoch, before.epoch, "I3: the epoch rose without an activation");
        }
        let stays = match (event, before.active()) {
            (Event::Configure(to), Some(was)) => self.active().is_some_and(|is| to.backends.get(is.index()) == Some(&Some(was))),
            (_, was) => self.active() == was,
        };
        if before.active().is_some() && !stays {
            assert!(revoke.is_some(), "I4: the active backend changed without a revocation");
        }
        if let Event::Probe(backend, report) = event
            && before.backends.get(backend.index()).is_some_and(|b| report.seq <= b.last_seq)
            && before.wake.is_none_or(|at| at > now)
        {
            assert!(effects.is_empty(), "I8: a late report had effects: {effects:?}");
        }
        if self.conflict() && self.policy.on_conflict == OnConflict::Refuse && self.pinned.is_none() {
            let eligible = self.ids().filter(|id| self.reason(*id) == Reason::Eligible).count();
            assert!(eligible < 2 || self.active().is_none(), "I9: chose between two primaries under on_conflict: refuse");
        }
        if self.ids().all(|id| self.reason(id) != Reason::Eligible) {
            assert_eq!(self.active(), None, "I10: nobody is eligible, but somebody is active");
        }
        if let Some(active) = self.active() {
            assert_eq!(self.reason(active), Reason::Eligible, "I10: the active backend is not eligible");
            let nobody = matches!(self.verdict(), Verdict::NoEligible | Verdict::NoProvenNode);
            assert!(!nobody, "I11: the verdict contradicts the choice");
        }
        if matches!(event, Event::Tick) && before.wake.is_none_or(|at| at > now) {
            assert!(effects.is_empty(), "I12: a tick before the deadline had effects: {effects:?}");
        }
        assert!(self.wake.is_none_or(|at| at > now), "I12: a deadline was left behind");
        self.check_readers();
        self.check_orders(before, now, event);
        self.check_operation(before, now, event, effects);
        self.check_trial(before, event);
        self.check_proofs(before, now, event, effects);
        self.check_end_of_operation(before, effects);
    }

    fn check_operation(&self, before: &Self, now: Time, event: &Event, effects: &[Effect]) {
        let held = self.active().is_none() || self.suspended();
        let (was, is) = (before.operation.as_ref(), self.operation.as_ref());
        if let Some(operation) = is {
            let took = Step::ALL.iter().filter(|step| operation.plan.steps.contains(step)).map(|step| operation.limits.of(*step));
            assert!(now < operation.began + took.sum(), "I25: an operation outlives its deadlines");
            assert!(now < operation.deadline(), "I25: a step outlives its deadline");
            assert!(held || !operation.holds(), "I20: an operation holds clients, and the pool takes them");
            let demoted = operation.plan.steps.contains(&Step::Demote) && operation.step == Step::Promote;
            let stays = self.active().is_some() && self.active() == operation.plan.from;
            let begins = effects.iter().any(|effect| matches!(effect, Effect::BeginStep { step: Step::Promote, .. }));
            assert!(!(demoted && stays && begins), "I21: promotes a second primary");
        } else if let Some(active) = self.active() {
            assert!(!self.suspended() || self.paused.is_some() || self.is_in_doubt(active), "I20: clients are held for nothing");
        }
        let accepts = was.into_iter().chain(is).any(|operation| operation.accept_loss)
            || matches!(event, Event::Operate(request) if request.accept_loss);
        assert!(accepts || self.fence >= before.fence, "I22: the fence sank");
        let goes_on = |was: &Operation| is.is_some_and(|is| is.id == was.id);
        if let Some(was) = was.filter(|was| goes_on(was)) {
            assert!(is.is_some_and(|is| (is.kind, is.began) == (was.kind, was.began)), "I19: an operation was replaced");
            let failback = effects.iter().any(|effect| matches!(effect, Effect::Revoke { cause: Cause::Failback, .. }));
            assert!(!failback, "I23: automation acts during an operation");
        } else if is.is_some_and(|is| is.kind == OperationKind::Failover) {
            let ordered = |effect: &Effect| matches!(effect, Effect::BeginStep { kind, .. } if *kind != OperationKind::Failover);
            assert!(self.active().is_none() && !effects.iter().any(ordered), "I23: automation acts against an order");
        }
    }

    /// Told once and last, with the gate open again; and before the point of no return nothing has changed by it.
    fn check_end_of_operation(&self, before: &Self, effects: &[Effect]) {
        let position = |wanted: &dyn Fn(&Effect) -> bool| effects.iter().position(wanted);
        let begun = position(&|effect| matches!(effect, Effect::BeginStep { .. }));
        let ungated = position(&|effect| matches!(effect, Effect::Ungate { .. }));
        let ended = position(&|effect| matches!(effect, Effect::EndOperation { .. }));
        let Some(Effect::EndOperation { id, ending, .. }) = ended.map(|at| &effects[at]) else {
            let goes_on = before.operation.as_ref().is_none_or(|was| self.operation.as_ref().is_some_and(|is| is.id == was.id));
            return assert!(goes_on, "I19: an operation vanished without a word");
        };
        assert!(self.operation.as_ref().is_none_or(|is| is.id != *id), "I19: an operation outlives its end");
        if let Some(was) = before.operation.as_ref().filter(|was| was.id == *id) {
            assert!(!was.plan.steps.contains(&Step::Gate) || ungated < ended && ungated.is_some(), "I20: a gate stays closed");
            assert!(self.operation.is_none() || ended < begun, "I19: two operations at once");
        }
        if ending.result == OperationResult::Aborted {
            let ordered = |effect: &Effect| match effect {
                Effect::Revoke { backend, cause: Cause::Command, .. } => {
                    self.backend(*backend).map(|of| of.admin) == Some(Admin::Ready)
                }
                _ => false,
            };
            assert!(!effects.iter().any(ordered), "I24: an operation that was aborted revoked the active backend");
            assert!(!ending.step.is_past_no_return(), "I24: aborted after the point of no return");
        }
    }

    fn check_trial(&self, before: &Self, event: &Event) {
        if let Some(trial) = &self.trial {
            assert!(self.operation.is_none() && self.active() == Some(trial.to), "I26: a trial outlives what it tries");
        }
        let known = before.operation.as_ref().map(Operation::id);
        let begun = self.operation.as_ref().filter(|is| is.kind == OperationKind::Switchover && known != Some(is.id));
        // Numbers of backends change with the configuration.
        let Some(back) = begun.filter(|_| !matches!(event, Event::Operate(_) | Event::Configure(_))) else { return };
        let returns = before.trial.as_ref().filter(|trial| (Some(trial.to), trial.from) == (back.plan.from, back.plan.to));
        assert!(returns.is_some() && self.trial.is_none(), "I26: went back from no trial, or twice");
        let to = &self.backends[back.plan.to.index()];
        let follows = to.facts.hears_primary == Some(true) && !self.is_below_fence(back.plan.to);
        let behind = self.behind(back.plan.to).unwrap_or(0);
        match to.reason {
            Reason::Eligible => assert!(
                !self.is_apart(returns.map_or(back.plan.to, |trial| trial.to), back.plan.to),
                "I26: went back to a second primary"
            ),
            _ => assert!(follows && behind == 0, "I26: went back with a loss"),
        }
    }

    fn check_proofs(&self, before: &Self, now: Time, event: &Event, effects: &[Effect]) {
        if self.policy.guard.mode != GuardMode::Enforce {
            let is_barred = |id| {
                let reading = self.read_eligibility(id);
                self.reason(id) == Reason::Unproven || matches!(reading, ReadEligibility::Unproven | ReadEligibility::Canary)
            };
            assert!(!self.ids().any(is_barred), "I27: a proof changed an eligibility");
            let asks = effects.iter().any(|effect| matches!(effect, Effect::ProveNow(_)));
            assert!(!asks && self.verdict() != Verdict::NoProvenNode, "I27: clients wait for a proof");
        } else if let Some(Effect::Activate { backend: new, .. }) = effects.iter().find(|e| matches!(e, Effect::Activate { .. }))
        {
            let forced = |operation: &Operation| operation.force && operation.plan.to == *new;
            let requested = matches!(event, Event::Operate(request) if request.force && request.to.is_none_or(|to| to == *new));
            let ordered = requested || before.operation.iter().chain(&self.operation).any(forced);
            let serves = |id| matches!(self.reason(id), Reason::Eligible | Reason::Standby);
            let is_left = !self.ids().any(|id| id != *new && self.is_good(id) && serves(id));
            let is_tried = self.backends[new.index()].quick == Quick::Over;
            let is_last_resort = self.policy.guard.last_resort == LastResort::Serve && is_left && is_tried;
            // It was active, and the same conflict that took it out has brought it back.
            let returns =
                before.active().is_none() && before.last_active == Some(*new) && before.reason(*new) == Reason::Eligible;
            assert!(self.is_good(*new) || ordered || is_last_resort || returns, "I28: activated what has not proven itself");
        }
        if let Event::Proof { backend, proof, .. } = event
            && (before.active() == Some(*backend) || !proof.is_good())
            && before.wake.is_none_or(|at| at > now)
        {
            assert!(!effects.iter().any(|e| matches!(e, Effect::Revoke { .. })), "I29: a proof revoked the active backend");
        }
    }

    fn check_orders(&self, before: &Self, now: Time, event: &Event) {
        assert!(self.paused.is_none() || self.active().is_none() || self.suspended(), "I17: a paused pool takes clients");
        assert!(self.paused.is_none_or(|until| until > now), "I17: a pause outlives its time");
        if before.paused.is_some_and(|until| until > now) && self.paused.is_none() {
            let ends = matches!(event, Event::Command(Command::Resume | Command::Pause { .. }));
            assert!(ends, "I17: a pause ended before its time");
        }
        if let Event::Command(Command::SetAdmin { to: Admin::Drain | Admin::Maint, force: false, .. }) = event {
            assert!(before.active().is_none() || self.active().is_some(), "I18: an order without force leaves nobody active");
        }
    }

    fn check_readers(&self) {
        for id in self.ids().filter(|id| self.read_eligibility(*id).may_be_read()) {
            let backend = &self.backends[id.index()];
            let serves = backend.health() == Health::Up && !backend.is_starting() && !backend.is_foreign(self.system_id);
            assert!(serves && backend.admin == Admin::Ready && !backend.signs.in_doubt, "I14: a reader that may not serve");
            let is_active = self.active() == Some(id);
            assert_eq!(self.read_eligibility(id) == ReadEligibility::Active, is_active, "I14: the active one is told apart");
            let stands_by = self.policy.election == Election::ByOrder || backend.facts.role == Some(Role::Standby);
            assert!(is_active || stands_by, "I14: a reader that is a primary and not the active one");
            assert!(is_active || !backend.behind, "I15: a reader that is too far behind");
        }
    }
}
