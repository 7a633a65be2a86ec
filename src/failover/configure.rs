//! What a change of the configuration keeps: the whole state of the backends that stay, at any place in the list. Nothing must be
//! proven again.

use super::{
    backend::BackendState,
    event::{Configuration, Effect},
    pool::{Pin, Pool, Serving},
    time::Time,
    vocabulary::{Admin, BackendId, Cause, RevokeMode},
};

impl Pool {
    pub(super) fn on_configure(
        &mut self,
        now: Time,
        configuration: &Configuration,
        effects: &mut Vec<Effect>,
        told: &mut Vec<Effect>,
    ) {
        let Configuration { policy, backends, admin } = configuration;
        let moved = |old: BackendId| backends.iter().position(|kept| *kept == Some(old)).map(BackendId::at);
        if let Some(removed) = self.active().filter(|active| moved(*active).is_none()) {
            self.last_revoke = Some(Cause::Removed);
            let (mode, cause) = (RevokeMode::Drain, Cause::Removed);
            effects.push(Effect::Revoke { epoch: self.epoch, backend: removed, mode, cause });
        }
        self.move_operation(moved, told);
        self.last_active = self.last_active.and_then(moved);
        self.serving = match self.serving {
            Serving::Active(id) => moved(id).map_or(Serving::Nobody, Serving::Active),
            Serving::Suspended(id) => moved(id).map_or(Serving::Nobody, Serving::Suspended),
            Serving::LastWords if self.last_active.is_none() => Serving::Nobody,
            unmoved => unmoved,
        };
        self.pinned = self.pinned.and_then(|pin| Some(Pin { backend: moved(pin.backend)?, ..pin }));
        let known = |kept: &Option<BackendId>| kept.and_then(|id| self.backend(id)).cloned();
        let admin = admin.iter().copied().chain(std::iter::repeat(Admin::Ready));
        let state = |(kept, admin)| known(kept).unwrap_or_else(|| BackendState { admin, ..BackendState::new(now) });
        self.backends = backends.iter().zip(admin).map(state).collect();
        self.policy = policy.clone();
        while self.switches.len() > self.policy.budget_max as usize {
            self.switches.pop_front();
        }
    }
}
