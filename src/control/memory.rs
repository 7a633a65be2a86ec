//! The state of a pool that survives a restart, saved when it changes.

use std::{collections::BTreeMap, num::NonZeroU64, sync::Arc};

use super::state_file::Remembered;
use crate::{
    config::BackendConfig,
    failover::{Admin, BackendId, Pool, label::Label},
    state::StateFile,
};

/// The saved state of one pool.
pub(super) struct Memory {
    /// Where it is kept, if anywhere.
    file: Option<StateFile<Remembered>>,
    last: Remembered,
}

impl Memory {
    /// Reads what an earlier process knew, unless that has handed it over.
    pub(super) async fn begin(file: Option<StateFile<Remembered>>, known: Option<Remembered>) -> Self {
        let last = match (&file, known) {
            (_, Some(known)) => known,
            (Some(file), None) => file.read().await,
            (None, None) => Remembered::default(),
        };
        Self { file, last }
    }

    /// What is saved, or would be.
    pub(super) const fn last(&self) -> &Remembered {
        &self.last
    }

    /// Tells the core the state of an earlier process.
    pub(super) fn restore(&self, core: &mut Pool, backends: &[BackendConfig]) {
        core.restore_fence(self.last.fence, self.last.system_id);
        let active = self.last.active.as_deref();
        for (id, backend) in core.ids().zip(backends) {
            if active == Some(&*backend.name) {
                core.restore_active(id);
            }
            core.restore_admin(id, self.admin(&backend.name));
        }
    }

    /// The administrative state of the backend of this name, also of one that has moved to another address.
    pub(super) fn admin(&self, backend: &str) -> Admin {
        let word = self.last.admin.get(backend);
        Admin::ALL.iter().copied().find(|admin| word.is_some_and(|word| *word == admin.as_str())).unwrap_or_default()
    }

    /// The backend that was active before the last one.
    pub(super) fn previous(&self) -> Option<&str> {
        self.last.previous.as_deref()
    }

    /// The position at which the last active one became active.
    pub(super) const fn began(&self) -> Option<u64> {
        self.last.began
    }

    /// The operation or trial that was under way when an earlier process ended.
    pub(super) fn interrupted(&self) -> Option<&str> {
        self.last.operation.as_deref()
    }

    /// Saves the present state. The last active backend stays in it while none is active.
    pub(super) fn keep<'a>(&mut self, core: &Pool, names: impl Iterator<Item = &'a str> + Clone) {
        let ((fence, system_id), mut active, mut admin) = (core.fence(), self.last.active.clone(), BTreeMap::new());
        let (mut previous, mut began) = (self.last.previous.clone(), self.last.began);
        for (id, name) in core.ids().zip(names.clone()) {
            if core.active() == Some(id) && active.as_deref() != Some(name) {
                previous = active.replace(name.to_owned()).or(previous);
                began = core.backend(id).and_then(|backend| backend.facts.position).map(NonZeroU64::get);
            }
            let state = core.backend(id).map(|backend| backend.admin).filter(|state| *state != Admin::Ready);
            admin.extend(state.map(|state| (name.to_owned(), state.to_string())));
        }
        let names = names.collect::<Vec<_>>();
        let name = |id: BackendId| names.get(id.index()).copied().unwrap_or_default();
        let trial = core.trial().map(|trial| format!("the trial of {} after a switchover", name(trial.backends().1)));
        let operation = core.operation().map(|operation| {
            let plan = operation.plan();
            let from = plan.from.map(|from| format!(" from {}", name(from))).unwrap_or_default();
            format!("{}{from} to {}, step {}", operation.kind(), name(plan.to), operation.step())
        });
        let now = Remembered { fence, system_id, active, previous, began, admin, operation: operation.or(trial) };
        if now == self.last {
            return;
        }
        if let Some(file) = &self.file {
            file.write(&now);
        }
        self.last = now;
    }

    /// From now on another supervisor saves the state of this name.
    pub(super) fn leave(&mut self) {
        self.file = None;
    }

    /// Where it is kept.
    pub(super) fn path(&self) -> Option<Arc<str>> {
        self.file.as_ref().map(|file| file.path().display().to_string().into())
    }
}
