//! What a change of the configuration keeps: everything that is known of the backends which stay, wherever they stand in the list
//! now. Nobody has to prove anew what it has proven.

use super::{
    backend::{BackendState, Reason},
    elect::Pin,
    event::{BackendId, Cause, Configuration, Effect, Pace, RevokeMode},
    inspect::id,
    pool::Pool,
    readers::Reading,
    time::Time,
};

impl Pool {
    pub(super) fn on_configure(&mut self, now: Time, configuration: &Configuration, effects: &mut Vec<Effect>) {
        let Configuration { policy, backends } = configuration;
        let moved = |old: BackendId| backends.iter().position(|kept| *kept == Some(old)).map(id);
        if let Some(removed) = self.active.filter(|active| moved(*active).is_none()) {
            self.suspended = false;
            self.last_revoke = Some(Cause::Removed);
            let (mode, cause) = (RevokeMode::Drain, Cause::Removed);
            effects.push(Effect::Revoke { epoch: self.epoch, backend: removed, mode, cause });
        }
        self.active = self.active.and_then(moved);
        self.last_active = self.last_active.and_then(moved);
        self.last_words &= self.last_active.is_some();
        self.pinned = self.pinned.and_then(|pin| Some(Pin { backend: moved(pin.backend)?, ..pin }));
        let fresh = BackendState { since: now, ..BackendState::default() };
        self.backends = backends.iter().map(|kept| kept_or(*kept, &self.backends, &fresh)).collect();
        self.reasons = backends.iter().map(|kept| kept_or(*kept, &self.reasons, &Reason::Unknown)).collect();
        self.readings = backends.iter().map(|kept| kept_or(*kept, &self.readings, &Reading::Unknown)).collect();
        self.paces = backends.iter().map(|kept| kept_or(*kept, &self.paces, &Pace::Urgent)).collect();
        self.policy = policy.clone();
        while self.switches.len() > self.policy.budget_max as usize {
            self.switches.pop_front();
        }
    }
}

fn kept_or<T: Clone>(kept: Option<BackendId>, present: &[T], new: &T) -> T {
    kept.and_then(|id| present.get(id.index())).unwrap_or(new).clone()
}
