//! Whether a failover would succeed now, computed by the code that would decide it.

use super::{
    facts::Role,
    policy::Election,
    pool::{Pool, Serving},
    promotion::PromotionCondition,
    proof::GuardMode,
    time::Time,
    vocabulary::{Admin, BackendId, Cause, Reason, Verdict},
};
use crate::labels;

labels! {
    /// Whether a failover would succeed now, and if not, why.
    #[derive(Default)]
    pub enum FailoverReady {
        /// A candidate is ready.
        Yes = "ready",
        /// No backend is active.
        #[default]
        NoActive = "no_active",
        /// The pool has only one backend.
        SingleBackend = "single_backend",
        /// No other backend is healthy.
        NoCandidate = "no_candidate",
        /// Every healthy candidate lags by more than `max_lag`.
        Lag = "lag",
        /// mainstay would have to promote a standby, and none says whether it hears its primary.
        Witness = "witness",
        /// The failover budget is used up.
        Budget = "budget",
        /// Only backends that have not proven themselves would take over.
        Unproven = "unproven",
    }
}

impl Pool {
    /// What would happen if the process of the active backend died at `now`, and its host refused connects. With a check that knows
    /// roles, a standby counts if mainstay would promote it; or where mainstay promotes nobody, if it would follow one that somebody
    /// else has promoted.
    pub fn failover_ready(&self, now: Time) -> FailoverReady {
        let Some(active) = self.active() else { return FailoverReady::NoActive };
        if self.backends.len() < 2 {
            return FailoverReady::SingleBackend;
        }
        let mut without = self.without(active);
        let unproven: Vec<_> = self.ids().filter(|id| *id != active && !self.is_good(*id)).collect();
        let proven = (!unproven.is_empty()).then(|| {
            let mut proven = without.clone();
            for id in unproven {
                proven.backends[id.index()].admin = Admin::Maint;
            }
            proven.answer(now)
        });
        match (without.answer(now), proven) {
            (FailoverReady::Yes, Some(proven)) if proven != FailoverReady::Yes => FailoverReady::Unproven,
            (answer, _) => answer,
        }
    }

    fn answer(&mut self, now: Time) -> FailoverReady {
        match (self.verdict_now(now), self.policy.election, &self.policy.promotion) {
            (FailoverReady::Yes, ..) => FailoverReady::Yes,
            (answer, Election::ByOrder, _) => answer,
            (_, Election::ByRole, Some(_)) => self.would_promote(now),
            (_, Election::ByRole, None) => self.would_follow(now),
        }
    }

    /// As it would be after the death of the active backend, and every standby would notice.
    fn without(&self, active: BackendId) -> Self {
        let mut without = self.clone();
        for backend in &mut without.backends {
            backend.facts.hears_primary = backend.facts.hears_primary.map(|_| false);
        }
        let old = &mut without.backends[active.index()];
        (old.signs.session_lost, old.signs.refused) = (true, true);
        old.health.force_down();
        old.facts.position = old.earlier;
        (without.serving, without.pinned, without.operation) = (Serving::Nobody, None, None);
        without.last_revoke = Some(Cause::Down);
        // What has not proven itself is looked at apart.
        without.policy.guard.mode = GuardMode::Off;
        without
    }

    fn would_promote(&self, now: Time) -> FailoverReady {
        let unmet = self.promotion_unmet(now).unwrap_or_default();
        // It would pass.
        let first = unmet.into_iter().find(|one| *one != PromotionCondition::After);
        match first {
            None => FailoverReady::Yes,
            Some(PromotionCondition::Witness) => FailoverReady::Witness,
            Some(PromotionCondition::Lag) => FailoverReady::Lag,
            Some(PromotionCondition::Budget) => FailoverReady::Budget,
            Some(_) => FailoverReady::NoCandidate,
        }
    }

    fn would_follow(&self, now: Time) -> FailoverReady {
        let mut answer = FailoverReady::NoCandidate;
        for id in self.ids().filter(|id| self.reason(*id) == Reason::Standby) {
            let mut promoted = self.clone();
            let facts = &mut promoted.backends[id.index()].facts;
            if self.policy.max_lag.is_some_and(|max| max.is_exceeded(facts)) {
                answer = FailoverReady::Lag;
                continue;
            }
            facts.role = Some(Role::Primary);
            facts.db_epoch = self.fence.map(|fence| fence.saturating_add(1)).max(facts.db_epoch);
            if promoted.verdict_now(now) == FailoverReady::Yes {
                return FailoverReady::Yes;
            }
        }
        answer
    }

    fn verdict_now(&mut self, now: Time) -> FailoverReady {
        self.refresh_reasons(now, &mut Vec::new());
        let choice = self.elect(now);
        match (choice.active, choice.verdict) {
            (Some(_), _) => FailoverReady::Yes,
            (None, Verdict::HoldDown) => FailoverReady::Budget,
            (None, _) => FailoverReady::NoCandidate,
        }
    }
}
