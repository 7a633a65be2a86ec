//! What a pool remembers over restarts: kept when it has changed.

use std::sync::Arc;

use super::{state_file::Remembered, state_writer::StateFile};
use crate::{config::BackendConfig, failover::Pool};

/// The memory of one pool.
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

    /// Tells the core what an earlier process knew.
    pub(super) fn restore(&self, core: &mut Pool, backends: &[BackendConfig]) {
        core.restore_fence(self.last.fence, self.last.system_id);
        let active = self.last.active.as_deref();
        if let Some((id, _)) = core.ids().zip(backends).find(|(_, backend)| active == Some(&*backend.name)) {
            core.restore_active(id);
        }
    }

    /// Keeps what is known now. Who was active last is remembered while nobody is.
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

    /// What is to be remembered under this name is another supervisor's business from now on.
    pub(super) fn leave(&mut self) {
        self.file = None;
    }

    /// Where it is kept.
    pub(super) fn path(&self) -> Option<Arc<str>> {
        self.file.as_ref().map(|file| file.path().display().to_string().into())
    }
}
