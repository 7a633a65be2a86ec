//! One backend as the core knows it, and the truth table that decides whether it may be active.

use std::num::NonZeroU64;

use super::{
    facts::{Facts, Role},
    health::Tracker,
    policy::Policy,
    proof::{Proof, Quick},
    text::Printable,
    time::Time,
    vocabulary::{Admin, Health, Outcome, Pace, ReadEligibility, Reason},
};

/// Whether a server serves, by its own last word, or that of its kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Readiness {
    /// It said nothing against it.
    #[default]
    Serving,
    /// It answered, but only to say that it does not: it is starting or stopping.
    Starting,
    /// It said that it is shutting down, or that it does not serve, and nothing since.
    ShuttingDown,
}

/// Signs of a server's death. Two of them are proof; void when it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Signs {
    /// First: a session to it broke.
    pub(super) session_lost: bool,
    /// Second: a connect was refused.
    pub(super) refused: bool,
    /// One of them came besides the probes: new clients are held until somebody says how it is.
    pub(super) in_doubt: bool,
}

impl Signs {
    /// Both were seen.
    pub(super) const fn are_proof(self) -> bool {
        self.session_lost && self.refused
    }
}

/// What the core knows of one backend. Health, admin state, role and cluster are separate fields; only [`BackendState::judge`]
/// combines them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[allow(clippy::struct_excessive_bools, reason = "independent observations; one truth table joins them")]
pub struct BackendState {
    /// Verdict, and the count of results against it.
    pub(super) health: Tracker,
    /// The operator's command.
    pub admin: Admin,
    /// Whether it serves, by its own last word.
    pub(super) readiness: Readiness,
    /// What it reported when it last answered.
    pub facts: Facts,
    /// Whether it has proven itself.
    pub proof: Proof,
    /// What has changed, or which proof failed.
    pub proof_what: Printable,
    /// The quick proofs of that.
    pub(super) quick: Quick,
    /// Its position in the report before, of the same history.
    pub(super) earlier: Option<NonZeroU64>,
    /// The check does not work; cleared by a new login that succeeds.
    pub alert: Option<Outcome>,
    /// The evidence for that.
    pub alert_evidence: Printable,
    /// It belongs to another cluster.
    pub(super) foreign: bool,
    /// It said that it is a primary before another one said so, and has not answered since: it may have been demoted.
    pub(super) outdated: bool,
    /// Of its death, since it last answered.
    pub(super) signs: Signs,
    /// The sessions of its readers go on until it ends them.
    pub(super) readers_left: bool,
    /// Consecutive failures other than a refusal since it went down and had left.
    pub(super) silent: u32,
    /// A new login failed: answers over the standing session prove nothing until one succeeds.
    pub(super) fresh_failed: bool,
    /// It lagged too much when it last reported its lag; ends at half of that.
    pub(super) behind: bool,
    /// A probe outside the pace was ordered, and no report has come since.
    pub(super) asked: bool,
    /// Sequence number of the last report.
    pub(super) last_seq: u64,
    /// What the last report found, as this pool counts it; `None` before the first.
    pub last_outcome: Option<Outcome>,
    /// The last evidence.
    pub evidence: Printable,
    /// First sign of the present problem.
    pub trouble_since: Option<Time>,
    /// Since when its health has not changed.
    pub since: Time,
    /// When it last went down.
    pub(super) last_down: Option<Time>,
    /// How often in a row it went down again within the window of the time before; at most `relapse_max`.
    pub(super) relapses: u32,
    /// Since when it has been eligible without a break.
    pub(super) eligible_since: Option<Time>,
    /// Why it may or may not be active, as of the last step.
    pub(super) reason: Reason,
    /// Whether it may be read, as of the last step.
    pub(super) read_eligibility: ReadEligibility,
    /// The pace of its probes, as of the last step.
    pub(super) pace: Pace,
}

impl BackendState {
    /// A backend without any result, at `now`.
    pub(super) fn new(now: Time) -> Self {
        Self { since: now, pace: Pace::Urgent, ..Self::default() }
    }

    /// Observed health.
    pub const fn health(&self) -> Health {
        self.health.verdict()
    }

    /// A change of health is pending.
    pub const fn is_pending(&self) -> bool {
        self.health.is_pending()
    }

    /// It said that it shuts down, or its kernel closed with FIN, and nothing listens any more. The kernel ends what the server has
    /// not ended; and what is not ended is still served: by a `MariaDB` that waits for its replicas, or a process of a dead
    /// `PostgreSQL` that finishes its transaction.
    pub(super) const fn has_left(&self) -> bool {
        matches!(self.readiness, Readiness::ShuttingDown) && self.signs.refused
    }

    /// It answered last to say that it does not serve.
    pub const fn is_starting(&self) -> bool {
        matches!(self.readiness, Readiness::Starting)
    }

    /// Consecutive successes until Up: `rise`, doubled for each relapse. A window without a Down forgets them all.
    pub(super) fn successes_needed(&self, now: Time, policy: &Policy) -> u32 {
        let relapses = if self.failed_within(now, policy) { self.relapses } else { 0 };
        policy.rise.saturating_mul(2_u32.saturating_pow(relapses))
    }

    /// Whether it went down less than the budget's window ago.
    pub(super) fn failed_within(&self, now: Time, policy: &Policy) -> bool {
        self.last_down.is_some_and(|at| now.since(at) < policy.budget_within)
    }

    /// Whether it answers, serves, belongs to this cluster and says it is a primary that accepts writes, even if it has not
    /// answered often enough to be up: such a claim counts from the first answer. Whether it may be active is another question.
    pub(super) fn says_primary(&self, system_id: Option<u64>) -> bool {
        (self.health() == Health::Up || self.is_pending())
            && !self.is_starting()
            && !self.is_foreign(system_id)
            && !self.facts.read_only
            && self.facts.role == Some(Role::Primary)
    }

    /// It said so, or its report from before the pool knew its cluster proves it.
    pub(super) fn is_foreign(&self, system_id: Option<u64>) -> bool {
        self.foreign || system_id.zip(self.facts.system_id).is_some_and(|(own, its)| own != its)
    }

    /// The truth table. `by_role` asks for a primary at or above the fence; otherwise health and the operator decide.
    ///
    /// | admin | health | serving | cluster | role | epoch | reason |
    /// |---|---|---|---|---|---|---|
    /// | maint | · | · | · | · | · | `maint` |
    /// | drain | · | · | · | · | · | `drain` |
    /// | ready | unknown | no | · | · | · | `starting` |
    /// | ready | unknown | login impossible | · | · | · | `misconfigured` |
    /// | ready | unknown | · | foreign | · | · | `wrong_cluster` |
    /// | ready | unknown | · | · | · | · | `unknown` |
    /// | ready | down | login impossible | · | · | · | `misconfigured` |
    /// | ready | down | · | foreign | · | · | `wrong_cluster` |
    /// | ready | down | · | · | · | · | `down` |
    /// | ready | up | no | · | · | · | `starting` |
    /// | ready | up | yes | foreign | · | · | `wrong_cluster` |
    /// | ready | up | yes | own | standby | · | `standby` |
    /// | ready | up | yes | own | none named | · | `role_unknown` |
    /// | ready | up | yes | own | primary | absurd | `role_unknown` |
    /// | ready | up | yes | own | primary, read-only | · | `read_only` |
    /// | ready | up | yes | own | primary | below the fence | `fenced` |
    /// | ready | up | yes | own | primary | at or above | `eligible` |
    ///
    /// `unproven` comes before `eligible`; it depends on the other backends, see `guard.rs`.
    pub(super) fn judge(&self, by_role: bool, is_absurd: bool, fence: Option<u64>, system_id: Option<u64>) -> Reason {
        match (self.admin, self.health()) {
            (Admin::Maint, _) => return Reason::Maint,
            (Admin::Drain, _) => return Reason::Drain,
            (Admin::Ready, Health::Down) => {
                // Two signals of its death outweigh its earlier answers.
                return match self.last_outcome.filter(|_| !self.signs.are_proof()) {
                    Some(Outcome::Misconfigured) => Reason::Misconfigured,
                    Some(Outcome::WrongCluster) => Reason::WrongCluster,
                    _ => Reason::Down,
                };
            }
            (Admin::Ready, Health::Unknown) => {
                return match self.alert {
                    _ if self.is_starting() => Reason::Starting,
                    Some(Outcome::Misconfigured) => Reason::Misconfigured,
                    _ if self.foreign => Reason::WrongCluster,
                    _ => Reason::Unknown,
                };
            }
            (Admin::Ready, Health::Up) => {}
        }
        if self.is_starting() {
            return Reason::Starting;
        }
        if self.is_foreign(system_id) {
            return Reason::WrongCluster;
        }
        if !by_role {
            return Reason::Eligible;
        }
        match self.facts.role {
            Some(Role::Standby) => Reason::Standby,
            Some(Role::Unknown) | None => Reason::RoleUnknown,
            Some(Role::Primary) if is_absurd => Reason::RoleUnknown,
            Some(Role::Primary) if self.facts.read_only => Reason::ReadOnly,
            Some(Role::Primary) if fence.is_some_and(|fence| self.facts.db_epoch.is_some_and(|epoch| epoch < fence)) => {
                Reason::Fenced
            }
            Some(Role::Primary) => Reason::Eligible,
        }
    }
}
