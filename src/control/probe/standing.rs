//! Checks that log in, for any protocol: the login, and the session that stays open after it.
//!
//! A query over the standing session is cheap, and the kernel reports at once when the session breaks. It proves nothing about new
//! clients: a hung server may keep old sessions alive. So a new login is made now and then (`fresh_login`).

use std::fmt::Debug;

use async_trait::async_trait;

use super::{
    deadline::Deadline,
    finding::{Broken, Failure, Finding},
};
use crate::{failover::Outcome, net::addresses::Addresses};

/// The open session, and the login that replaces it: descriptors of such a check.
pub(super) const SESSIONS: usize = 2;

/// How a check logs in to one backend.
#[async_trait]
pub trait Login: Debug + Send + Sync {
    /// Connects, logs in and asks, all before `deadline`. Needs a tokio runtime.
    ///
    /// # Errors
    /// Whatever is not an answer to the question.
    async fn open(&self, addresses: &Addresses, deadline: Deadline) -> Result<Opened, Failure>;

    /// A refused login is a line in the server's log, or a load on it.
    fn is_costly(&self) -> bool {
        false
    }
}

/// A session, and the finding of its login.
pub type Opened = (Box<dyn Standing>, Finding);

/// A session counts as open when its first query was answered.
pub(super) fn opened(standing: impl Standing + 'static, finding: Finding) -> Result<Opened, Failure> {
    if finding.outcome == Outcome::Ok { Ok((Box::new(standing), finding)) } else { Err(Failure::Backend(finding)) }
}

/// A session of a check that stays open between probes. Dropping it logs out.
#[async_trait]
pub trait Standing: Debug + Send {
    /// Asks for role, lag and the rest. After any outcome but `ok` the session is of no more use.
    async fn query(&mut self, deadline: Deadline) -> Finding;

    /// It may be used again. An HTTP server may close a connection after any answer, which is neither a loss nor a standing
    /// session.
    fn lasts(&self) -> bool {
        true
    }

    /// The last query met a connection that was closed because it was idle: it must be sent over a new one.
    fn is_stale(&self) -> bool {
        false
    }

    /// Resolves when the session is over, as soon as the kernel or the server reports it. May be called again.
    async fn broken(&mut self) -> Broken;

    /// How the session ended, if that is known.
    fn ended(&mut self) -> Option<Broken>;

    /// Logs out and waits, for a moment only, until the server knows.
    async fn close(self: Box<Self>);
}
