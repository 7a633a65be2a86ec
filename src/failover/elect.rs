//! The election: which backend should be active.
//!
//! There are two ways: by the role that the database reports, or by list order (a check without roles).

use super::{
    facts::{Facts, MultiPrimary},
    operation::Operation,
    policy::{Election, OnConflict},
    pool::Pool,
    time::Time,
    vocabulary::{Admin, BackendId, Cause, Health, Reason, Verdict},
};

/// The result of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) active: Option<BackendId>,
    pub(super) verdict: Verdict,
    /// Why a new one replaces one that could have stayed.
    pub(super) cause: Option<Cause>,
}

impl Choice {
    const fn none(verdict: Verdict) -> Self {
        Self { active: None, verdict, cause: None }
    }
}

impl Pool {
    /// Every backend that says it is a primary which accepts writes, fenced or not, up or not up yet: more than one is a conflict,
    /// unless they all know of each other.
    pub(super) fn claimants(&self) -> Vec<BackendId> {
        match self.policy.election {
            Election::ByOrder => Vec::new(),
            Election::ByRole => self.ids().filter(|id| self.says_primary(*id)).collect(),
        }
    }

    /// Its last answer is that it is a primary of this cluster which accepts writes, and that is possible.
    pub(super) fn says_primary(&self, id: BackendId) -> bool {
        let Some(backend) = self.backends.get(id.index()) else { return false };
        backend.says_primary(self.system_id) && self.absurdly_above(id, &backend.facts).is_none()
    }

    /// The base for an impossible database epoch: the highest that was served or, before any was, the highest of the other
    /// backends. If a false epoch were remembered, it would fence every honest one for ever.
    pub(super) fn absurdly_above(&self, id: BackendId, facts: &Facts) -> Option<u64> {
        let (step, epoch) = self.policy.max_epoch_step.zip(facts.db_epoch)?;
        let others = self.ids().filter(|other| *other != id).map(|other| &self.backends[other.index()]);
        let shown = others.filter(|other| !other.is_foreign(self.system_id)).filter_map(|other| other.facts.db_epoch);
        let known = self.fence.or_else(|| shown.max())?;
        (epoch.saturating_sub(known) > step).then_some(known)
    }

    /// More than one is a primary: each has confirmed it after the last of them said so.
    pub(super) fn is_conflict(&self, claimants: &[BackendId]) -> bool {
        let heard = claimants.iter().filter(|id| !self.backends[id.index()].outdated).count();
        claimants.len() > 1 && !self.share_writes(claimants) && (self.conflict || heard > 1)
    }

    /// Another backend is eligible too, and the active one has not answered since: it may have been demoted.
    pub(super) fn awaits_a_word(&self) -> bool {
        let eligible = self.eligible();
        let outdated = self.active().is_some_and(|id| self.backends[id.index()].outdated);
        outdated && eligible.len() > 1 && !self.share_writes(&eligible) && !self.is_conflict(&self.claimants())
    }

    /// They are primaries of one cluster that accept writes at the same time.
    pub(super) fn share_writes(&self, primaries: &[BackendId]) -> bool {
        let facts = |id: &BackendId| &self.backends[id.index()].facts;
        let first = primaries.first().and_then(|id| facts(id).system_id);
        primaries.iter().all(|id| facts(id).multi_primary != MultiPrimary::No && facts(id).system_id == first)
    }

    /// The highest database epoch of a present primary.
    pub(super) fn highest_claim(&self) -> Option<u64> {
        let claimants = self.claimants().into_iter().map(|id| &self.backends[id.index()]);
        claimants.filter(|backend| backend.health() == Health::Up).filter_map(|backend| backend.facts.db_epoch).max()
    }

    /// Another backend would be active at once if an operator took this one out.
    pub(super) fn is_replaced_without(&self, now: Time, id: BackendId) -> bool {
        let mut without = self.clone();
        without.backends[id.index()].admin = Admin::Maint;
        without.refresh_reasons(now, &mut Vec::new());
        without.drop_pin();
        without.elect(now).active.is_some()
    }

    /// An operator's choice ends when it may no longer serve, and when a primary appears that the operator did not know of: an old
    /// command must not overrule a later promotion.
    pub(super) fn drop_pin(&mut self) {
        let highest = self.highest_claim();
        self.pinned = self.pinned.filter(|pin| self.reason(pin.backend) == Reason::Eligible && highest <= pin.ceiling);
    }

    pub(super) fn elect(&self, now: Time) -> Choice {
        if self.is_settling(now) {
            return Choice::none(Verdict::Settling);
        }
        match self.policy.election {
            Election::ByRole => self.elect_by_role(now),
            Election::ByOrder => self.elect_by_order(now),
        }
    }

    /// At the start none is active before every backend has answered, or could have: the first to answer may be an old primary, or
    /// not the preferred one.
    pub(super) fn is_settling(&self, now: Time) -> bool {
        !self.settled && now < self.settle_by && self.backends.iter().any(|backend| backend.last_outcome.is_none())
    }

    fn elect_by_role(&self, now: Time) -> Choice {
        let eligible = self.eligible();
        match (self.pinned, eligible.as_slice()) {
            (Some(pin), _) => self.choice(pin.backend, now, Some(Cause::Command)),
            (None, []) => Choice::none(self.nobody()),
            (None, [only]) => self.choice(*only, now, self.ordered(*only)),
            (None, several) => self.settle_conflict(several, now),
        }
    }

    fn eligible(&self) -> Vec<BackendId> {
        self.ids().filter(|id| self.reason(*id) == Reason::Eligible).collect()
    }

    /// All may write, but writes to two of them conflict: one is enough, and it stays.
    fn elect_of_many(&self, eligible: &[BackendId], now: Time) -> Choice {
        if let Some(active) = self.active().filter(|active| eligible.contains(active)) {
            return self.choice(active, now, None);
        }
        let is_last = |id: BackendId| self.last_active == Some(id);
        let has_all = |id: BackendId| is_last(id) || self.backends[id.index()].facts.multi_primary == MultiPrimary::Synced;
        let released = eligible.iter().copied().filter(|id| self.released_at(*id) <= now);
        match released.min_by_key(|id| (!has_all(*id), !self.is_good(*id), !is_last(*id))) {
            Some(id) => self.choice(id, now, None),
            None => Choice::none(Verdict::HoldDown),
        }
    }

    fn settle_conflict(&self, eligible: &[BackendId], now: Time) -> Choice {
        if self.share_writes(eligible) {
            return self.elect_of_many(eligible, now);
        }
        let kept = self.active().filter(|active| eligible.contains(active));
        let waits = kept.is_some() && self.awaits_a_word();
        let verdict = if waits { Verdict::Keep } else { Verdict::SplitBrain };
        let undecided = Choice { active: kept, verdict, cause: None };
        match self.policy.on_conflict {
            OnConflict::Refuse if waits => undecided,
            OnConflict::Refuse => Choice::none(Verdict::SplitBrain),
            OnConflict::Keep => undecided,
            OnConflict::Newest => {
                let epoch = |id: &BackendId| self.backends[id.index()].facts.db_epoch;
                let mut clusters = eligible.iter().filter_map(|id| self.backends[id.index()].facts.system_id);
                let cluster = clusters.next();
                // Epochs of two clusters cannot be compared.
                if eligible.iter().any(|id| epoch(id).is_none()) || clusters.any(|other| Some(other) != cluster) {
                    return undecided;
                }
                let newest = eligible.iter().filter_map(epoch).max();
                let mut holders = eligible.iter().filter(|id| epoch(id) == newest);
                match (holders.next(), holders.next()) {
                    (Some(winner), None) => self.choice(*winner, now, Some(Cause::Conflict)),
                    _ => undecided,
                }
            }
        }
    }

    fn elect_by_order(&self, now: Time) -> Choice {
        if let Some(pin) = self.pinned {
            return self.choice(pin.backend, now, Some(Cause::Command));
        }
        let eligible = self.eligible();
        if let Some(active) = self.active().filter(|active| eligible.contains(active)) {
            return match self.failback() {
                Some((preferred, at)) if at <= now => self.choice(preferred, now, Some(Cause::Failback)),
                _ => self.choice(active, now, None),
            };
        }
        if eligible.is_empty() {
            return Choice::none(self.nobody());
        }
        let released = eligible.into_iter().filter(|id| self.released_at(*id) <= now);
        // The last one has what was written last.
        match released.min_by_key(|id| (self.last_active != Some(*id), !self.is_good(*id))) {
            Some(id) => self.choice(id, now, None),
            None => Choice::none(Verdict::HoldDown),
        }
    }

    fn choice(&self, id: BackendId, now: Time, cause: Option<Cause>) -> Choice {
        if self.active() == Some(id) {
            Choice { active: Some(id), verdict: Verdict::Keep, cause: None }
        } else if cause == Some(Cause::Command) || self.released_at(id) <= now {
            Choice { active: Some(id), verdict: Verdict::Switch, cause }
        } else {
            Choice {
                active: self.active().filter(|id| self.reason(*id) == Reason::Eligible),
                verdict: Verdict::HoldDown,
                cause: None,
            }
        }
    }

    /// The failover budget: automation does not switch back and forth for ever. The moment from which it may switch to this
    /// backend. It is at once for the one that was active last (that is no switch), one that did not fail within the window, and
    /// one that the database itself has promoted since.
    fn released_at(&self, id: BackendId) -> Time {
        let backend = &self.backends[id.index()];
        let promoted = match (self.policy.election, self.fence, backend.facts.db_epoch) {
            (Election::ByRole, Some(fence), Some(epoch)) => epoch > fence,
            _ => false,
        };
        let unspent = self.switches.len() < self.policy.budget_max as usize;
        match backend.last_down {
            Some(failed) if !promoted && !unspent && self.last_active != Some(id) => {
                let forgiven = failed + self.policy.budget_within;
                self.switches.front().map_or(forgiven, |oldest| forgiven.min(*oldest + self.policy.budget_within))
            }
            _ => Time::ZERO,
        }
    }

    /// Without roles: the preferred backend, and when to return to it. It must have been eligible without a break for long enough,
    /// and without any doubt: a good backend is not left for a doubtful one, nor for one that has not proven itself.
    fn failback(&self) -> Option<(BackendId, Time)> {
        let is_free = self.policy.election == Election::ByOrder && self.pinned.is_none() && self.operation.is_none();
        let after = self.policy.failback_after.filter(|_| is_free)?;
        let is_able = |id: &BackendId| self.reason(*id) == Reason::Eligible && self.is_good(*id);
        let preferred = self.ids().find(is_able).filter(|id| Some(*id) < self.active())?;
        let backend = &self.backends[preferred.index()];
        let due = backend.eligible_since.filter(|_| !backend.signs.in_doubt && !backend.is_pending())? + after;
        Some((preferred, due.max(self.released_at(preferred))))
    }

    /// When time alone will change the election, seen from a step at `now`.
    pub(super) fn wake_after(&self, now: Time) -> Option<Time> {
        let settle = (!self.settled).then_some(self.settle_by);
        let failback = self.failback().map(|(_, at)| at);
        let held = self.verdict() == Verdict::HoldDown;
        let release = self.eligible().into_iter().filter(|_| held).map(|id| self.released_at(id)).filter(|at| *at > now).min();
        let operation = self.operation.as_ref().map(Operation::deadline);
        let trial = self.trial.as_ref().map(|trial| trial.wake_after(now));
        let all = [settle, failback, release, self.paused, operation, trial, self.promotion_due(now), self.quick_due()];
        all.into_iter().flatten().min()
    }
}
