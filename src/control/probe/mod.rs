//! The checks, one file a protocol.
//!
//! | file | what it holds |
//! |---|---|
//! | [`tcp`] | a connect, which is also the first step of every other check |
//! | [`postgres`], [`mysql`], [`redis`] | a login and a question, or the question alone over a standing session |
//! | [`standing`] | such sessions, whatever the protocol |
//! | `socket` | what an error of a socket says |
//! | `tls` | what a check demands of the server's certificate |
//! | `bounded` | a socket that reads so many bytes for one probe and no more |
//!
//! Every check has one [`Deadline`] for all of its steps, so a server that sends a byte now and then gains nothing by it.

mod bounded;
pub mod mysql;
pub mod postgres;
pub mod redis;
mod socket;
pub mod standing;
pub mod tcp;
mod tls;

use std::{sync::Arc, time::Duration};

use socket::{garbled, io_error};
use standing::Login;
use tokio::time::Instant;

use super::resolver;
use crate::{
    config::CheckKind,
    failover::{Facts, Outcome},
    net::addr::BackendAddr,
};

/// What a probe learned of the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was found.
    pub outcome: Outcome,
    /// What the backend said of itself; empty unless the outcome is `ok`.
    pub facts: Facts,
    /// One short sentence for people: what was seen. Printable, at most a few hundred bytes.
    pub evidence: Arc<str>,
}

impl Finding {
    fn new(outcome: Outcome, evidence: impl Into<Arc<str>>) -> Self {
        Self { outcome, facts: Facts::default(), evidence: evidence.into() }
    }
}

/// Why a probe brought back no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The backend, or its silence, is the reason.
    Backend(Finding),
    /// Our own side could not ask (no port, no descriptor, no memory): no evidence about the backend. Holds what was missing.
    Local(Arc<str>),
}

impl Failure {
    fn backend(outcome: Outcome, evidence: impl Into<Arc<str>>) -> Self {
        Self::Backend(Finding::new(outcome, evidence))
    }
}

/// The one moment by which a whole probe must be over.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    timeout: Duration,
}

impl Deadline {
    /// A deadline `timeout` from now.
    pub fn after(timeout: Duration) -> Self {
        Self { at: Instant::now() + timeout, timeout }
    }

    /// The moment itself.
    pub const fn at(self) -> Instant {
        self.at
    }

    /// The time the probe was given, for evidence.
    pub const fn timeout(self) -> Duration {
        self.timeout
    }
}

/// Makes one whole probe (with a new login, where the check has one), resolving the name first. Logs out cleanly.
///
/// # Errors
/// When our own side lacked something to ask with; the text says what.
pub async fn once(address: &BackendAddr, kind: &CheckKind, timeout: Duration) -> Result<Finding, Arc<str>> {
    let deadline = Deadline::after(timeout);
    let addresses = match tokio::time::timeout_at(deadline.at(), resolver::lookup(address)).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(evidence)) => return Ok(Finding::new(Outcome::Unreachable, evidence)),
        Err(_) => return Ok(resolver::unresolved(address, timeout)),
    };
    let Some(login) = Login::new(address, kind) else { return tcp::probe(&addresses, deadline).await };
    match login.open(&addresses, deadline).await {
        Ok((standing, finding)) => {
            standing.close().await;
            Ok(finding)
        }
        Err(Failure::Backend(finding)) => Ok(finding),
        Err(Failure::Local(evidence)) => Err(evidence),
    }
}
