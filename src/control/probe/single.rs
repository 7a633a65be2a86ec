//! Checks that keep nothing open between two probes: each is a whole new connection, or a run of a command.

use tokio::time::Instant;

use super::{Deadline, Finding, exchange::Exchange, exec::Exec, tcp};
use crate::{
    config::CheckKind,
    failover::Printable,
    net::{addr::BackendAddr, addresses::Addresses},
};

/// Such a check of one backend.
#[derive(Debug)]
pub enum Single {
    /// A connect.
    Tcp,
    /// A run of a command.
    Exec(Box<Exec>),
    /// Bytes sent and bytes expected.
    Exchange(Exchange),
}

impl Single {
    /// A check of `address`. One that logs in begins with a connect, and that is all of it here.
    pub fn new(address: &BackendAddr, kind: &CheckKind) -> Self {
        match kind {
            CheckKind::Tcp | CheckKind::Postgres(_) | CheckKind::Mysql(_) | CheckKind::Redis(_) | CheckKind::Http(_) => Self::Tcp,
            CheckKind::Exec(check) => Self::Exec(Box::new(Exec::new(address, check))),
            CheckKind::Exchange(check) => Self::Exchange(Exchange::new(address, check)),
        }
    }

    /// Asks once, before `deadline`. Needs a tokio runtime.
    ///
    /// # Errors
    /// When our own side lacked something to ask with; the text says what.
    pub async fn probe(&mut self, addresses: &Addresses, deadline: Deadline) -> Result<Finding, Printable> {
        match self {
            Self::Tcp => tcp::probe(addresses, deadline).await,
            Self::Exec(exec) => exec.probe(deadline).await,
            Self::Exchange(exchange) => exchange.probe(addresses, deadline).await,
        }
    }

    /// Before this moment no probe must be made.
    pub fn earliest(&self) -> Option<Instant> {
        match self {
            Self::Tcp | Self::Exchange(_) => None,
            Self::Exec(exec) => exec.earliest(),
        }
    }

    /// Nobody must be left to run when nobody waits for the answer any more.
    pub const fn ends_at_once(&self) -> bool {
        matches!(self, Self::Exec(_))
    }
}
