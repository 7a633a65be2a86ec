//! Who would be the candidate of an operation, what its steps would be, and why it is refused.

use std::{cmp::Reverse, num::NonZeroU64};

use super::{
    operation::{Afterwards, Fence, OperationKind, OperationRefusal, Plan, Refused, Request, Step},
    pool::Pool,
    time::Time,
    vocabulary::{BackendId, Reason},
};

/// What must happen to a candidate before it may be active.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Candidate {
    /// It is eligible, or would be if its epoch were accepted.
    Ready,
    /// It is to be promoted.
    Standby,
}

impl Pool {
    /// What an operation would do if it were asked for at `now`.
    ///
    /// # Errors
    /// Why it would be refused.
    pub fn preflight(&self, now: Time, request: &Request) -> Result<Plan, Refused> {
        let refused = |why, backend| Err(Refused { why, backend });
        let (active, old) = (self.active(), self.outgoing(request));
        match (request.kind, request.to, old) {
            (OperationKind::Failover, ..) => return refused(OperationRefusal::Automatic, None),
            _ if self.operation.is_some() => return refused(OperationRefusal::Busy, None),
            (_, Some(to), _) if self.backend(to).is_none() => return refused(OperationRefusal::UnknownBackend, Some(to)),
            _ if self.is_settling(now) => return refused(OperationRefusal::Settling, None),
            (OperationKind::Promote, _, Some(active)) => return refused(OperationRefusal::PrimaryLives, Some(active)),
            (OperationKind::Switchover, None, None) => return refused(OperationRefusal::NoActive, None),
            (OperationKind::Switchover, _, Some(old)) if self.is_in_doubt(old) => {
                return refused(OperationRefusal::InDoubt, Some(old));
            }
            _ => {}
        }
        let (to, candidate) = match request.to {
            Some(to) => (to, self.judge_candidate(to, request).map_err(|why| Refused { why, backend: Some(to) })?),
            None => self.best_candidate(request)?,
        };
        if candidate == Candidate::Standby
            && request.kind == OperationKind::Promote
            && let Some(other) = self.other_primary(to).filter(|_| !request.force)
        {
            return refused(OperationRefusal::PrimaryLives, Some(other));
        }
        let from = match (request.kind, candidate) {
            (OperationKind::Promote, _) => self.last_active,
            (_, Candidate::Standby) => old,
            (_, Candidate::Ready) => active,
        };
        Ok(Plan { from, to, steps: steps(request, candidate, active.is_some_and(|active| active != to)) })
    }

    /// The primary that another one is to take over from: the active one; or, while nobody is active, the only one that says it is a
    /// primary, if it serves nobody because it has not proven itself. A trial cannot go back to that one.
    fn outgoing(&self, request: &Request) -> Option<BackendId> {
        let demotes = request.kind == OperationKind::Switchover && request.afterwards == Afterwards::Stay;
        let kept_out = || match self.claimants()[..] {
            [only] if demotes && request.to != Some(only) && self.reason(only) == Reason::Unproven => Some(only),
            _ => None,
        };
        self.active().or_else(kept_out)
    }

    fn best_candidate(&self, request: &Request) -> Result<(BackendId, Candidate), Refused> {
        let old = self.outgoing(request);
        let others = || self.ids().filter(|id| Some(*id) != old);
        let able = others().filter_map(|id| Some((id, self.judge_candidate(id, request).ok()?)));
        let position = |id: BackendId| self.backends[id.index()].facts.position;
        // Where something may be lost, the position comes before the proof.
        let loses_nothing = request.kind == OperationKind::Switchover && !request.accept_loss;
        let is_second = |id: BackendId| !self.is_good(id);
        let best = able.min_by_key(|(id, of)| {
            (*of == Candidate::Standby, loses_nothing && is_second(*id), Reverse(position(*id)), is_second(*id))
        });
        best.ok_or_else(|| match (others().next(), others().count()) {
            (Some(only), 1) => {
                let why = self.judge_candidate(only, request).err().unwrap_or(OperationRefusal::NoCandidate);
                Refused { why, backend: Some(only) }
            }
            _ => Refused { why: OperationRefusal::NoCandidate, backend: None },
        })
    }

    fn judge_candidate(&self, id: BackendId, request: &Request) -> Result<Candidate, OperationRefusal> {
        let candidate = match self.reason(id) {
            Reason::Eligible | Reason::Unproven => Candidate::Ready,
            Reason::Fenced if request.accept_loss => Candidate::Ready,
            Reason::Fenced => return Err(OperationRefusal::Fenced),
            Reason::Standby if !request.how.promote => return Err(OperationRefusal::NoPromoter),
            Reason::Standby if request.kind == OperationKind::Switchover && self.outgoing(request).is_none() => {
                return Err(OperationRefusal::NoActive);
            }
            Reason::Standby => Candidate::Standby,
            _ => return Err(OperationRefusal::NotEligible),
        };
        if !request.force && self.lacks_proof(id, request.id) {
            return Err(OperationRefusal::Unproven);
        }
        if self.is_doubtful(id) {
            return Err(OperationRefusal::InDoubt);
        }
        if candidate == Candidate::Ready || request.accept_loss {
            return Ok(candidate);
        }
        let facts = &self.backends[id.index()].facts;
        if self.is_below_fence(id) {
            return Err(OperationRefusal::Fenced);
        }
        if request.kind == OperationKind::Switchover {
            // No force makes it have what was written last.
            if !self.may_stream(id) {
                return Err(OperationRefusal::NotStreaming);
            }
            let lags = !request.force && self.policy.max_lag.is_some_and(|max| max.is_exceeded(facts));
            return if lags { Err(OperationRefusal::Lag) } else { Ok(candidate) };
        }
        match self.lack(id).or(facts.lag_bytes) {
            None => Err(OperationRefusal::LagUnknown),
            Some(lack) if lack > request.max_lag => Err(OperationRefusal::Lag),
            Some(_) => Ok(candidate),
        }
    }

    /// A backend that says it is a primary, and is not known to be an old one.
    pub(super) fn other_primary(&self, to: BackendId) -> Option<BackendId> {
        self.claimants().into_iter().find(|id| *id != to && self.reason(*id) != Reason::Fenced)
    }

    /// What a standby has not received of what the last active one was seen to have, in bytes.
    pub fn lack(&self, id: BackendId) -> Option<u64> {
        self.lack_of(self.backend(self.last_active?)?.facts.position, id)
    }

    /// The same while the active one writes: against what it had in its report before the last. The two are asked at different moments,
    /// so one that follows closely would seem to lack something otherwise.
    pub fn behind(&self, id: BackendId) -> Option<u64> {
        self.lack_of(self.backend(self.last_active?)?.earlier, id)
    }

    fn lack_of(&self, written: Option<NonZeroU64>, id: BackendId) -> Option<u64> {
        let (old, new) = (&self.backend(self.last_active?)?.facts, &self.backend(id)?.facts);
        let lack = written?.get().saturating_sub(new.position?.get());
        (old.history == new.history).then_some(lack)
    }

    /// Its history ended before one that was already served.
    pub fn is_below_fence(&self, id: BackendId) -> bool {
        let epoch = self.backends[id.index()].facts.db_epoch;
        epoch.zip(self.fence).is_some_and(|(epoch, fence)| epoch < fence)
    }

    /// It does not say that it has lost its primary.
    pub(super) fn may_stream(&self, id: BackendId) -> bool {
        self.backends[id.index()].facts.hears_primary != Some(false)
    }

    /// There is a sign of its death, and it has not answered since.
    pub(super) fn is_doubtful(&self, id: BackendId) -> bool {
        let backend = &self.backends[id.index()];
        backend.signs.in_doubt || backend.is_pending()
    }
}

fn steps(request: &Request, candidate: Candidate, replaces: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    if replaces {
        steps.extend([Step::Gate, Step::Drain]);
    }
    if candidate == Candidate::Standby {
        let fences = request.kind != OperationKind::Switchover && request.how.fence != Fence::None;
        let demotes = request.kind == OperationKind::Switchover && request.how.demote;
        steps.extend(fences.then_some(Step::Fence));
        steps.extend(demotes.then_some(Step::Demote));
        steps.push(Step::Promote);
    }
    steps.push(Step::Activate);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failover::{Facts, Policy};

    #[test]
    fn positions_are_compared_within_one_history_only() {
        let mut pool = Pool::new(Policy::default(), 2, Time::ZERO);
        pool.last_active = Some(BackendId::at(0));
        let mut lack = |old: (Option<u64>, u32), new: (Option<u64>, u32)| {
            for (index, (position, history)) in [old, new].into_iter().enumerate() {
                let position = position.and_then(NonZeroU64::new);
                pool.backends[index].facts = Facts { position, history, ..Facts::default() };
            }
            pool.lack(BackendId::at(1))
        };
        assert_eq!(lack((Some(100), 0), (Some(70), 0)), Some(30));
        assert_eq!(lack((Some(100), 7), (Some(170), 7)), Some(0));
        assert_eq!(lack((Some(100), 7), (Some(170), 8)), None);
        assert_eq!(lack((Some(100), 7), (Some(170), 0)), None);
        assert_eq!(lack((Some(100), 0), (None, 0)), None);
        assert_eq!(lack((None, 0), (Some(70), 0)), None);
    }
}
