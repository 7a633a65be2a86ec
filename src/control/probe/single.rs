//! Checks that keep nothing open between two probes: each probe is a new connection, or a run of a command.

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
    /// When this machine could not probe; the text says what was missing.
    async fn probe(&mut self, addresses: &Addresses, deadline: Deadline) -> Result<Finding, Printable>;

    /// No probe may be made before this moment.
    fn earliest(&self) -> Option<Instant> {
        None
    }

    /// Dropping the future must leave nothing running.
    fn ends_at_once(&self) -> bool {
        false
    }
}
