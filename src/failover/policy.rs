//! The rules of the decision, as they are configured.

use std::time::Duration;

use super::{
    lag::MaxLag,
    operation::{Fence, Limits},
    proof::Guard,
    vocabulary::RevokeMode,
};
use crate::labels;

/// How the active backend is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Election {
    /// The one that says it is primary.
    ByRole,
    /// The first healthy one in list order, then sticky.
    ByOrder,
}

labels! {
    /// What to do when more than one backend says it is the primary.
    pub enum OnConflict {
        /// The one with the higher database epoch; on a tie the active one if it is among them, else none.
        Newest = "newest",
        /// The active one if it is among them, else none.
        Keep = "keep",
        /// None.
        Refuse = "refuse",
    }
}

/// When mainstay makes a standby the primary by itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AutomaticPromotion {
    /// Nobody was active for this long.
    pub after: Duration,
    /// What the candidate may lack of what the dead primary was last seen to have, in bytes.
    pub max_lag: u64,
    /// What makes the dead primary unable to write.
    pub fence: Fence,
    /// Written by a person: no other mainstay decides for this pool.
    pub single: bool,
    /// How long each step may take.
    pub limits: Limits,
}

/// The rules of the decision.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Consecutive successes until Up; at least 1. Doubled with each relapse: a Down within `budget_within` of the one before.
    pub rise: u32,
    /// How many relapses count; 0: `rise` always suffices.
    pub relapse_max: u32,
    /// Consecutive failures until Down; at least 1.
    pub fall: u32,
    /// How the active backend is found.
    pub election: Election,
    /// What to do with two primaries.
    pub on_conflict: OnConflict,
    /// Role-less: return to a preferred backend once it was eligible for this long; `None` never.
    pub failback_after: Option<Duration>,
    /// Switches at most within `budget_within`.
    pub budget_max: u32,
    /// The window of the failover budget, and of relapses.
    pub budget_within: Duration,
    /// At the start, none is elected before every backend has answered or this has passed.
    pub settle: Duration,
    /// What happens to the sessions of a backend that goes down: `Abort` or `Drain`.
    pub on_down: RevokeMode,
    /// A standby with a greater lag is not ready to take over, and is not read until its lag is half of this. It never decides who
    /// is active.
    pub max_lag: Option<MaxLag>,
    /// How far a database epoch may be above all others of the pool; `None` for a database whose epochs jump.
    pub max_epoch_step: Option<u64>,
    /// `None`: mainstay promotes nobody by itself.
    pub promotion: Option<AutomaticPromotion>,
    /// What follows from a backend that has not proven itself.
    pub guard: Guard,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            rise: 2,
            relapse_max: 5,
            fall: 2,
            election: Election::ByOrder,
            on_conflict: OnConflict::Newest,
            failback_after: None,
            budget_max: 3,
            budget_within: Duration::from_mins(10),
            settle: Duration::from_secs(1),
            on_down: RevokeMode::Abort,
            max_lag: None,
            max_epoch_step: None,
            promotion: None,
            guard: Guard::default(),
        }
    }
}
