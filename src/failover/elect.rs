//! Who should be active.
//!
//! Two ways: by the database's own word (a role-aware check), or by list order (a check that knows no roles).

use super::{
    event::{BackendId, Cause},
    pool::{Election, OnConflict, Pool},
    time::Time,
};
use crate::{failover::backend::Reason, labels};

labels! {
    /// How the last election ended.
    pub enum Verdict {
        /// Not every backend has been heard of since the start.
        Settling = "settling",
        /// The active backend stays.
        Keep = "keep",
        /// Another backend takes over.
        Switch = "switch",
        /// Nobody may be active.
        NoEligible = "no_eligible",
        /// More than one primary and no rule to tell them apart: nobody, or the present one.
        SplitBrain = "split_brain",
        /// The failover budget is used up and every candidate has failed lately.
        HoldDown = "hold_down",
    }
}

#[allow(clippy::derivable_impls, reason = "the macro that defines the enum knows no default")]
impl Default for Verdict {
    fn default() -> Self {
        Self::Settling
    }
}

/// The result of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) active: Option<BackendId>,
    pub(super) verdict: Verdict,
    /// Why a new one takes over from one that could have stayed.
    pub(super) cause: Option<Cause>,
}

impl Choice {
    const fn none(verdict: Verdict) -> Self {
        Self { active: None, verdict, cause: None }
    }
}

impl Pool {
    /// Every backend that says it is a primary which takes writes, fenced or not: more than one is a conflict.
    pub(super) fn claimants(&self) -> Vec<BackendId> {
        match self.policy.election {
            Election::ByOrder => Vec::new(),
            Election::ByRole => self.ids().filter(|id| self.backends[id.index()].claims_primary()).collect(),
        }
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

    /// At the start nobody is active before every backend was heard of, or could have been: the first to answer may be an
    /// old primary, or not the preferred one.
    pub(super) fn is_settling(&self, now: Time) -> bool {
        !self.settled && now < self.settle_by && self.backends.iter().any(|backend| !backend.reported)
    }

    fn elect_by_role(&self, now: Time) -> Choice {
        let eligible: Vec<BackendId> = self.ids().filter(|id| self.reason_of(*id) == Reason::Eligible).collect();
        if let Some(pinned) = self.pinned.filter(|id| eligible.contains(id)) {
            return self.choice(pinned, now, Some(Cause::Command));
        }
        match eligible.as_slice() {
            [] => Choice::none(Verdict::NoEligible),
            [only] => self.choice(*only, now, None),
            several => self.settle_conflict(several, now),
        }
    }

    fn settle_conflict(&self, eligible: &[BackendId], now: Time) -> Choice {
        let kept = self.active.filter(|active| eligible.contains(active));
        let undecided = Choice { active: kept, verdict: Verdict::SplitBrain, cause: None };
        match self.policy.on_conflict {
            OnConflict::Refuse => Choice::none(Verdict::SplitBrain),
            OnConflict::Keep => undecided,
            OnConflict::Newest => {
                let epoch = |id: &BackendId| self.backends[id.index()].facts.db_epoch;
                if eligible.iter().any(|id| epoch(id).is_none()) {
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
        let eligible: Vec<BackendId> = self.ids().filter(|id| self.reason_of(*id) == Reason::Eligible).collect();
        if let Some(pinned) = self.pinned.filter(|id| eligible.contains(id)) {
            return self.choice(pinned, now, Some(Cause::Command));
        }
        if let Some(active) = self.active.filter(|active| eligible.contains(active)) {
            let preferred = eligible[0];
            let due = preferred < active && self.failback_due(preferred).is_some_and(|due| due <= now);
            return if due && self.may_switch_to(preferred, now) {
                self.choice(preferred, now, Some(Cause::Failback))
            } else {
                self.choice(active, now, None)
            };
        }
        if eligible.is_empty() {
            return Choice::none(Verdict::NoEligible);
        }
        match eligible.iter().find(|id| self.may_switch_to(**id, now)) {
            Some(id) => self.choice(*id, now, None),
            None => Choice::none(Verdict::HoldDown),
        }
    }

    fn choice(&self, id: BackendId, now: Time, cause: Option<Cause>) -> Choice {
        if self.active == Some(id) {
            Choice { active: Some(id), verdict: Verdict::Keep, cause: None }
        } else if cause == Some(Cause::Command) || self.may_switch_to(id, now) {
            Choice { active: Some(id), verdict: Verdict::Switch, cause }
        } else {
            Choice {
                active: self.active.filter(|id| self.reason_of(*id) == Reason::Eligible),
                verdict: Verdict::HoldDown,
                cause: None,
            }
        }
    }

    /// The failover budget: automation does not go back and forth for ever. Never blocked: the backend that was active last
    /// (that is no switch), one that did not fail within the window, one that the database itself promoted since.
    pub(super) fn may_switch_to(&self, id: BackendId, now: Time) -> bool {
        let backend = &self.backends[id.index()];
        let window = self.policy.budget_within;
        let spent = self.switches.iter().filter(|at| now.since(**at) < window).count();
        let failed_lately = backend.last_down.is_some_and(|at| now.since(at) < window);
        let promoted = match (self.policy.election, self.fence, backend.facts.db_epoch) {
            (Election::ByRole, Some(fence), Some(epoch)) => epoch > fence,
            _ => false,
        };
        spent < self.policy.budget_max as usize || !failed_lately || promoted || self.last_active == Some(id)
    }

    /// When failback to this backend is due: it was eligible without a break for long enough.
    pub(super) fn failback_due(&self, id: BackendId) -> Option<Time> {
        let after = self.policy.failback_after?;
        Some(self.backends[id.index()].eligible_since? + after)
    }
}
