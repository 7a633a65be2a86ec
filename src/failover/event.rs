//! What goes into the core and what comes out of it.

use super::{
    facts::{Facts, Role},
    policy::Policy,
    text::Printable,
    vocabulary::{Admin, BackendId, Cause, Epoch, Health, Outcome, Pace, ReadEligibility, Reason, RevokeMode, Verdict},
};
use crate::labels;

/// What a probe learned of the backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Finding {
    /// What was found.
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
    /// What the byte path or the standing session learned besides the probes.
    pub enum Passive {
        /// A client's dial was refused.
        DialRefused = "dial_refused",
        /// A client's dial failed in another way.
        DialFailed = "dial_failed",
        /// The backend reset or closed a client's session first.
        SessionLost = "session_lost",
        /// The check's standing session broke (RST, or an answer that is none).
        StandingLost = "standing_lost",
        /// The check's standing session was ended in order (FIN), without a word: by the server, or by its kernel when it died.
        StandingClosed = "standing_closed",
        /// The check's standing session was ended by the server in so many words (`PostgreSQL` 57P01).
        StandingShutdown = "standing_shutdown",
        /// As before, but what ended is the server's main process, and what spoke a child of it that noticed.
        StandingOrphaned = "standing_orphaned",
    }
}

/// An operator's order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Sets the administrative state.
    SetAdmin(BackendId, Admin),
    /// Moves the pool to this backend if it may serve. For a fenced backend this is the operator's acceptance of its lower
    /// database epoch.
    Switchover(BackendId),
}

/// The pool as it is configured from now on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Configuration {
    /// The rules.
    pub policy: Policy,
    /// For each place in the new list: which backend this was until now, `None` for a new one. The numbers of backends in later
    /// events and effects are places in this list.
    pub backends: Vec<Option<BackendId>>,
}

/// Everything that may happen to a pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A probe of this backend finished.
    Probe(BackendId, Report),
    /// Something was noticed outside the probes.
    Passive(BackendId, Passive),
    /// An operator spoke.
    Command(Command),
    /// The configuration changed.
    Configure(Box<Configuration>),
    /// Time passed; due when [`super::Pool::next_deadline`] says so.
    Tick,
}

/// What the shell must do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Withdraw an epoch: no new dial under it, its sessions end as `mode` says.
    Revoke {
        /// The epoch to withdraw.
        epoch: Epoch,
        /// Who was active; after [`Event::Configure`], its number until then.
        backend: BackendId,
        /// What becomes of its sessions.
        mode: RevokeMode,
        /// Why.
        cause: Cause,
    },
    /// Abort what a `Revoke` with [`RevokeMode::LastWords`] has left: the backend has nothing more to say.
    Abort {
        /// The epoch that was withdrawn.
        epoch: Epoch,
        /// Who was active.
        backend: BackendId,
        /// Why.
        cause: Cause,
    },
    /// Make a backend the target of new clients. Whatever is left of an earlier epoch is aborted first.
    Activate {
        /// The new epoch.
        epoch: Epoch,
        /// Who is active now.
        backend: BackendId,
        /// Why.
        cause: Cause,
    },
    /// Hold new clients until `Resume` or `Revoke`; sessions go on.
    Suspend {
        /// The epoch that is in doubt.
        epoch: Epoch,
    },
    /// The doubt is gone.
    Resume {
        /// The epoch that stands.
        epoch: Epoch,
    },
    /// Whether a backend may be read has changed; or, where it has not, the sessions that were left to its last words end.
    Read {
        /// Whose.
        backend: BackendId,
        /// Before.
        from: ReadEligibility,
        /// After.
        to: ReadEligibility,
        /// What becomes of the sessions of those who read from it; `Drain`: they go on.
        sessions: RevokeMode,
    },
    /// Probe a backend at this pace from now on.
    Pace(BackendId, Pace),
    /// Probe a backend at once, besides its pace, with a whole new connection.
    ProbeNow(BackendId),
    /// Something to log, count and show.
    Note(Note),
}

/// A change worth telling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Health changed.
    Health {
        /// Whose.
        backend: BackendId,
        /// Before.
        from: Health,
        /// After.
        to: Health,
        /// Which rule.
        cause: Cause,
        /// What was seen.
        evidence: Printable,
    },
    /// The database's role changed.
    Role {
        /// Whose.
        backend: BackendId,
        /// Before.
        from: Role,
        /// After.
        to: Role,
    },
    /// Eligibility, or the reason against it, changed.
    Eligibility {
        /// Whose.
        backend: BackendId,
        /// Before.
        from: Reason,
        /// After.
        to: Reason,
    },
    /// The election ended differently from the last one.
    Verdict {
        /// Before.
        from: Verdict,
        /// After.
        to: Verdict,
    },
    /// More than one backend claims to be primary, or no longer.
    Conflict {
        /// Whether there is one now.
        present: bool,
        /// Those that claim it.
        claimants: Vec<BackendId>,
    },
    /// The check of a backend cannot do its work (`misconfigured`, `saturated`, `wrong_cluster`), or can again (`ok`).
    CheckAlert {
        /// Whose.
        backend: BackendId,
        /// The outcome that says so.
        outcome: Outcome,
        /// What was seen.
        evidence: Printable,
    },
    /// The event named a backend this pool does not have.
    UnknownBackend(BackendId),
    /// A command was refused.
    CommandRefused {
        /// Which backend.
        backend: BackendId,
        /// Why it may not serve.
        reason: Reason,
    },
    /// An administrative state was set.
    AdminSet {
        /// Whose.
        backend: BackendId,
        /// Before.
        from: Admin,
        /// After.
        to: Admin,
    },
}
