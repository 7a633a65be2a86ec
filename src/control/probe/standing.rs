//! Checks that log in, whatever the protocol: the login, and the session that stays open after it.
//!
//! The standing session is cheap to ask, and the kernel tells at once when it breaks. It proves nothing about new clients: a hung
//! server may keep old sessions alive. So a whole new login is made now and then (`fresh_login`).

use std::fmt::Debug;

use async_trait::async_trait;

use super::{
    deadline::Deadline,
    finding::{Broken, Failure, Finding},
};
use crate::{failover::Outcome, net::addresses::Addresses};

/// A session that stays open, and the login that takes its place: descriptors of such a check.
pub(super) const SESSIONS: usize = 2;

/// How a check logs in to one backend.
#[async_trait]
pub trait Login: Debug + Send + Sync {
    /// Connects, logs in and asks, all before `deadline`. Needs a tokio runtime.
    ///
    /// # Errors
    /// Whatever is not an answer to the question.
    async fn open(&self, addresses: &Addresses, deadline: Deadline) -> Result<Opened, Failure>;

    /// A login that is refused is a line in the server's log, or a burden on it.
    fn is_costly(&self) -> bool {
        false
    }
}

/// A session, and what was found at the login.
pub type Opened = (Box<dyn Standing>, Finding);

/// A session counts as opened when its first question was answered well.
pub(super) fn opened(standing: impl Standing + 'static, finding: Finding) -> Result<Opened, Failure> {
    if finding.outcome == Outcome::Ok { Ok((Box::new(standing), finding)) } else { Err(Failure::Backend(finding)) }
}

/// A session of a check that stays open between probes. Dropping it logs out.
#[async_trait]
pub trait Standing: Debug + Send {
    /// Asks for role, lag and the rest. After any outcome but `ok` the session is of no more use.
    async fn query(&mut self, deadline: Deadline) -> Finding;

    /// It may be asked again. A server of HTTP may close a connection after any answer, which is neither a loss nor a standing
    /// session.
    fn lasts(&self) -> bool {
        true
    }

    /// The last question met a connection that was closed because it was idle: it is to be asked over a new one.
    fn is_stale(&self) -> bool {
        false
    }

    /// Resolves when the session is over, the moment the kernel or the server tells. May be asked again.
    async fn broken(&mut self) -> Broken;

    /// How the session ended, if that is known.
    fn ended(&mut self) -> Option<Broken>;

    /// Logs out and waits, for a moment only, until the server was told.
    async fn close(self: Box<Self>);
}
