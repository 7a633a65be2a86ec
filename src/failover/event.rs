//! Input and output of the core.

use super::{
    facts::{Facts, Role},
    operation::{Ending, OperationId, OperationKind, Refused, Request, Step},
    policy::Policy,
    proof::Proof,
    text::Printable,
    time::Time,
    trial::TrialNews,
    vocabulary::{Admin, BackendId, Cause, Epoch, Health, Outcome, Pace, ReadEligibility, Reason, RevokeMode, Verdict},
};
use crate::labels;

/// What a probe learned of the backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Finding {
    /// The outcome.
    pub outcome: Outcome,
    /// What the backend said of itself; empty unless the outcome is `ok`.
    pub facts: Facts,
    /// One short sentence for people: what was seen.
    pub evidence: Printable,
}

/// The result of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// Rises with each probe of this backend. A report with a number at or below the last one seen changes nothing.
    pub seq: u64,
    /// What it found.
    pub finding: Finding,
    /// It made a whole new connection (and login), rather than asking over a standing session.
    pub fresh: bool,
}

labels! {
    /// What the byte path or the standing session learned, besides the probes.
    pub enum Passive {
        /// A client's dial was refused.
        DialRefused = "dial_refused",
        /// A client's dial failed in another way.
        DialFailed = "dial_failed",
        /// The backend reset or closed a client's session first.
        SessionLost = "session_lost",
        /// The check's standing session broke (RST, or an invalid answer).
        StandingLost = "standing_lost",
        /// The check's standing session was closed with FIN, without a message: by the server, or by its kernel when it died.
        StandingClosed = "standing_closed",
        /// The server said that it ends the check's standing session (`PostgreSQL` 57P01).
        StandingShutdown = "standing_shutdown",
        /// As before, but a child process noticed the end of the server's main process and sent it.
        StandingOrphaned = "standing_orphaned",
    }
}

/// An operator's order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Sets the administrative state. The active backend is drained, or taken out, only if another one takes over at once.
    SetAdmin {
        /// The backend.
        backend: BackendId,
        /// From now on.
        to: Admin,
        /// Even if no other takes over.
        force: bool,
    },
    /// Holds new clients until this time, or until [`Command::Resume`]. The latest order counts.
    Pause {
        /// Its end, at the latest.
        until: Time,
    },
    /// Ends a pause.
    Resume,
    /// Ends an operation before its point of no return.
    AbortOperation(OperationId),
}

/// The new configuration of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Configuration {
    /// The rules.
    pub policy: Policy,
    /// For each place in the new list: the backend's number until now, `None` for a new one. Backend numbers in later events and
    /// effects are places in the new list.
    pub backends: Vec<Option<BackendId>>,
    /// For each place: the administrative state of a new backend; `Ready` where the list ends before.
    pub admin: Vec<Admin>,
}

/// The events of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A probe of this backend finished.
    Probe(BackendId, Report),
    /// Something was noticed outside the probes.
    Passive(BackendId, Passive),
    /// A command of the operator.
    Command(Command),
    /// An operation is asked for.
    Operate(Box<Request>),
    /// A step of an operation ended. Anything but the present step of the present operation changes nothing.
    StepDone {
        /// Which operation.
        id: OperationId,
        /// Which step.
        step: Step,
        /// Or why it failed.
        result: Result<(), Printable>,
    },
    /// Whether a backend has proven itself has changed.
    Proof {
        /// The backend.
        backend: BackendId,
        /// From now on.
        proof: Proof,
        /// What has changed, or which proof failed. Another text with `unproven` is another change.
        what: Printable,
    },
    /// This backend accepts logins, and a commit on it fails or does not end.
    CannotCommit {
        /// The backend.
        backend: BackendId,
        /// What was seen.
        evidence: Printable,
    },
    /// The configuration changed.
    Configure(Box<Configuration>),
    /// Time passed; due at [`super::Pool::next_deadline`].
    Tick,
}

/// What the shell must do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Withdraw an epoch: no new dial under it, its sessions end as `mode` says.
    Revoke {
        /// The epoch to withdraw.
        epoch: Epoch,
        /// The active backend; after [`Event::Configure`], by its old number.
        backend: BackendId,
        /// What becomes of its sessions.
        mode: RevokeMode,
        /// Why.
        cause: Cause,
    },
    /// Abort the sessions that a `Revoke` with [`RevokeMode::LastWords`] has left: the backend has nothing more to send.
    Abort {
        /// The epoch that was withdrawn.
        epoch: Epoch,
        /// The backend that was active.
        backend: BackendId,
        /// Why.
        cause: Cause,
    },
    /// Send new clients to a backend. Whatever is left of an earlier epoch is aborted first.
    Activate {
        /// The new epoch.
        epoch: Epoch,
        /// The new active backend.
        backend: BackendId,
        /// Why.
        cause: Cause,
    },
    /// Hold new clients until `Resume` or `Revoke`, because the active backend is in doubt or the pool is paused; sessions go on.
    Suspend {
        /// The epoch that is in doubt, or paused.
        epoch: Epoch,
    },
    /// The doubt and the pause are over.
    Resume {
        /// The epoch that stands.
        epoch: Epoch,
    },
    /// Carry out a step of an operation, and tell its end with [`Event::StepDone`]. `activate` asks for nothing.
    BeginStep {
        /// Which operation.
        id: OperationId,
        /// What it is for.
        kind: OperationKind,
        /// Which step.
        step: Step,
        /// The backend that is active, or in a promotion was the last one.
        from: Option<BackendId>,
        /// The candidate.
        to: BackendId,
    },
    /// The sessions that the step `gate` has stopped go on.
    Ungate {
        /// Which operation.
        id: OperationId,
    },
    /// The operation is over; what is left of its step is of no consequence.
    EndOperation {
        /// Which operation.
        id: OperationId,
        /// What it was for.
        kind: OperationKind,
        /// How it ended.
        ending: Ending,
    },
    /// Whether a backend may be read has changed. If it has not, the remaining sessions of its readers end.
    Read {
        /// The backend.
        backend: BackendId,
        /// Before.
        from: ReadEligibility,
        /// After.
        to: ReadEligibility,
        /// What happens to the sessions of its readers; `Drain`: they go on.
        sessions: RevokeMode,
    },
    /// Probe a backend at this pace from now on.
    Pace(BackendId, Pace),
    /// Probe a backend at once, outside its pace, with a new connection.
    ProbeNow(BackendId),
    /// Run the quick proofs of a backend at once, and tell the result with [`Event::Proof`]: clients wait for it, but no longer than
    /// [`Guard::quick`](super::Guard::quick). Only what is proven or approved ends the wait well.
    ProveNow(BackendId),
    /// Something to log, count and show.
    Note(Note),
}

/// A change to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Health changed.
    Health {
        /// The backend.
        backend: BackendId,
        /// Before.
        from: Health,
        /// After.
        to: Health,
        /// The rule.
        cause: Cause,
        /// The evidence.
        evidence: Printable,
    },
    /// The database's role changed.
    Role {
        /// The backend.
        backend: BackendId,
        /// Before.
        from: Role,
        /// After.
        to: Role,
    },
    /// Eligibility, or the reason against it, changed.
    Eligibility {
        /// The backend.
        backend: BackendId,
        /// Before.
        from: Reason,
        /// After.
        to: Reason,
    },
    /// Whether a backend has proven itself has changed, or what speaks against it.
    Proof {
        /// The backend.
        backend: BackendId,
        /// Before.
        from: Proof,
        /// After.
        to: Proof,
        /// What has changed, or which proof failed.
        what: Printable,
    },
    /// The result of the election has changed.
    Verdict {
        /// Before.
        from: Verdict,
        /// After.
        to: Verdict,
    },
    /// The set of backends that say they are primary is now, or no longer, a conflict.
    Conflict {
        /// Whether there is one now.
        present: bool,
        /// The primaries.
        claimants: Vec<BackendId>,
    },
    /// The check of a backend does not work (`misconfigured`, `saturated`, `wrong_cluster`), or works again (`ok`).
    CheckAlert {
        /// The backend.
        backend: BackendId,
        /// The outcome that says so.
        outcome: Outcome,
        /// The evidence.
        evidence: Printable,
    },
    /// The event named a backend this pool does not have.
    UnknownBackend(BackendId),
    /// An operation, or its abort, was refused.
    OperationRefused {
        /// Which operation.
        id: OperationId,
        /// Why.
        refused: Refused,
    },
    /// Of the trial that follows this switchover.
    Trial(OperationId, TrialNews),
    /// An administrative state was refused: this is the active backend, and no other would take over.
    NobodyTakesOver(BackendId),
    /// The pool is paused until this time now, or no longer.
    Pause(Option<Time>),
    /// An administrative state was set.
    AdminSet {
        /// The backend.
        backend: BackendId,
        /// Before.
        from: Admin,
        /// After.
        to: Admin,
    },
}
