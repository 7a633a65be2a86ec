//! What the judge knows of operations: who may be a candidate, when a step is over, how an operation ends (I19–I25), and when one
//! begins by itself. It says which effects a step must tell, and compares.

use std::cmp::Reverse;

use super::{trial::i26_news, *};
use crate::failover::Step as Stage;

/// Numbers of operations that mainstay begins.
const AUTOMATIC: u64 = 1 << 63;

/// As the judge remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Run {
    pub(super) id: OperationId,
    kind: OperationKind,
    pub(super) from: Option<BackendId>,
    pub(super) to: BackendId,
    steps: Vec<Stage>,
    pub(super) force: bool,
    accept_loss: bool,
    pub(super) how: How,
    pub(super) limits: Limits,
    afterwards: Afterwards,
    step: Stage,
    since: Time,
    reported: bool,
}

impl Run {
    fn past(&self) -> bool {
        !matches!(self.step, Stage::Fence | Stage::Gate | Stage::Drain)
    }

    fn promotes(&self) -> bool {
        self.steps.contains(&Stage::Promote)
    }

    fn gates(&self) -> bool {
        self.steps.contains(&Stage::Gate)
    }

    /// It goes back in any case, and within which time; or is on trial so long.
    pub(super) fn wanted_after(&self) -> Option<(bool, Duration)> {
        match self.afterwards {
            Afterwards::Stay => None,
            Afterwards::Trial(time) => Some((false, time)),
            Afterwards::Return(time) => Some((true, time)),
        }
    }

    fn begins(&self) -> Effect {
        let Self { id, kind, step, from, to, .. } = *self;
        Effect::BeginStep { id, kind, step, from, to }
    }

    pub(super) fn rebase(&mut self, shift: impl Fn(Time) -> Time) {
        self.since = shift(self.since);
        if self.kind == OperationKind::Failover {
            self.id = OperationId(AUTOMATIC);
        }
    }
}

type Planned = (Option<BackendId>, BackendId, Vec<Stage>);

impl Judge {
    /// The operation holds new clients.
    pub(super) fn is_gated(&self) -> bool {
        self.operation.as_ref().is_some_and(|run| run.past() || run.gates())
    }

    /// The present operation makes this one the active one.
    pub(super) fn is_due(&self, id: BackendId) -> bool {
        self.operation.as_ref().is_some_and(|run| run.past() && run.to == id)
    }

    /// Both are asked all the time for their role.
    pub(super) fn is_awaited(&self, id: BackendId) -> bool {
        self.operation.as_ref().is_some_and(|run| run.past() && (run.to == id || run.from == Some(id)))
    }

    /// The operator has ordered it in spite of everything.
    pub(super) fn is_forced(&self, id: BackendId) -> bool {
        self.operation.as_ref().is_some_and(|run| run.force && run.past() && run.to == id)
    }

    /// The present operation wants it to stop being a primary.
    pub(super) fn is_demoted_by_order(&self, id: BackendId) -> bool {
        let by = |run: &Run| run.past() && run.kind == OperationKind::Switchover && run.from == Some(id);
        self.operation.as_ref().is_some_and(by)
    }

    pub(super) fn accepts_loss(&self) -> bool {
        self.operation.as_ref().is_some_and(|run| run.accept_loss)
    }

    pub(super) fn stands_by(&self, id: BackendId) -> bool {
        let node = self.node(id);
        self.by_role() && node.admin == Admin::Ready && self.serves(id) && node.role == Some(Role::Standby)
    }

    fn is_old(&self, id: BackendId) -> bool {
        self.fenced(id) && self.node(id).admin == Admin::Ready && !self.is_absurd(id)
    }

    fn wavers(&self, id: BackendId) -> bool {
        self.node(id).doubted || matches!(self.node(id).run, super::Run::Bad(_))
    }

    fn lacks(&self, id: BackendId) -> Option<u64> {
        let written = self.node(self.last_active?).position?.get();
        Some(written.saturating_sub(self.node(id).position?.get()))
    }

    fn is_behind_the_fence(&self, id: BackendId) -> bool {
        self.node(id).db_epoch.zip(self.fence).is_some_and(|(epoch, fence)| epoch < fence)
    }

    /// The rules of a candidate: whether it needs a promotion.
    fn candidate(&self, id: BackendId, request: &Request) -> Result<bool, OperationRefusal> {
        let moves = request.kind == OperationKind::Switchover;
        let promotes = self.stands_by(id);
        rule_of(self.could_serve(id) || self.is_old(id) || promotes, OperationRefusal::NotEligible)?;
        rule_of(!self.is_old(id) || request.accept_loss, OperationRefusal::Fenced)?;
        rule_of(!promotes || request.how.promote, OperationRefusal::NoPromoter)?;
        rule_of(!promotes || !moves || self.outgoing(request).is_some(), OperationRefusal::NoActive)?;
        rule_of(request.force || self.may_be_ordered(id, request.id), OperationRefusal::Unproven)?;
        rule_of(!self.wavers(id), OperationRefusal::InDoubt)?;
        if promotes && !request.accept_loss {
            rule_of(!self.is_behind_the_fence(id), OperationRefusal::Fenced)?;
            let streams = self.node(id).hears != Some(false);
            rule_of(!moves || streams, OperationRefusal::NotStreaming)?;
            let (bytes, time) = self.node(id).lag;
            let exceeds = match self.policy.max_lag {
                Some(MaxLag::Bytes(max)) => bytes > Some(max),
                Some(MaxLag::Time(max)) => time > Some(max),
                None => false,
            };
            rule_of(!moves || request.force || !exceeds, OperationRefusal::Lag)?;
            let lack = self.lacks(id).or(bytes);
            rule_of(moves || lack.is_some(), OperationRefusal::LagUnknown)?;
            rule_of(moves || lack <= Some(request.max_lag), OperationRefusal::Lag)?;
        }
        Ok(promotes)
    }

    /// Who is to stop being the primary: also the only one there is, if it serves nobody for want of a proof.
    fn outgoing(&self, request: &Request) -> Option<BackendId> {
        let claimants: Vec<_> = self.ids().filter(|id| self.says_primary(*id)).collect();
        let kept_out = claimants.first().copied().filter(|id| self.could_serve(*id) && self.is_barred(*id));
        let wanted = request.kind == OperationKind::Switchover && request.afterwards == Afterwards::Stay;
        self.active.or_else(|| kept_out.filter(|id| wanted && claimants.len() == 1 && request.to != Some(*id)))
    }

    pub(super) fn plan(&self, request: &Request, now: Time) -> Result<Planned, OperationRefusal> {
        let moves = request.kind == OperationKind::Switchover;
        rule_of(request.kind != OperationKind::Failover, OperationRefusal::Automatic)?;
        rule_of(self.operation.is_none(), OperationRefusal::Busy)?;
        rule_of(request.to.is_none_or(|to| to.index() < self.nodes.len()), OperationRefusal::UnknownBackend)?;
        let heard = self.nodes.iter().all(|node| node.last.is_some());
        rule_of(self.settled || heard || now >= self.settle_by, OperationRefusal::Settling)?;
        rule_of(moves || self.active.is_none(), OperationRefusal::PrimaryLives)?;
        let old = self.outgoing(request);
        rule_of(!moves || old.is_some() || request.to.is_some(), OperationRefusal::NoActive)?;
        let doubted = old.is_some_and(|old| self.node(old).doubted);
        rule_of(!moves || !doubted && !self.doubts_the_active(), OperationRefusal::InDoubt)?;
        let others: Vec<_> = self.ids().filter(|id| old != Some(*id)).collect();
        let to = match (request.to, &others[..]) {
            (Some(to), _) => to,
            (None, [only]) => *only,
            (None, _) => {
                let able = others.iter().filter(|id| self.candidate(**id, request).is_ok());
                let second = |id: BackendId| !self.is_good(id);
                let planned = |id: BackendId| moves && !request.accept_loss && second(id);
                let best =
                    able.min_by_key(|id| (self.stands_by(**id), planned(**id), Reverse(self.node(**id).position), second(**id)));
                *best.ok_or(OperationRefusal::NoCandidate)?
            }
        };
        let promotes = self.candidate(to, request)?;
        let beside = self.ids().any(|id| id != to && self.says_primary(id) && !self.is_old(id));
        rule_of(moves || !promotes || request.force || !beside, OperationRefusal::PrimaryLives)?;
        let replaces = self.active.is_some_and(|active| active != to);
        let steps = [
            (Stage::Fence, !moves && promotes && request.how.fence != Fence::None),
            (Stage::Gate, replaces),
            (Stage::Drain, replaces),
            (Stage::Demote, moves && promotes && request.how.demote),
            (Stage::Promote, promotes),
            (Stage::Activate, true),
        ];
        let steps = steps.into_iter().filter(|(_, is)| *is).map(|(step, _)| step).collect();
        let from = if promotes { old } else { self.active };
        Ok((if moves { from } else { self.last_active }, to, steps))
    }

    /// Before the election: what the event, the facts and the time do to the operation, and what must be told of it.
    pub(super) fn drive(&mut self, was: &Self, step: &Step) -> Result<Vec<Effect>, String> {
        let mut told = Vec::new();
        self.take_order(step, &mut told)?;
        let Some(run) = self.operation.clone() else { return Ok(told) };
        let limit = run.limits.of(run.step);
        let fits = if run.promotes() { self.stands_by(run.to) } else { self.could_serve(run.to) || self.takes_old(&run) };
        let fits = fits && (run.force || self.may_be_ordered(run.to, run.id));
        let lost = match run.from {
            _ if run.kind != OperationKind::Switchover => false,
            Some(from) => !self.eligible(from),
            None => true,
        };
        let refused = run.kind == OperationKind::Failover && !self.lasting(step.now, run.to);
        let why = match run.past() {
            _ if step.now >= run.since + limit => Some(OperationEnd::Deadline),
            true => None,
            false if lost => Some(OperationEnd::ActiveLost),
            false if !fits => Some(OperationEnd::CandidateLost),
            false => refused.then_some(OperationEnd::Condition),
        };
        if let Some(why) = why {
            self.finish(why, "", &mut told);
        } else if run.reported {
            self.proceed(was, &run, step.now, &mut told);
        }
        if let Some(run) = self.operation.clone().filter(|run| run.past() && self.takes_old(run)) {
            self.fence = self.node(run.to).db_epoch;
            self.pinned = Some((run.to, self.highest_claim()));
        }
        Ok(told)
    }

    fn takes_old(&self, run: &Run) -> bool {
        run.accept_loss && self.is_old(run.to)
    }

    fn proceed(&mut self, was: &Self, run: &Run, now: Time, told: &mut Vec<Effect>) {
        use Stage::{Activate, Demote, Drain, Promote};
        let doubted =
            run.from.is_some_and(|from| self.node(from).doubted) || (self.active == run.from && self.awaits_a_word(was.conflict));
        let may = match run.step {
            Drain => !doubted && !self.wavers(run.to) && (run.accept_loss || self.node(run.to).hears != Some(false)),
            Demote => run.from.is_none_or(|from| !self.could_serve(from)),
            Activate => false,
            _ => true,
        };
        let next = run.steps.iter().skip_while(|step| **step != run.step).nth(1).copied();
        match next.filter(|_| may) {
            Some(Promote) if self.could_serve(run.to) => self.begin_step(Activate, now, told),
            Some(Promote) if !self.stands_by(run.to) => self.finish(OperationEnd::CandidateLost, "", told),
            Some(next) => self.begin_step(next, now, told),
            None => {}
        }
    }

    fn begin_step(&mut self, next: Stage, now: Time, told: &mut Vec<Effect>) {
        let Some(mut run) = self.operation.take() else { return };
        (run.step, run.since, run.reported) = (next, now, false);
        told.push(run.begins());
        if run.past() {
            let chosen = next == Stage::Activate && !run.promotes();
            self.pinned = chosen.then(|| (run.to, self.highest_claim()));
        }
        self.operation = Some(run);
    }

    fn finish(&mut self, why: OperationEnd, evidence: &str, told: &mut Vec<Effect>) {
        let Some(run) = self.operation.take() else { return };
        let result = match (why, run.past()) {
            (OperationEnd::Complete, _) => OperationResult::Done,
            (_, true) => OperationResult::Failed,
            (_, false) => OperationResult::Aborted,
        };
        told.extend(run.gates().then_some(Effect::Ungate { id: run.id }));
        let ending = Ending { result, why, step: run.step, evidence: evidence.into() };
        told.push(Effect::EndOperation { id: run.id, kind: run.kind, ending });
        if run.kind == OperationKind::Failover && result != OperationResult::Done {
            self.tried.push(run.to);
        }
    }

    fn take_order(&mut self, step: &Step, told: &mut Vec<Effect>) -> Result<(), String> {
        let says: Vec<_> = step
            .effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Note(Note::OperationRefused { refused, .. }) => Some(refused.why),
                _ => None,
            })
            .collect();
        let mut should = Vec::new();
        match step.event {
            Event::Operate(request) => match self.plan(request, step.now) {
                Err(why) => should.push(why),
                Ok((from, to, steps)) => {
                    self.tried.clear();
                    self.start(request, (from, to, steps), step.now, told);
                }
            },
            Event::StepDone { id, step: of, result } => {
                let Some(mut run) = self.operation.clone().filter(|run| run.id == *id && run.step == *of) else { return Ok(()) };
                let refuses = run.from.is_some_and(|from| self.node(from).refused);
                let spared = *of == Stage::Fence && run.how.fence == Fence::Optional && refuses;
                match result {
                    Err(why) if !spared => self.finish(OperationEnd::StepFailed, why, told),
                    _ => {
                        run.reported = true;
                        self.operation = Some(run);
                    }
                }
            }
            Event::Command(Command::AbortOperation(id)) => match &self.operation {
                Some(run) if run.id == *id && !run.past() => self.finish(OperationEnd::Command, "", told),
                Some(run) if run.id == *id => should.push(OperationRefusal::PointOfNoReturn),
                _ if self.tries_out(*id) => {}
                _ => should.push(OperationRefusal::UnknownOperation),
            },
            _ => {}
        }
        rule!(says == should, "I19: the refusals are {says:?}, the rules say {should:?}");
        Ok(())
    }

    pub(super) fn start(&mut self, request: &Request, (from, to, steps): Planned, now: Time, told: &mut Vec<Effect>) {
        let first = steps[0];
        let (id, kind, accept_loss, how) = (request.id, request.kind, request.accept_loss, request.how);
        let (limits, force, afterwards) = (request.limits, request.force, request.afterwards);
        let (step, since, reported) = (first, now, false);
        let run = Run { id, kind, from, to, steps, force, accept_loss, how, limits, afterwards, step, since, reported };
        self.operation = Some(run);
        self.begin_step(first, now, told);
    }

    /// After the election: an operation whose candidate is active is done, one whose ground is gone is over; and what was told.
    pub(super) fn settle(&mut self, step: &Step, mut told: Vec<Effect>) -> Result<(), String> {
        let mut news = self.try_out(step, &mut told);
        if let Some(run) = self.operation.clone() {
            let moved = self.active != run.from;
            let why = match run.kind {
                _ if run.past() && self.active == Some(run.to) => Some(OperationEnd::Complete),
                _ if run.past() => None,
                OperationKind::Switchover => moved.then_some(OperationEnd::ActiveLost),
                OperationKind::Promote | OperationKind::Failover => self.active.map(|_| OperationEnd::PrimaryReturned),
            };
            if let Some(why) = why {
                self.finish(why, "", &mut told);
                if why == OperationEnd::Complete {
                    news.extend(self.begin_trial(&run, step.now));
                }
            }
        }
        i26_news(step, &news)?;
        self.idle_since = match self.active {
            None if self.policy.promotion.is_some() && self.epoch > Epoch(0) => self.idle_since.or(Some(step.now)),
            _ => None,
        };
        self.act_alone(step, &mut told);
        let says: Vec<_> = step
            .effects
            .iter()
            .filter(|effect| matches!(effect, Effect::BeginStep { .. } | Effect::Ungate { .. } | Effect::EndOperation { .. }))
            .cloned()
            .map(nameless)
            .collect();
        let should: Vec<_> = told.into_iter().map(nameless).collect();
        rule!(says == should, "I19: of the operation was told {says:?}, the rules say {should:?}");
        let says = step.after.operation().map(|is| (is.plan().from, is.plan().to, is.step(), is.since(), is.can_abort()));
        let should = self.operation.as_ref().map(|run| (run.from, run.to, run.step, run.since, !run.past()));
        rule!(says == should, "I19: the operation is {says:?}, was told {should:?}");
        Ok(())
    }

    // ---- the automatic promotion ----

    fn agree(&self, to: BackendId) -> bool {
        let heard = self.ids().any(|id| self.stands_by(id) && self.node(id).hears == Some(true));
        self.node(to).hears == Some(false) && !heard
    }

    /// What must hold from the beginning until the candidate is promoted.
    fn lasting(&self, now: Time, to: BackendId) -> bool {
        let Some(rule) = &self.policy.promotion else { return false };
        let Some(old) = self.last_active else { return false };
        let nobody = self.active.is_none() && !self.ids().any(|id| self.says_primary(id) && !self.is_old(id));
        let dead = self.node(old).verdict == Health::Down && self.node(old).admin == Admin::Ready && self.is_plainly_down(old);
        let killed = rule.fence != Fence::None || self.node(old).refused;
        let recent = self.switches.iter().filter(|at| now.since(**at) < self.policy.budget_within).count();
        let budget = recent < self.policy.budget_max as usize;
        let enough = self.lacks(to).is_some_and(|lack| lack <= rule.max_lag);
        let may = self.would_serve(to) && rule.single && !self.ordered_out;
        nobody && dead && killed && budget && enough && self.agree(to) && may
    }

    /// Not one whose check fails, nor another server at its address.
    fn is_plainly_down(&self, id: BackendId) -> bool {
        let node = self.node(id);
        (node.session_lost && node.refused) || !matches!(node.last, Some(Outcome::Misconfigured | Outcome::WrongCluster))
    }

    fn act_alone(&mut self, step: &Step, told: &mut Vec<Effect>) {
        let now = step.now;
        let Some(rule) = self.policy.promotion.clone() else { return };
        let rested = self.idle_since.is_some_and(|since| now.since(since) >= rule.after);
        if self.operation.is_some() || !rested || self.tried.len() >= 2 {
            return;
        }
        let may = |id: &BackendId| {
            self.stands_by(*id) && !self.wavers(*id) && !self.is_behind_the_fence(*id) && !self.tried.contains(id)
        };
        let good: Vec<_> = self.ids().filter(may).filter(|id| self.lasting(now, *id)).collect();
        let Some(to) = good.into_iter().min_by_key(|id| (Reverse(self.node(*id).position), !self.is_good(*id))) else { return };
        let fences = (rule.fence != Fence::None).then_some(Stage::Fence);
        let steps = fences.into_iter().chain([Stage::Promote, Stage::Activate]).collect();
        let how = How { fence: rule.fence, demote: false, promote: true };
        // Its number is the pool's own choice.
        let id = step.after.operation().map_or(OperationId(0), Operation::id);
        let (kind, limits) = (OperationKind::Failover, rule.limits);
        let request = Request {
            id,
            kind,
            to: Some(to),
            force: false,
            accept_loss: false,
            max_lag: rule.max_lag,
            how,
            limits,
            afterwards: Afterwards::Stay,
        };
        self.start(&request, (self.last_active, to, steps), now, told);
    }
}

/// Automatic ones are numbered; nobody asks how.
fn nameless(effect: Effect) -> Effect {
    let anonymous = |id: OperationId| OperationId(id.0.min(AUTOMATIC));
    match effect {
        Effect::BeginStep { id, kind, step, from, to } => Effect::BeginStep { id: anonymous(id), kind, step, from, to },
        Effect::EndOperation { id, kind, ending } => Effect::EndOperation { id: anonymous(id), kind, ending },
        Effect::Ungate { id } => Effect::Ungate { id: anonymous(id) },
        other => other,
    }
}

fn rule_of(holds: bool, why: OperationRefusal) -> Result<(), OperationRefusal> {
    if holds { Ok(()) } else { Err(why) }
}
