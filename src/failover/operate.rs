//! What goes on in an operation: its steps, its end, and what it means for the election. The table is in `operation.rs`.

use super::{
    event::{Effect, Note},
    operation::{
        Ending, Fence, Operation, OperationEnd, OperationId, OperationKind, OperationRefusal, OperationResult, Plan, Refused,
        Request, Step,
    },
    pool::{Pin, Pool},
    text::Printable,
    time::Time,
    vocabulary::{BackendId, Cause, Reason},
};

impl Pool {
    pub(super) fn on_operate(&mut self, now: Time, request: &Request, effects: &mut Vec<Effect>, told: &mut Vec<Effect>) {
        match self.preflight(now, request) {
            Err(refused) => effects.push(Effect::Note(Note::OperationRefused { id: request.id, refused })),
            Ok(plan) => {
                self.tried.clear();
                self.begin_operation(now, request, plan, told);
            }
        }
    }

    pub(super) fn begin_operation(&mut self, now: Time, request: &Request, plan: Plan, told: &mut Vec<Effect>) {
        let first = plan.steps[0];
        self.operation = Some(Operation {
            id: request.id,
            kind: request.kind,
            plan,
            force: request.force,
            accept_loss: request.accept_loss,
            how: request.how,
            limits: request.limits,
            afterwards: request.afterwards,
            began: now,
            step: first,
            since: now,
            reported: false,
        });
        self.enter(now, first, told);
    }

    pub(super) fn on_step_done(
        &mut self,
        (id, step): (OperationId, Step),
        result: &Result<(), Printable>,
        effects: &mut Vec<Effect>,
        told: &mut Vec<Effect>,
    ) {
        let Some(operation) = self.operation.as_mut().filter(|operation| operation.id == id && operation.step == step) else {
            return;
        };
        let from = operation.plan.from;
        match result {
            Ok(()) => {
                operation.reported = true;
                // Its role is expected to have changed.
                let changed = match step {
                    Step::Demote => from,
                    Step::Promote => Some(operation.plan.to),
                    Step::Fence | Step::Gate | Step::Drain | Step::Activate => None,
                };
                if let Some(id) = changed {
                    self.backends[id.index()].ask(id, effects);
                }
            }
            Err(_) if step == Step::Fence && operation.how.fence == Fence::Optional && self.refuses(from) => {
                self.operation.iter_mut().for_each(|operation| operation.reported = true);
            }
            Err(evidence) => self.end_operation(OperationEnd::StepFailed, evidence.clone(), told),
        }
    }

    /// Its death was seen as a refused connect: a host that lives said that nobody listens.
    pub(super) fn refuses(&self, id: Option<BackendId>) -> bool {
        id.and_then(|id| self.backend(id)).is_some_and(|backend| backend.signs.refused)
    }

    pub(super) fn on_abort(&mut self, id: OperationId, effects: &mut Vec<Effect>, told: &mut Vec<Effect>) {
        let why = match self.operation.as_ref().filter(|operation| operation.id == id).map(Operation::can_abort) {
            Some(true) => return self.end_operation(OperationEnd::Command, Printable::default(), told),
            Some(false) => OperationRefusal::PointOfNoReturn,
            None if self.abort_trial(id, told) => return,
            None => OperationRefusal::UnknownOperation,
        };
        effects.push(Effect::Note(Note::OperationRefused { id, refused: Refused { why, backend: None } }));
    }

    /// Before the election: what the reasons of the backends and the time mean for the operation.
    pub(super) fn drive_operation(&mut self, now: Time, told: &mut Vec<Effect>) {
        let Some(operation) = &self.operation else { return };
        if let Some(why) = self.why_over(operation, now) {
            self.end_operation(why, Printable::default(), told);
        } else if self.is_step_over(operation) {
            self.next_step(now, told);
        }
        self.accept_epoch();
    }

    fn why_over(&self, operation: &Operation, now: Time) -> Option<OperationEnd> {
        let Plan { from, to, .. } = operation.plan;
        if now >= operation.deadline() {
            Some(OperationEnd::Deadline)
        } else if !operation.can_abort() {
            None
        } else if operation.kind == OperationKind::Switchover && from.is_none_or(|from| self.reason(from) != Reason::Eligible) {
            Some(OperationEnd::ActiveLost)
        } else if !self.is_able(operation) {
            Some(OperationEnd::CandidateLost)
        } else if operation.kind == OperationKind::Failover && !self.may_go_on(now, to) {
            Some(OperationEnd::Condition)
        } else {
            None
        }
    }

    /// The candidate can still take over.
    fn is_able(&self, operation: &Operation) -> bool {
        let to = operation.plan.to;
        if !operation.force && self.lacks_proof(to, operation.id) {
            return false;
        }
        match self.reason(to) {
            Reason::Standby => operation.plan.promotes(),
            Reason::Eligible | Reason::Unproven => !operation.plan.promotes(),
            Reason::Fenced => !operation.plan.promotes() && operation.accept_loss,
            _ => false,
        }
    }

    fn is_step_over(&self, operation: &Operation) -> bool {
        let Plan { from, to, .. } = operation.plan;
        let observed = match operation.step {
            Step::Fence | Step::Gate | Step::Promote => true,
            Step::Drain => {
                !self.is_doubtful(to)
                    && (operation.accept_loss || self.may_stream(to))
                    && !from.is_some_and(|from| self.is_in_doubt(from))
            }
            Step::Demote => from.is_none_or(|from| !matches!(self.reason(from), Reason::Eligible | Reason::Unproven)),
            Step::Activate => false,
        };
        operation.reported && observed
    }

    fn next_step(&mut self, now: Time, told: &mut Vec<Effect>) {
        let Some(Operation { plan, step, .. }) = &self.operation else { return };
        let next = plan.steps.iter().copied().find(|next| next > step).unwrap_or(Step::Activate);
        match (next, self.reason(plan.to)) {
            (Step::Promote, Reason::Standby) | (Step::Gate | Step::Drain | Step::Demote | Step::Activate | Step::Fence, _) => {
                self.enter(now, next, told);
            }
            // Somebody else has promoted it.
            (Step::Promote, Reason::Eligible | Reason::Unproven) => self.enter(now, Step::Activate, told),
            (Step::Promote, _) => self.end_operation(OperationEnd::CandidateLost, Printable::default(), told),
        }
    }

    fn enter(&mut self, now: Time, step: Step, told: &mut Vec<Effect>) {
        let Some(operation) = &mut self.operation else { return };
        (operation.step, operation.since, operation.reported) = (step, now, false);
        let (id, kind) = (operation.id, operation.kind);
        let Plan { from, to, .. } = operation.plan;
        let chooses = step == Step::Activate && !operation.plan.promotes();
        told.push(Effect::BeginStep { id, kind, step, from, to });
        if step.is_past_no_return() {
            // An earlier choice is void.
            self.pinned = chooses.then(|| Pin { backend: to, ceiling: self.highest_claim() });
        }
    }

    /// With `accept_loss`, the candidate's lower database epoch is the one that counts, also beside another old primary.
    fn accept_epoch(&mut self) {
        let Some(operation) = self.operation.as_ref().filter(|operation| operation.accept_loss) else { return };
        let to = operation.plan.to;
        if operation.is_due(to) && self.reason(to) == Reason::Fenced {
            self.fence = self.backends[to.index()].facts.db_epoch;
            self.pinned = Some(Pin { backend: to, ceiling: self.highest_claim() });
        }
    }

    /// After the election: who is active now, and what that means for the operation.
    pub(super) fn settle_operation(&mut self, now: Time, told: &mut Vec<Effect>) {
        let Some(operation) = &self.operation else { return };
        let active = self.active();
        let Plan { from, to, .. } = operation.plan;
        let why = match (operation.step, operation.kind) {
            (step, _) if step.is_past_no_return() && active == Some(to) => OperationEnd::Complete,
            (step, OperationKind::Switchover) if !step.is_past_no_return() && active != from => OperationEnd::ActiveLost,
            (step, OperationKind::Promote | OperationKind::Failover) if !step.is_past_no_return() && active.is_some() => {
                OperationEnd::PrimaryReturned
            }
            _ => return,
        };
        let done = self.operation.clone().filter(|_| why == OperationEnd::Complete);
        self.end_operation(why, Printable::default(), told);
        if let Some(done) = done {
            self.begin_trial(now, &done, told);
        }
    }

    pub(super) fn end_operation(&mut self, why: OperationEnd, evidence: Printable, told: &mut Vec<Effect>) {
        let Some(Operation { id, kind, plan, step, .. }) = self.operation.take() else { return };
        let result = match why {
            OperationEnd::Complete => OperationResult::Done,
            _ if step.is_past_no_return() => OperationResult::Failed,
            _ => OperationResult::Aborted,
        };
        if plan.steps.contains(&Step::Gate) {
            told.push(Effect::Ungate { id });
        }
        if kind == OperationKind::Failover && result != OperationResult::Done {
            self.tried.push(plan.to);
        }
        told.push(Effect::EndOperation { id, kind, ending: Ending { result, why, step, evidence } });
    }

    /// What becomes of the operation when the list of the backends changes; told before the numbers are the new ones.
    pub(super) fn move_operation(&mut self, moved: impl Fn(BackendId) -> Option<BackendId>, told: &mut Vec<Effect>) {
        if let Some(operation) = &mut self.operation {
            let from = operation.plan.from.and_then(&moved);
            let lost = operation.can_abort() && from.is_none() && operation.kind == OperationKind::Switchover;
            match moved(operation.plan.to).filter(|_| !lost) {
                Some(to) => (operation.plan.from, operation.plan.to) = (from, to),
                None => self.end_operation(OperationEnd::Removed, Printable::default(), told),
            }
        }
        self.tried = self.tried.iter().copied().filter_map(&moved).collect();
        self.move_trial(moved, told);
    }

    /// The loss of this backend is what an operation wants.
    pub(super) fn is_demoted_by_order(&self, old: BackendId, cause: Cause) -> bool {
        let by =
            self.operation.as_ref().filter(|operation| operation.kind == OperationKind::Switchover && !operation.can_abort());
        by.is_some_and(|operation| operation.plan.from == Some(old))
            && matches!(cause, Cause::Down | Cause::Starting | Cause::Demoted | Cause::Conflict)
    }

    /// An operation makes this backend the active one: the failover budget does not hold it back.
    pub(super) fn ordered(&self, id: BackendId) -> Option<Cause> {
        self.operation.as_ref().filter(|operation| operation.is_due(id)).map(|_| Cause::Command)
    }
}
