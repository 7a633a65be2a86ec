//! Ends the sessions of a gated route where nothing is under way, so that no transaction breaks when the server is stopped.
//!
//! | file | what it holds |
//! |---|---|
//! | [`keep`] | the same for a pause, in which nobody is ended |
//! | [`rounds`] | looks at all sessions every few milliseconds, and decides about each |
//! | [`server`] | what is asked of a server, and the answer; the order to drain |
//! | [`postgres`] | what `PostgreSQL` shows of its sessions, and how it ends one |
//! | [`mysql`] | the same for `MySQL` and `MariaDB` |
//!
//! The byte path stops each session at a boundary, where nothing of the client is under way ([`Revocation::gate`](crate::route::Revocation::gate)). Only the server
//! knows who is inside a transaction. So control asks it, over a login of the check's role, and finds a session by the near end of
//! its server leg. Who is idle is ended by the server itself, so that the client reads the server's own words, encrypted or not. Who
//! is inside a transaction is let pass, statement by statement, up to its end.
//!
//! The caller suspends the route first, so that new clients wait, then closes its gate, then drains; it opens the gate afterwards if
//! the change is given up.

mod keep;
mod mysql;
mod postgres;
mod rounds;
mod server;

pub use keep::can_keep;
use rounds::Rounds;
use server::Opened;
pub use server::{Drain, Drained};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::probe::Deadline;
use crate::{
    config::CheckKind,
    failover::Printable,
    net::{addr::BackendAddr, addresses::Addresses},
};

impl Drain {
    /// Ends the sessions of the route, until none is left, the time is over, or `cancel` is called. Sessions that begin meanwhile are
    /// included.
    pub async fn run(self, cancel: &CancellationToken) -> Drained {
        let until = (!self.timeout.is_zero()).then(|| Instant::now() + self.timeout);
        let rounds = Rounds::new(&self, until);
        if self.knows_no_transactions() {
            return rounds.without_server(cancel).await;
        }
        tokio::select! {
            (server, notes) = self.open() => rounds.with_server(server, notes, cancel).await,
            () = cancel.cancelled() => rounds.finish(cancel).await,
        }
    }

    /// What the check's role lacks to drain, what that costs, and what to grant.
    pub async fn preflight(&self) -> Vec<Printable> {
        if self.knows_no_transactions() {
            return Vec::new();
        }
        shortcomings(&self.check.kind, &self.address, &self.addresses, self.deadline()).await
    }

    async fn open(&self) -> Opened {
        open(&self.check.kind, &self.address, &self.addresses, self.deadline()).await
    }

    /// Nothing on the server outlives a request: a session ends at its boundary, and needs no server for that.
    const fn knows_no_transactions(&self) -> bool {
        matches!(self.check.kind, CheckKind::Redis(_) | CheckKind::Tcp(_) | CheckKind::Exec(_) | CheckKind::Exchange(_))
    }
}

/// What the role of a check that logs in lacks to drain this backend, what that costs, and what to grant.
pub async fn shortcomings(kind: &CheckKind, address: &BackendAddr, addresses: &Addresses, deadline: Deadline) -> Vec<Printable> {
    let (server, notes) = open(kind, address, addresses, deadline).await;
    if let Some(server) = server {
        server.close().await;
    }
    notes
}

async fn open(kind: &CheckKind, address: &BackendAddr, addresses: &Addresses, deadline: Deadline) -> Opened {
    match kind {
        CheckKind::Postgres(check) => postgres::open(check, address, addresses, deadline).await,
        CheckKind::Mysql(check) => mysql::open(check, address, addresses, deadline).await,
        other => {
            let why = format!(
                "the check ({}) cannot see which sessions are inside a transaction: they are left to end by themselves until the \
                 drain's timeout; a check that logs in to the database can",
                other.name()
            );
            (None, vec![why.into()])
        }
    }
}
