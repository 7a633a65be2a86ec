//! Queries on a pool.

use super::{
    backend::BackendState,
    operation::Operation,
    policy::Policy,
    pool::{Pool, Serving},
    time::Time,
    trial::Trial,
    vocabulary::{BackendId, Epoch, Pace, Reason, Verdict},
};

impl Pool {
    /// Every backend, in list order.
    pub fn ids(&self) -> impl Iterator<Item = BackendId> + use<> {
        (0..self.backends.len()).map(BackendId::at)
    }

    /// The state of a backend.
    pub fn backend(&self, id: BackendId) -> Option<&BackendState> {
        self.backends.get(id.index())
    }

    /// Why a backend may or may not be active, as of the last step; `Unknown` for one that the pool does not have.
    pub fn reason(&self, id: BackendId) -> Reason {
        self.backend(id).map_or(Reason::Unknown, |backend| backend.reason)
    }

    /// The active backend.
    pub const fn active(&self) -> Option<BackendId> {
        match self.serving {
            Serving::Active(id) | Serving::Suspended(id) => Some(id),
            Serving::Nobody | Serving::LastWords => None,
        }
    }

    /// The backend that was activated last; `None` also when it has left the configuration since.
    pub const fn last_active(&self) -> Option<BackendId> {
        self.last_active
    }

    /// The epoch that was activated last.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// New clients are held although a backend is active.
    pub const fn suspended(&self) -> bool {
        matches!(self.serving, Serving::Suspended(_))
    }

    /// Until when new clients are held by command at most, whether a backend is active or not.
    pub const fn paused_until(&self) -> Option<Time> {
        self.paused
    }

    /// The operation that runs.
    pub const fn operation(&self) -> Option<&Operation> {
        self.operation.as_ref()
    }

    /// What follows the last switchover.
    pub const fn trial(&self) -> Option<&Trial> {
        self.trial.as_ref()
    }

    /// The result of the last election.
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// More than one backend says that it is the primary.
    pub const fn conflict(&self) -> bool {
        self.conflict
    }

    /// The highest database epoch that was ever served, and its cluster.
    pub const fn fence(&self) -> (Option<u64>, Option<u64>) {
        (self.fence, self.system_id)
    }

    /// The rules.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The pace of a backend's probes.
    pub fn pace(&self, id: BackendId) -> Pace {
        self.backend(id).map_or(Pace::Normal, |backend| backend.pace)
    }
}
