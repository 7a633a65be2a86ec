//! Closed sets of words, and numbers, that the rest of the core uses. It imports no other file of the core.

use std::fmt;

use crate::labels;

/// Position of a backend in its pool's list, the order in which the configuration names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(pub u16);

impl BackendId {
    /// The backend at this place of its pool's list.
    #[allow(clippy::cast_possible_truncation, reason = "a pool is built from a u16 count")]
    pub(super) const fn at(index: usize) -> Self {
        Self(index as u16)
    }

    /// The id as an index into the pool's list.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Number of an activation. Rises by one with each, never repeats within a process; 0 means "none was active yet".
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
    /// The outcome of one probe.
    pub enum Outcome {
        /// Answered as asked.
        Ok = "ok",
        /// The connect was refused (RST).
        Refused = "refused",
        /// No route: host or network unreachable.
        Unreachable = "unreachable",
        /// No answer to the connect within the deadline.
        ConnectTimeout = "connect_timeout",
        /// Connected, but the check did not finish within the deadline.
        Timeout = "timeout",
        /// The peer closed or reset the connection during the check.
        Closed = "closed",
        /// The peer does not speak the protocol of the check.
        ProtocolError = "protocol_error",
        /// Alive but not serving: starting, stopping, in crash recovery.
        Starting = "starting",
        /// Alive, but has no free connection for the check.
        Saturated = "saturated",
        /// The check itself is wrong: password, permission, database name, TLS trust.
        Misconfigured = "misconfigured",
        /// Belongs to another cluster than this pool.
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
    /// Alive, but not serving: ineligible, probed faster, neither a success nor a failure.
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
    #[derive(Default)]
    pub enum Health {
        /// No verdict yet.
        #[default]
        Unknown = "unknown",
        /// Answers its checks.
        Up = "up",
        /// Does not answer them.
        Down = "down",
    }
}

labels! {
    /// The operator's command for a backend.
    #[derive(Default)]
    pub enum Admin {
        /// Use it.
        #[default]
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
        /// The database was promoted, or became eligible, while none was active.
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
        /// It answers again, has changed and has not proven itself: the sessions that were left to it end.
        Unproven = "unproven",
        /// A probe's answer.
        Probe = "probe",
        /// Two independent signals: session lost and connect refused.
        TwoSignals = "two_signals",
    }
}

labels! {
    /// Why a backend may or may not be active; the first row that applies, in this order.
    #[derive(Default)]
    pub enum Reason {
        /// It may be active.
        Eligible = "eligible",
        /// An operator took it out.
        Maint = "maint",
        /// An operator drains it.
        Drain = "drain",
        /// Its check cannot log in, and it was never seen healthy or was down before.
        Misconfigured = "misconfigured",
        /// No verdict yet.
        #[default]
        Unknown = "unknown",
        /// It does not answer.
        Down = "down",
        /// It answers that it is starting or stopping.
        Starting = "starting",
        /// It belongs to another cluster than this pool.
        WrongCluster = "wrong_cluster",
        /// It follows a primary.
        Standby = "standby",
        /// Its check knows roles, but the backend named none.
        RoleUnknown = "role_unknown",
        /// It is not a standby, but refuses writes.
        ReadOnly = "read_only",
        /// It is a primary with a database epoch below one that was already served: an old primary that came back.
        Fenced = "fenced",
        /// It has changed and has not proven itself, and the guard enforces that.
        Unproven = "unproven",
    }
}

labels! {
    /// The result of an election.
    #[derive(Default)]
    pub enum Verdict {
        /// Not every backend has answered since the start.
        #[default]
        Settling = "settling",
        /// The active backend stays.
        Keep = "keep",
        /// Another backend takes over.
        Switch = "switch",
        /// No backend may be active.
        NoEligible = "no_eligible",
        /// No backend may be active, and one could if it had proven itself.
        NoProvenNode = "no_proven_node",
        /// More than one primary and no rule that tells which is right: none, or the active one.
        SplitBrain = "split_brain",
        /// The failover budget is used up and every candidate failed recently.
        HoldDown = "hold_down",
    }
}

labels! {
    /// Whether a backend may be read, and if not, why; the first row that applies, in this order. The last three may be read.
    #[derive(Default)]
    pub enum ReadEligibility {
        /// An operator took it out.
        Maint = "maint",
        /// An operator drains it.
        Drain = "drain",
        /// Its check cannot log in, and it was never seen healthy.
        Misconfigured = "misconfigured",
        /// No verdict yet.
        #[default]
        Unknown = "unknown",
        /// It does not answer.
        Down = "down",
        /// It answers that it is starting or stopping.
        Starting = "starting",
        /// It belongs to another cluster than this pool.
        WrongCluster = "wrong_cluster",
        /// Just started: not every backend has answered.
        Settling = "settling",
        /// No backend was active yet, and the backends belong to different clusters.
        ClusterUnknown = "cluster_unknown",
        /// There is a sign of its death; a new login has not finished.
        InDoubt = "in_doubt",
        /// Its check knows roles, but the backend named none.
        RoleUnknown = "role_unknown",
        /// It is not a standby, but refuses writes.
        ReadOnly = "read_only",
        /// It is an old primary that came back.
        Fenced = "fenced",
        /// It is a primary, but not the one that is active.
        NotActive = "not_active",
        /// It is too far behind.
        Lag = "lag",
        /// It has changed and has not proven itself, and the guard enforces that.
        Unproven = "unproven",
        /// It is the active one: used only by listeners that accept it.
        Active = "active",
        /// The same, but its proofs run: a share of the new sessions may read it.
        Canary = "canary",
        /// It may be read.
        Reader = "reader",
    }
}

impl ReadEligibility {
    /// Whether it may be read.
    pub const fn may_be_read(self) -> bool {
        matches!(self, Self::Reader | Self::Active | Self::Canary)
    }

    /// Why the sessions of its readers are closed; `None` where they go on. A primary that is not the active one could accept
    /// writes of a session that began when it was a standby: one writer is more important than a long session.
    pub const fn closes_sessions(self) -> Option<Cause> {
        match self {
            Self::Maint => Some(Cause::Command),
            Self::Down => Some(Cause::Down),
            Self::Starting => Some(Cause::Starting),
            Self::WrongCluster | Self::Fenced => Some(Cause::Fenced),
            Self::NotActive => Some(Cause::Conflict),
            Self::RoleUnknown => Some(Cause::Demoted),
            Self::Drain
            | Self::Misconfigured
            | Self::Unknown
            | Self::Settling
            | Self::ClusterUnknown
            | Self::InDoubt
            | Self::ReadOnly
            | Self::Lag
            | Self::Unproven
            | Self::Active
            | Self::Canary
            | Self::Reader => None,
        }
    }
}

labels! {
    /// How often a backend is probed.
    #[derive(Default)]
    pub enum Pace {
        /// `check.interval`.
        #[default]
        Normal = "normal",
        /// `check.fast_interval`: a change of health is pending.
        Fast = "fast",
        /// 20 ms: new clients wait, because none is active or the active one is in doubt.
        Urgent = "urgent",
    }
}

labels! {
    /// What happens to the sessions of a revoked epoch.
    pub enum RevokeMode {
        /// Aborted on both sides at once.
        Abort = "abort",
        /// Goes on in both directions until the server ends it: a server that accepts no new clients may still serve open sessions.
        /// Aborted when the server falls silent, and when the next epoch is activated.
        LastWords = "last_words",
        /// Ends by itself; aborted when the next epoch is activated.
        Drain = "drain",
    }
}
