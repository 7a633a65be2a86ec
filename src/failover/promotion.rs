//! When mainstay makes a standby the primary by itself: only when every condition holds. Each is computed from the state of the pool
//! and the policy, and can be shown.

use std::cmp::Reverse;

use super::{
    event::Effect,
    label::Label,
    operation::{Afterwards, Fence, How, OperationId, OperationKind, Plan, Request, Step},
    policy::AutomaticPromotion,
    pool::Pool,
    time::Time,
    vocabulary::{BackendId, Cause, Reason},
};
use crate::labels;

/// Candidates that are tried for one dead primary.
const ATTEMPTS: usize = 2;

/// Automatic operations have numbers from here on; orders have lower ones.
pub(super) const AUTOMATIC: u64 = 1 << 63;

labels! {
    /// What must hold before a standby is promoted automatically.
    pub enum PromotionCondition {
        /// No other operation runs.
        NoOperation = "no_operation",
        /// No backend is active, and none says that it is a primary, but for an old one.
        NoPrimary = "no_primary",
        /// The last active backend is down, and no operator took it out.
        PrimaryDown = "primary_down",
        /// It was not taken out of service by an order or a reload.
        NotOrdered = "not_ordered",
        /// Nobody was active for long enough.
        After = "after",
        /// A standby is up, has answered last, follows the history that was served, and was not tried yet.
        Candidate = "candidate",
        /// The candidate itself has lost its primary, and no other standby hears it.
        Witness = "witness",
        /// A fence is configured, or the death was seen as a refused connect.
        Fence = "fence",
        /// The candidate has received what the dead primary was seen to have, up to `max_lag`.
        Lag = "lag",
        /// The guard would let the candidate serve: it is proven or approved, or `guard.mode` is not `enforce`, or it is the last
        /// resort.
        Proven = "proven",
        /// A person has written that nobody else decides.
        SingleDecider = "single_decider",
        /// The failover budget allows it.
        Budget = "budget",
        /// Fewer than two candidates were tried since a primary was active or an operator acted.
        Attempts = "attempts",
    }
}

impl PromotionCondition {
    /// It holds until the candidate is promoted, also while the old primary is fenced.
    const fn must_last(self) -> bool {
        !matches!(self, Self::NoOperation | Self::After | Self::Candidate | Self::Attempts)
    }
}

impl Pool {
    /// The conditions of an automatic promotion that do not hold at `now`; `None` when it is not configured.
    pub fn promotion_unmet(&self, now: Time) -> Option<Vec<PromotionCondition>> {
        let rule = self.policy.promotion.as_ref()?;
        Some(self.unmet(now, rule, self.promotion_candidate(rule)))
    }

    /// Whom it would promote; not that it would.
    fn promotion_candidate(&self, rule: &AutomaticPromotion) -> Option<BackendId> {
        let may = |id: &BackendId| {
            self.reason(*id) == Reason::Standby && !self.is_doubtful(*id) && !self.is_below_fence(*id) && !self.tried.contains(id)
        };
        let fits = |id: &BackendId| self.agrees(*id) && self.has_enough(*id, rule) && self.would_serve(*id);
        let position = |id: &BackendId| self.backends[id.index()].facts.position;
        // A setting that has changed is no reason to lose more. Of equals the first of the list.
        self.ids().filter(may).min_by_key(|id| Reverse((fits(id), position(id), self.is_good(*id))))
    }

    fn agrees(&self, candidate: BackendId) -> bool {
        let hears = |id: BackendId| self.backends[id.index()].facts.hears_primary;
        let mut others = self.ids().filter(|id| self.reason(*id) == Reason::Standby);
        hears(candidate) == Some(false) && !others.any(|id| hears(id) == Some(true))
    }

    fn has_enough(&self, candidate: BackendId, rule: &AutomaticPromotion) -> bool {
        self.lack(candidate).is_some_and(|lack| lack <= rule.max_lag)
    }

    fn unmet(&self, now: Time, rule: &AutomaticPromotion, candidate: Option<BackendId>) -> Vec<PromotionCondition> {
        let holds = |condition: &PromotionCondition| match condition {
            PromotionCondition::NoOperation => self.operation.is_none(),
            PromotionCondition::NoPrimary => {
                self.active().is_none() && self.claimants().iter().all(|id| self.reason(*id) == Reason::Fenced)
            }
            PromotionCondition::PrimaryDown => self.last_active.is_some_and(|id| self.reason(id) == Reason::Down),
            PromotionCondition::NotOrdered => !matches!(self.last_revoke, Some(Cause::Command | Cause::Removed)),
            PromotionCondition::After => self.idle_since.is_some_and(|since| now.since(since) >= rule.after),
            PromotionCondition::Candidate => candidate.is_some(),
            PromotionCondition::Witness => candidate.is_some_and(|id| self.agrees(id)),
            PromotionCondition::Fence => rule.fence != Fence::None || self.refuses(self.last_active),
            PromotionCondition::Lag => candidate.is_some_and(|id| self.has_enough(id, rule)),
            PromotionCondition::Proven => candidate.is_some_and(|id| self.would_serve(id)),
            PromotionCondition::SingleDecider => rule.single,
            PromotionCondition::Budget => self.budget_free_at().is_some_and(|at| at <= now),
            PromotionCondition::Attempts => self.tried.len() < ATTEMPTS,
        };
        PromotionCondition::ALL.iter().copied().filter(|one| !holds(one)).collect()
    }

    /// When automation may switch again; `None`: never.
    fn budget_free_at(&self) -> Option<Time> {
        let max = self.policy.budget_max as usize;
        let spent = self.switches.front().filter(|_| self.switches.len() >= max);
        (max > 0).then(|| spent.map_or(Time::ZERO, |oldest| *oldest + self.policy.budget_within))
    }

    /// While the old primary is fenced.
    pub(super) fn may_go_on(&self, now: Time, candidate: BackendId) -> bool {
        let Some(rule) = &self.policy.promotion else { return false };
        !self.unmet(now, rule, Some(candidate)).into_iter().any(PromotionCondition::must_last)
    }

    /// When time alone will begin a promotion.
    pub(super) fn promotion_due(&self, now: Time) -> Option<Time> {
        let rule = self.policy.promotion.as_ref()?;
        let timed = |one: &PromotionCondition| matches!(one, PromotionCondition::After | PromotionCondition::Budget);
        let due = (self.idle_since? + rule.after).max(self.budget_free_at()?);
        (due > now && self.promotion_unmet(now)?.iter().all(timed)).then_some(due)
    }

    /// Begins a promotion if every condition holds.
    pub(super) fn promote_by_itself(&mut self, now: Time, told: &mut Vec<Effect>) {
        let Some(rule) = &self.policy.promotion else { return };
        let Some(to) = self.promotion_candidate(rule).filter(|to| self.unmet(now, rule, Some(*to)).is_empty()) else { return };
        let fences = rule.fence != Fence::None;
        let steps = fences.then_some(Step::Fence).into_iter().chain([Step::Promote, Step::Activate]).collect();
        let request = Request {
            id: OperationId(AUTOMATIC + self.promotions),
            kind: OperationKind::Failover,
            to: Some(to),
            force: false,
            accept_loss: false,
            max_lag: rule.max_lag,
            how: How { fence: rule.fence, demote: false, promote: true },
            limits: rule.limits,
            afterwards: Afterwards::Stay,
        };
        self.promotions += 1;
        self.begin_operation(now, &request, Plan { from: self.last_active, to, steps }, told);
    }
}
