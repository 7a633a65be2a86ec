//! What a proof comes to.

use std::time::Duration;

use crate::{failover::Printable, labels};

labels! {
    /// The result of one proof.
    pub enum ProofResult {
        /// It holds.
        Passed = "passed",
        /// It does not hold.
        Failed = "failed",
        /// It does not hold on the active one either.
        Inconclusive = "inconclusive",
        /// It has no sense here, or the role may not ask: there is nothing to compare with, or a right is missing for a built-in one.
        Skipped = "skipped",
        /// There was no answer: no login, no time, a right is missing for a proof of the configuration. Nothing is proven.
        Unanswered = "unanswered",
    }
}

/// One proof of one server.
#[derive(Clone, Debug)]
pub struct Proved {
    /// Its name: a built-in one (`extensions`, `collations`, …) or that of the configuration.
    pub name: Printable,
    /// The result.
    pub result: ProofResult,
    /// How long it took.
    pub took: Duration,
    /// What was asked, what came, and what the active one says.
    pub evidence: Printable,
}

/// How long probes took: the 95th percentile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Of the backend that must prove itself.
    pub subject: Duration,
    /// Of the active one.
    pub active: Duration,
}

/// A result with its evidence.
pub(super) type Verdict = (ProofResult, String);
