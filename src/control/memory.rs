//! The state of a pool that survives a restart, saved when it changes.

use std::sync::Arc;

use super::{state_file::Remembered, state_writer::StateFile};
use crate::{config::BackendConfig, failover::Pool};

/// The saved state of one pool.
pub(super) struct Memory {
    /// Where it is kept, if anywhere.
    file: Option<StateFile>,
    last: Remembered,
}

impl Memory {
    /// Reads what an earlier process knew.
    pub(super) async fn begin(file: Option<StateFile>) -> Self {
        let last = match &file {
            Some(file) => file.read().await,
            None => Remembered::default(),
        };
        Self { file, last }
    }

    /// Tells the core the state of an earlier process.
    pub(super) fn restore(&self, core: &mut Pool, backends: &[BackendConfig]) {
        core.restore_fence(self.last.fence, self.last.system_id);
        let active = self.last.active.as_deref();
        if let Some((id, _)) = core.ids().zip(backends).find(|(_, backend)| active == Some(&*backend.name)) {
            core.restore_active(id);
        }
    }

    /// Saves the present state. The last active backend stays in it while none is active.
    pub(super) fn keep(&mut self, (fence, system_id): (Option<u64>, Option<u64>), active: Option<&str>) {
        let active = active.map(str::to_owned).or_else(|| self.last.active.clone());
        let now = Remembered { fence, system_id, active };
        if now == self.last {
            return;
        }
        if let Some(file) = &self.file {
            file.write(now.clone());
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
