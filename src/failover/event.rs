//! What goes into the core and what comes out of it.

use std::fmt;

use crate::{
    failover::{
        backend::Reason,
        elect::Verdict,
        facts::{Facts, Role},
        pool::Policy,
        readers::Reading,
        text::Printable,
    },
    labels,
};

/// Position of a backend in its pool's list, the order in which the configuration names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(pub u16);

impl BackendId {
    /// The id as an index into the pool's list.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Number of an activation. Rises by one with each, never repeats within a process; 0 means "nobody was active yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

labels! {
    /// What one probe found.
    pub enum Outcome {
        /// Answered as asked.
        Ok = "ok",
        /// The connection was refused (RST to our SYN).
        Refused = "refused",
        /// No route: host or network unreachable.
        Unreachable = "unreachable",
        /// No answer to our SYN within the deadline.
        ConnectTimeout = "connect_timeout",
        /// Connected, but the check did not finish within the deadline.
        Timeout = "timeout",
        /// The peer closed or reset the connection in the middle of the check.
        Closed = "closed",
        /// The peer does not speak the protocol of the check.
        ProtocolError = "protocol_error",
        /// Alive but not serving: starting, stopping, in crash recovery.
        Starting = "starting",
        /// Alive, but has no free connection for the check.
        Saturated = "saturated",
        /// The check itself is wrong: password, permission, database name, TLS trust.
        Misconfigured = "misconfigured",
        /// Answers as another cluster than the one this pool holds.
        WrongCluster = "wrong_cluster",
    }
}

/// What an outcome says about the backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Counts towards Up.
    Success,
    /// Evidence of death; counts towards Down.
    Failure,
    /// Alive, not serving: ineligible, watched closely, neither a success nor a failure.
    NotServing,
    /// Alive; verdict and role stay as they are.
    Neutral,
}

impl Outcome {
    /// How health counts this outcome.
    pub const fn class(self) -> Class {
        match self {
            Self::Ok => Class::Success,
            Self::Refused | Self::Unreachable | Self::ConnectTimeout | Self::Timeout | Self::Closed | Self::ProtocolError => {
                Class::Failure
            }
            Self::Starting => Class::NotServing,
            Self::Saturated | Self::Misconfigured | Self::WrongCluster => Class::Neutral,
        }
    }
}

labels! {
    /// Observed state of a backend.
    pub enum Health {
        /// No verdict yet.
        Unknown = "unknown",
        /// Answers its checks.
        Up = "up",
        /// Does not.
        Down = "down",
    }
}

labels! {
    /// What the operator wants of a backend.
    pub enum Admin {
        /// Use it.
        Ready = "ready",
        /// No new clients.
        Drain = "drain",
        /// No clients at all.
        Maint = "maint",
    }
}

labels! {
    /// Why something changed.
    pub enum Cause {
        /// First activation after start.
        Startup = "startup",
        /// The backend died.
        Down = "down",
        /// The database is starting, stopping or recovering.
        Starting = "starting",
        /// The database no longer is the primary, or became read-only.
        Demoted = "demoted",
        /// The database was promoted, or became eligible, while nobody was active.
        Eligible = "eligible",
        /// Another primary with a higher database epoch.
        Conflict = "conflict",
        /// A database epoch below one that was already served, or another cluster.
        Fenced = "fenced",
        /// Return to the preferred backend under the failback rule.
        Failback = "failback",
        /// An operator's command.
        Command = "command",
        /// The backend is no longer in the configuration.
        Removed = "removed",
        /// A probe's answer.
        Probe = "probe",
        /// Two independent signals: session lost and connect refused.
        TwoSignals = "two_signals",
    }
}

/// The result of one probe.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// Who was probed.
    pub backend: BackendId,
    /// Rises with each probe of this backend. A report with a number at or below the last one seen changes nothing.
    pub seq: u64,
    /// What was found.
    pub outcome: Outcome,
    /// What was learned, with `Outcome::Ok`.
    pub facts: Facts,
    /// The probe made a whole new connection (and login), rather than asking over a standing session.
    pub fresh: bool,
    /// One short human sentence: what was seen.
    pub evidence: Printable,
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
    /// A probe finished.
    Probe(Report),
    /// Something was noticed outside the probes.
    Passive(BackendId, Passive),
    /// An operator spoke.
    Command(Command),
    /// The configuration changed.
    Configure(Box<Configuration>),
    /// Time passed; due when [`super::Pool::next_deadline`] says so.
    Tick,
}

labels! {
    /// How often a backend is probed.
    pub enum Pace {
        /// `check.interval`.
        Normal = "normal",
        /// `check.fast_interval`: a verdict is pending.
        Fast = "fast",
        /// 20 ms: new clients wait, because nobody is active or the active one is in doubt.
        Urgent = "urgent",
    }
}

labels! {
    /// What becomes of the sessions of a revoked epoch.
    pub enum RevokeMode {
        /// Aborted on both sides at once.
        Abort = "abort",
        /// Goes on in both directions until the server ends it: one that takes nobody in any more may still serve who is there.
        /// Aborted when the server falls silent, and when the next epoch is activated.
        LastWords = "last_words",
        /// Left to end by themselves; aborted when the next epoch is activated.
        Drain = "drain",
    }
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
        from: Reading,
        /// After.
        to: Reading,
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
