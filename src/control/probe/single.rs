//! Checks that keep nothing open between two probes: each is a whole new connection, or a run of a command.

use std::fmt::Debug;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{deadline::Deadline, finding::Finding};
use crate::{failover::Printable, net::addresses::Addresses};

/// Such a check of one backend.
#[async_trait]
pub trait Single: Debug + Send {
    /// Asks once, before `deadline`. Needs a tokio runtime.
    ///
    /// # Errors
    /// When our own side lacked something to ask with; the text says what.
    async fn probe(&mut self, addresses: &Addresses, deadline: Deadline) -> Result<Finding, Printable>;

    /// Before this moment no probe must be made.
    fn earliest(&self) -> Option<Instant> {
        None
    }

    /// Nobody must be left to run when nobody waits for the answer any more.
    fn ends_at_once(&self) -> bool {
        false
    }
}
