//! Whether a failover would succeed now, computed by the code that would decide it.

use super::{
    facts::Role,
    policy::Election,
    pool::{Pool, Serving},
    time::Time,
    vocabulary::{Admin, BackendId, Health, Verdict},
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
        /// The failover budget is used up.
        Budget = "budget",
    }
}

impl Pool {
    /// What would happen if the active backend died at `now`. With a check that knows roles, a standby counts if mainstay would
    /// follow it once it was promoted.
    pub fn failover_ready(&self, now: Time) -> FailoverReady {
        let Some(active) = self.active() else { return FailoverReady::NoActive };
        if self.backends.len() < 2 {
            return FailoverReady::SingleBackend;
        }
        let mut without = self.clone();
        without.backends[active.index()].health.force_down();
        without.serving = Serving::Nobody;
        without.pinned = None;
        match self.policy.election {
            Election::ByOrder => without.verdict_now(now),
            Election::ByRole => {
                let standbys = self.ids().filter(|id| *id != active && self.could_be_promoted(*id));
                let mut answer = FailoverReady::NoCandidate;
                for id in standbys {
                    let facts = &self.backends[id.index()].facts;
                    if self.policy.max_lag.is_some_and(|max| max.is_exceeded(facts)) {
                        answer = FailoverReady::Lag;
                        continue;
                    }
                    let mut promoted = without.clone();
                    let facts = &mut promoted.backends[id.index()].facts;
                    facts.role = Some(Role::Primary);
                    facts.db_epoch = self.fence.map(|fence| fence.saturating_add(1)).max(facts.db_epoch);
                    if promoted.verdict_now(now) == FailoverReady::Yes {
                        return FailoverReady::Yes;
                    }
                }
                answer
            }
        }
    }

    fn could_be_promoted(&self, id: BackendId) -> bool {
        let backend = &self.backends[id.index()];
        backend.health() == Health::Up
            && backend.admin == Admin::Ready
            && !backend.is_starting()
            && !backend.is_foreign(self.system_id)
            && backend.facts.role == Some(Role::Standby)
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
