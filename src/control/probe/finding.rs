//! The result of a probe: a finding, or why there is none, or how a session ended.

use super::deadline::Deadline;
pub use crate::failover::Finding;
use crate::failover::{Facts, Outcome, Printable};

impl Finding {
    pub(super) fn new(outcome: Outcome, evidence: impl Into<Printable>) -> Self {
        Self { outcome, facts: Facts::default(), evidence: evidence.into() }
    }

    /// The server did not answer in time; `what` says how far the probe had come.
    pub(super) fn late(what: &str, deadline: Deadline) -> Self {
        Self::new(Outcome::Timeout, format!("{what} within {:?}", deadline.timeout()))
    }
}

/// Why a probe has no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The backend, or its silence, is the reason.
    Backend(Finding),
    /// This machine could not probe (no port, no descriptor, no memory): no evidence about the backend. Holds what was missing.
    Local(Printable),
}

impl Failure {
    pub(super) fn backend(outcome: Outcome, evidence: impl Into<Printable>) -> Self {
        Self::Backend(Finding::new(outcome, evidence))
    }
}

/// Why a server did not do what it was told over a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) struct Refusal {
    /// The role lacks a right.
    pub(in crate::control) is_denied: bool,
    /// In words.
    pub(in crate::control) why: Printable,
}

impl From<Finding> for Refusal {
    fn from(finding: Finding) -> Self {
        Self { is_denied: false, why: finding.evidence }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Backend(finding) => finding.into(),
            Failure::Local(why) => Self { is_denied: false, why },
        }
    }
}

/// How a standing session ended. Holds the evidence, as a probe would have reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Without a message of the server: FIN, RST, or an error.
    Lost(Finding),
    /// With FIN, without a message.
    Closed(Finding),
    /// The server said that it, or this session, is being shut down.
    Shutdown(Finding),
    /// The server said that it ends all its sessions because one of its processes has crashed.
    Crash(Finding),
    /// A process of the server said that the main process is gone: it died, and was not shut down.
    Orphaned(Finding),
}

impl Broken {
    /// What was seen.
    pub fn finding(self) -> Finding {
        let (Self::Lost(finding)
        | Self::Closed(finding)
        | Self::Shutdown(finding)
        | Self::Crash(finding)
        | Self::Orphaned(finding)) = self;
        finding
    }
}
