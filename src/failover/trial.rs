//! What follows a switchover that is not meant to stay: a trial, which goes back if the new active backend is in trouble, or a
//! rehearsal, which goes back in any case. It goes back once at most, only by a switchover that loses nothing, and never beside an
//! operation.
//!
//! | a trial ends | when |
//! |---|---|
//! | `passed` | its time is over, and it had not failed |
//! | `went_back` | the switchover back has begun |
//! | `stayed` | its time is over, and it had to go back and could not without a loss |
//! | `ordered` | an operation was ordered, or an operator ended the trial |
//! | `lost` | the new one is not active any more, or the old one was taken out, or left the configuration |
//!
//! It fails after [`SIGNS`] signs of trouble of the active backend within [`WINDOW`], while it is active. A sign is a probe that
//! is not `ok` (it failed, the login was refused, no connection was free), or a client's connect that failed, or a check's session
//! that was lost, if that is the first since an answer. A trial fails at once when the active backend fails a proof, or cannot
//! commit.

use std::time::Duration;

use super::{
    operation::{How, Limits, OperationId, OperationRefusal, Refused},
    text::Printable,
    time::Time,
    vocabulary::BackendId,
};
use crate::labels;

/// Signs of trouble that make a trial fail.
pub const SIGNS: usize = 3;
/// Within this time.
pub const WINDOW: Duration = Duration::from_mins(1);
/// How long the new one serves at least.
pub const REST: Duration = Duration::from_secs(1);

labels! {
    /// How a trial ended.
    pub enum TrialEnd {
        /// Its time is over.
        Passed = "passed",
        /// The switchover back has begun.
        WentBack = "went_back",
        /// Its time is over, and it could not go back.
        Stayed = "stayed",
        /// An operation was ordered, or an operator ended it.
        Ordered = "ordered",
        /// The new one is not active any more, or the old one is no longer to be used.
        Lost = "lost",
    }
}

/// What is told of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrialNews {
    /// It has begun.
    Begun,
    /// It has failed, by this evidence.
    Failed(Printable),
    /// It is to go back, and cannot yet.
    Waits(Refused),
    /// It is over.
    Ended(TrialEnd),
}

/// A trial, or a rehearsal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Trial {
    /// The switchover that it follows.
    pub(super) id: OperationId,
    /// The backend that was active before.
    pub(super) from: BackendId,
    /// The one that is active.
    pub(super) to: BackendId,
    /// It does not go back before: clients are served meanwhile.
    pub(super) rests: Time,
    pub(super) until: Time,
    pub(super) how: How,
    pub(super) limits: Limits,
    /// The latest signs of trouble, at most [`SIGNS`].
    pub(super) signs: Vec<Time>,
    /// It has failed this proof.
    pub(super) failed: Option<Printable>,
    /// It is to go back.
    pub(super) returns: bool,
    /// Why it could not; each is told once.
    pub(super) told: Vec<OperationRefusal>,
}

impl Trial {
    /// The switchover that it follows.
    pub const fn id(&self) -> OperationId {
        self.id
    }

    /// From which backend to which the switchover was.
    pub const fn backends(&self) -> (BackendId, BackendId) {
        (self.from, self.to)
    }

    /// It goes back as soon as that loses nothing.
    pub const fn returns(&self) -> bool {
        self.returns
    }

    /// When time alone changes something, seen from a step at `now`.
    pub(super) fn wake_after(&self, now: Time) -> Time {
        if self.returns && self.rests > now { self.rests.min(self.until) } else { self.until }
    }

    /// When it ends by itself.
    pub const fn until(&self) -> Time {
        self.until
    }
}
