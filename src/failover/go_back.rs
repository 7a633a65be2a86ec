//! What goes on in a trial: its signs, its end, and the switchover back. The tables are in `trial.rs`.

use std::time::Duration;

use super::{
    event::{Effect, Note},
    operation::{Afterwards, Operation, OperationId, OperationKind, OperationRefusal, Plan, Refused, Request},
    policy::Election,
    pool::Pool,
    promotion::AUTOMATIC,
    time::Time,
    trial::{REST, SIGNS, Trial, TrialEnd, TrialNews, WINDOW},
    vocabulary::{Admin, BackendId, Reason},
};

impl Pool {
    /// A switchover is done.
    pub(super) fn begin_trial(&mut self, now: Time, done: &Operation, told: &mut Vec<Effect>) {
        let (returns, time) = match done.afterwards {
            Afterwards::Stay => return,
            Afterwards::Trial(time) => (false, time),
            Afterwards::Return(time) => (true, time),
        };
        let Plan { from: Some(from), to, .. } = done.plan else { return };
        let (id, how, limits) = (done.id, done.how, done.limits);
        let (rests, until) = (now + REST, now + time.max(Duration::from_millis(1)));
        let (signs, failed, told_before) = (Vec::new(), None, Vec::new());
        let trial = Trial { id, from, to, rests, until, how, limits, signs, failed, returns, told: told_before };
        told.push(Effect::Note(Note::Trial(id, TrialNews::Begun)));
        // The old one may have been taken out meanwhile.
        match self.trial_over(&trial, now) {
            Some(end) => told.push(Effect::Note(Note::Trial(id, TrialNews::Ended(end)))),
            None => self.trial = Some(trial),
        }
    }

    /// There is a sign of trouble of this backend.
    pub(super) fn note_trouble(&mut self, now: Time, id: BackendId) {
        let Some(trial) = self.trial.as_mut().filter(|trial| trial.to == id && !trial.returns) else { return };
        trial.signs.retain(|at| now.since(*at) < WINDOW);
        trial.signs.push(now);
    }

    /// After the election: ends a trial, or goes back.
    pub(super) fn drive_trial(&mut self, now: Time, told: &mut Vec<Effect>) {
        let Some(mut trial) = self.trial.take() else { return };
        let id = trial.id;
        let mut tell = |news| told.push(Effect::Note(Note::Trial(id, news)));
        if let Some(end) = self.trial_over(&trial, now) {
            return tell(TrialNews::Ended(end));
        }
        let troubled = (trial.signs.len() >= SIGNS).then(|| self.backends[trial.to.index()].evidence.clone());
        if let Some(evidence) = trial.failed.take().or(troubled).filter(|_| !trial.returns) {
            trial.returns = true;
            tell(TrialNews::Failed(evidence));
        }
        if trial.returns && now >= trial.rests {
            let request = back(&trial, self.promotions);
            match self.goes_back(now, &request, trial.from) {
                Ok(plan) => {
                    tell(TrialNews::Ended(TrialEnd::WentBack));
                    self.promotions += 1;
                    return self.begin_operation(now, &request, plan, told);
                }
                Err(refused) => {
                    if !trial.told.contains(&refused.why) {
                        trial.told.push(refused.why);
                        tell(TrialNews::Waits(refused));
                    }
                }
            }
        }
        self.trial = Some(trial);
    }

    fn trial_over(&self, trial: &Trial, now: Time) -> Option<TrialEnd> {
        let is_out = self.backend(trial.from).is_none_or(|from| from.admin != Admin::Ready);
        if self.operation.is_some() {
            Some(TrialEnd::Ordered)
        } else if self.active() != Some(trial.to) || is_out {
            Some(TrialEnd::Lost)
        } else if now >= trial.until {
            Some(if trial.returns { TrialEnd::Stayed } else { TrialEnd::Passed })
        } else {
            None
        }
    }

    /// What a switchover back to a backend that was active before would do: as [`Pool::preflight`], and it is no second primary, for
    /// that does not have what the active one wrote.
    ///
    /// # Errors
    /// Why it would be refused.
    pub fn way_back(&self, now: Time, request: &Request) -> Result<Plan, Refused> {
        let plan = self.preflight(now, request)?;
        match plan.from {
            Some(from) if self.reason(plan.to) == Reason::Eligible && self.is_apart(from, plan.to) => {
                Err(Refused { why: OperationRefusal::NotStreaming, backend: Some(plan.to) })
            }
            _ => Ok(plan),
        }
    }

    /// Both are primaries, and what one writes does not reach the other.
    pub(super) fn is_apart(&self, from: BackendId, to: BackendId) -> bool {
        self.policy.election == Election::ByRole && !self.share_writes(&[from, to])
    }

    /// No person is there to judge: a standby must say that it follows, and lack nothing.
    fn goes_back(&self, now: Time, request: &Request, to: BackendId) -> Result<Plan, Refused> {
        let refused = |why| Err(Refused { why, backend: Some(to) });
        let plan = self.way_back(now, request)?;
        match self.reason(to) {
            Reason::Standby if self.backends[to.index()].facts.hears_primary != Some(true) => {
                refused(OperationRefusal::NotStreaming)
            }
            Reason::Standby if self.behind(to).is_some_and(|behind| behind > 0) => refused(OperationRefusal::Lag),
            _ => Ok(plan),
        }
    }

    /// An operator wants no more of it.
    pub(super) fn abort_trial(&mut self, id: OperationId, told: &mut Vec<Effect>) -> bool {
        let is_over = self.trial.take_if(|trial| trial.id == id).is_some();
        if is_over {
            told.push(Effect::Note(Note::Trial(id, TrialNews::Ended(TrialEnd::Ordered))));
        }
        is_over
    }

    /// What becomes of it when the list of the backends changes.
    pub(super) fn move_trial(&mut self, moved: impl Fn(BackendId) -> Option<BackendId>, told: &mut Vec<Effect>) {
        let Some(trial) = &mut self.trial else { return };
        let id = trial.id;
        if let Some(both) = moved(trial.from).zip(moved(trial.to)) {
            (trial.from, trial.to) = both;
        } else {
            self.trial = None;
            told.push(Effect::Note(Note::Trial(id, TrialNews::Ended(TrialEnd::Lost))));
        }
    }
}

/// The switchover back.
fn back(trial: &Trial, number: u64) -> Request {
    Request {
        id: OperationId(AUTOMATIC + number),
        kind: OperationKind::Switchover,
        to: Some(trial.from),
        force: false,
        accept_loss: false,
        max_lag: 0,
        how: trial.how,
        limits: trial.limits,
        afterwards: Afterwards::Stay,
    }
}
