//! An operation: a planned change of the active backend, as a state machine of named steps with a deadline each. A pool has one at
//! most. The core says which step begins ([`Effect::BeginStep`](super::Effect::BeginStep)) and when all is over
//! ([`Effect::EndOperation`](super::Effect::EndOperation)); the shell carries a step out and says how it went
//! ([`Event::StepDone`](super::Event::StepDone)).
//!
//! | kind | the backend to be active is | steps |
//! |---|---|---|
//! | `switchover` | a standby, and there is a promoter | gate, drain, demote if there is one, promote, activate |
//! | `switchover` | a standby, there is a promoter, and the only primary serves nobody since it has not proven itself | demote if there is one, promote, activate |
//! | `switchover` | eligible (without roles, Galera, one of two primaries) | gate, drain, activate |
//! | `switchover`, `promote` | eligible, and no other is active | activate |
//! | `promote`, `promotion` | a standby, and nobody is active | fence if there is one, promote, activate |
//!
//! `promotion` is the automatic one. The *point of no return* is passed when `demote`, `promote` or `activate` begins, whichever is
//! first. An operation that ends before it is `aborted`: the same backend is active under the same epoch. One that ends after it
//! without success is `failed`: the ordinary election goes on with what it sees.
//!
//! | step | is over when | it fails, or its deadline passes | the active one is lost | the candidate is lost |
//! |---|---|---|---|---|
//! | `fence` | the shell says so | aborted; a fence that is not required: goes on if death was seen as a refused connect | a primary is back: aborted | aborted |
//! | `gate` | the shell says so | aborted | aborted, and the ordinary failover in the same step | aborted |
//! | `drain` | the shell says so, neither backend is in doubt, and the candidate does not say that it lost its primary | aborted | aborted, and the ordinary failover in the same step | aborted |
//! | `demote` | the shell says so, and the old one is neither eligible nor `unproven` any more | failed; the old one is served if it still is, or again is, a primary | that is its purpose | failed when the step is over; if somebody else has promoted it and it is active: done |
//! | `promote` | the shell says so, or the candidate is active | failed; as before | goes on | goes on: it fails, or its deadline passes |
//! | `activate` | the candidate is active | failed; as before | goes on | goes on: its deadline passes |
//!
//! A deadline counts before anything else that happens at its moment. From the gate on (and from `promote` on without one) new
//! clients are held whoever is active, so a primary that comes back in the middle of a promotion is not served before its end.
//! A pause neither ends an operation nor begins with one; both hold clients. A reload that removes the active backend or the
//! candidate before the point of no return aborts it; after that, only one that removes the candidate ends it (`failed`).

use std::time::Duration;

use super::{text::Printable, time::Time, vocabulary::BackendId};
use crate::labels;

/// Names an operation. The shell chooses the numbers of those that it orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OperationId(pub u64);

labels! {
    /// What an operation is for.
    pub enum OperationKind {
        /// Moves the clients from a backend that lives to another one.
        Switchover = "switchover",
        /// Makes a standby the primary while nobody is active, by hand.
        Promote = "promote",
        /// The same by mainstay itself.
        Failover = "promotion",
    }
}

labels! {
    /// A step of an operation, in order.
    pub enum Step {
        /// The old primary is made unable to write.
        Fence = "fence",
        /// New clients are held, sessions stop at their next boundary.
        Gate = "gate",
        /// Sessions end at their boundary.
        Drain = "drain",
        /// The old primary stops, or becomes a standby.
        Demote = "demote",
        /// The candidate becomes the primary.
        Promote = "promote",
        /// The election takes the candidate.
        Activate = "activate",
    }
}

impl Step {
    /// Once this step has begun, an operation cannot be aborted.
    pub const fn is_past_no_return(self) -> bool {
        matches!(self, Self::Demote | Self::Promote | Self::Activate)
    }
}

labels! {
    /// How an operation ended.
    pub enum OperationResult {
        /// The candidate is active.
        Done = "done",
        /// Before the point of no return: everything is as it was.
        Aborted = "aborted",
        /// After the point of no return.
        Failed = "failed",
    }
}

labels! {
    /// Why an operation ended.
    pub enum OperationEnd {
        /// The candidate is active.
        Complete = "complete",
        /// An operator's command.
        Command = "command",
        /// A step took too long.
        Deadline = "deadline",
        /// A step failed.
        StepFailed = "step_failed",
        /// The active backend may not serve any more, or another one became active.
        ActiveLost = "active_lost",
        /// The candidate cannot take over any more.
        CandidateLost = "candidate_lost",
        /// A primary is active again.
        PrimaryReturned = "primary_returned",
        /// A condition of the automatic promotion does not hold any more.
        Condition = "condition",
        /// A reload removed one of the two backends.
        Removed = "removed",
    }
}

labels! {
    /// Why an operation, or its abort, is refused.
    pub enum OperationRefusal {
        /// Another operation runs.
        Busy = "busy",
        /// Just started: not every backend has answered.
        Settling = "settling",
        /// There is no such backend.
        UnknownBackend = "unknown_backend",
        /// A switchover without an active backend must name the one to be active, and cannot make a standby a primary, unless the only
        /// primary is one that has not proven itself.
        NoActive = "no_active",
        /// A promotion by hand, and this backend is active or says that it is a primary.
        PrimaryLives = "primary_lives",
        /// No backend could take over.
        NoCandidate = "no_candidate",
        /// The candidate may not serve: its reason says why.
        NotEligible = "not_eligible",
        /// There is a sign of the death of this backend, and it has not answered since.
        InDoubt = "in_doubt",
        /// It is a standby, and nothing is configured that promotes it.
        NoPromoter = "no_promoter",
        /// The candidate says that it does not hear its primary.
        NotStreaming = "not_streaming",
        /// The candidate is too far behind.
        Lag = "lag",
        /// Nobody knows how far the candidate is behind.
        LagUnknown = "lag_unknown",
        /// The candidate's database epoch is below one that was already served.
        Fenced = "fenced",
        /// The candidate has changed and has not proven itself.
        Unproven = "unproven",
        /// Only mainstay itself begins this kind.
        Automatic = "automatic",
        /// No operation of this number runs.
        UnknownOperation = "unknown_operation",
        /// It cannot be aborted any more.
        PointOfNoReturn = "point_of_no_return",
    }
}

labels! {
    /// What makes an old primary unable to write before another one is promoted.
    #[derive(Default)]
    pub enum Fence {
        /// Nothing.
        #[default]
        None = "none",
        /// Is tried. If it fails, a refused connect is proof enough of the death.
        Optional = "optional",
        /// Must succeed.
        Required = "required",
    }
}

/// Which steps the shell can carry out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct How {
    /// Before a promotion without a switchover.
    pub fence: Fence,
    /// There is a demote step. Without one, the promoter demotes as well, or nothing does.
    pub demote: bool,
    /// There is a promoter.
    pub promote: bool,
}

/// How long each step may take. The shortest is a millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Of `fence`.
    pub fence: Duration,
    /// Of `gate`.
    pub gate: Duration,
    /// Of `drain`.
    pub drain: Duration,
    /// Of `demote`.
    pub demote: Duration,
    /// Of `promote`.
    pub promote: Duration,
    /// Of `activate`.
    pub activate: Duration,
}

impl Limits {
    /// Of this step.
    pub fn of(&self, step: Step) -> Duration {
        let limit = match step {
            Step::Fence => self.fence,
            Step::Gate => self.gate,
            Step::Drain => self.drain,
            Step::Demote => self.demote,
            Step::Promote => self.promote,
            Step::Activate => self.activate,
        };
        limit.max(Duration::from_millis(1))
    }
}

/// What follows a switchover that is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Afterwards {
    /// Nothing.
    #[default]
    Stay,
    /// A trial of this length.
    Trial(Duration),
    /// A switchover back, as soon as that loses nothing, within this time.
    Return(Duration),
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Its name from now on.
    pub id: OperationId,
    /// What for.
    pub kind: OperationKind,
    /// The candidate; `None`: the best one.
    pub to: Option<BackendId>,
    /// A switchover to a standby that is too far behind; a promotion beside a backend that says it is a primary and is not active; either
    /// to one that has not proven itself.
    pub force: bool,
    /// Accepts a lower database epoch, and in a promotion a candidate that lacks more than `max_lag`, or nobody knows how much.
    pub accept_loss: bool,
    /// What the candidate of a promotion may lack, in bytes.
    pub max_lag: u64,
    /// Which steps there are.
    pub how: How,
    /// How long each may take.
    pub limits: Limits,
    /// What follows a switchover.
    pub afterwards: Afterwards,
}

/// Why a request is refused, and which backend is the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refused {
    /// Why.
    pub why: OperationRefusal,
    /// The backend, if there is one.
    pub backend: Option<BackendId>,
}

/// What an operation will do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// The backend that is active now, or in a promotion was the last one.
    pub from: Option<BackendId>,
    /// The candidate.
    pub to: BackendId,
    /// At least `activate`, in order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Makes a standby the primary.
    pub(super) fn promotes(&self) -> bool {
        self.steps.contains(&Step::Promote)
    }
}

/// A running operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    pub(super) id: OperationId,
    pub(super) kind: OperationKind,
    pub(super) plan: Plan,
    pub(super) force: bool,
    pub(super) accept_loss: bool,
    pub(super) how: How,
    pub(super) limits: Limits,
    pub(super) afterwards: Afterwards,
    pub(super) began: Time,
    pub(super) step: Step,
    pub(super) since: Time,
    /// The shell said that the step is done.
    pub(super) reported: bool,
}

impl Operation {
    /// Its number.
    pub const fn id(&self) -> OperationId {
        self.id
    }

    /// What it is for.
    pub const fn kind(&self) -> OperationKind {
        self.kind
    }

    /// From which backend to which, and all its steps.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The present step.
    pub const fn step(&self) -> Step {
        self.step
    }

    /// When the present step began.
    pub const fn since(&self) -> Time {
        self.since
    }

    /// When it began.
    pub const fn began(&self) -> Time {
        self.began
    }

    /// When the present step must be over.
    pub fn deadline(&self) -> Time {
        self.since + self.limits.of(self.step)
    }

    /// The point of no return has not been passed.
    pub const fn can_abort(&self) -> bool {
        !self.step.is_past_no_return()
    }

    /// Whether it holds new clients.
    pub(super) fn holds(&self) -> bool {
        !self.can_abort() || self.plan.steps.contains(&Step::Gate)
    }

    /// It is about to be active.
    pub(super) fn is_due(&self, id: BackendId) -> bool {
        !self.can_abort() && self.plan.to == id
    }

    /// Clients wait to see its role change.
    pub(super) fn awaits(&self, id: BackendId) -> bool {
        !self.can_abort() && (self.plan.to == id || self.plan.from == Some(id))
    }
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ending {
    /// How.
    pub result: OperationResult,
    /// Why.
    pub why: OperationEnd,
    /// In which step.
    pub step: Step,
    /// What the step said that failed.
    pub evidence: Printable,
}
