//! What is asked of a server, and what it answers; the order to drain.

use std::{fmt::Debug, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::{
    config::CheckConfig,
    control::probe::Deadline,
    failover::Printable,
    net::{addr::BackendAddr, addresses::Addresses},
    route::{Leg, Revocation, SessionTable},
};

/// The route to drain, and how its server is asked.
#[derive(Clone, Debug)]
pub struct Drain {
    /// The check of the pool; its role asks and ends.
    pub check: CheckConfig,
    /// The backend, as configured.
    pub address: BackendAddr,
    /// Its addresses.
    pub addresses: Addresses,
    /// The live sessions, one table a worker.
    pub sessions: Vec<Arc<SessionTable>>,
    /// The route, which is gated.
    pub route: Arc<Revocation>,
    /// After this time the rest is ended as well; zero waits for ever.
    pub timeout: Duration,
}

/// What became of the sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Sessions that were ended while nothing was under way.
    pub ended: u64,
    /// Sessions that were ended in the middle of something, because the time was over.
    pub broken: u64,
    /// Sessions that are left: they could not be found on the server, or not be ended.
    pub left: u64,
    /// Why some are left, and other things to know.
    pub notes: Vec<Printable>,
}

/// What a server does for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Nothing, and no transaction is open.
    Idle,
    /// It waits for the client: within a transaction, a login, or a statement that reads from the client.
    Waits,
    /// It works, or cannot write to the client.
    Works,
    /// It does not say.
    Hidden,
}

/// A session as the server shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// The server's number of the session.
    pub(super) id: i64,
    pub(super) doing: Doing,
    /// Another number after each change of what it does, if the server tells that.
    pub(super) stamp: i64,
    /// A transaction is open, or a statement runs.
    pub(super) is_open: bool,
    /// The check's role may end it.
    pub(super) may_end: bool,
    /// It was just ended.
    pub(super) was_ended: bool,
}

/// Which session is meant, and whether it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) leg: Leg,
    pub(super) end: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    No,
    /// If the server still does nothing for it, and has not since.
    IfIdle(i64, i64),
    Now(i64),
}

/// A login to the server.
#[async_trait]
pub(super) trait Server: Debug + Send {
    /// Ends what is to be ended, and shows each session; `None` for one that is not found.
    ///
    /// # Errors
    /// Why there is no answer. Nothing more can be asked.
    async fn look(&mut self, targets: &[Target], deadline: Deadline) -> Result<Vec<Option<Shown>>, Printable>;

    /// Whether a transaction shows only from its first access to data on. Until then its session looks idle.
    fn shows_late(&self) -> bool {
        false
    }

    async fn close(self: Box<Self>);
}

/// A login, if there can be one, and what is missing.
pub(super) type Opened = (Option<Box<dyn Server>>, Vec<Printable>);

impl Drain {
    /// Of one question.
    pub(super) fn deadline(&self) -> Deadline {
        Deadline::after(self.check.timeout).with_header(self.check.proxy_header)
    }
}
