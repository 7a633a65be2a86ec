//! Checks that log in, whatever the protocol: the login, and the session that stays open after it.
//!
//! The standing session is cheap to ask, and the kernel tells at once when it breaks. It proves nothing about new clients: a hung
//! server may keep old sessions alive. So a whole new login is made now and then (`fresh_login`).

use super::{Deadline, Failure, Finding, http, mysql, postgres, redis};
use crate::{
    config::CheckKind,
    failover::Outcome,
    net::{addr::BackendAddr, addresses::Addresses},
};

/// How a check logs in to one backend.
#[derive(Clone, Debug)]
pub enum Login {
    /// To `PostgreSQL`.
    Postgres(postgres::Login),
    /// To `MySQL` or `MariaDB`.
    Mysql(mysql::Login),
    /// To Redis.
    Redis(redis::Login),
    /// To a health endpoint.
    Http(http::Login),
}

/// A session of a check that stays open between probes. Dropping it logs out.
#[derive(Debug)]
pub enum Standing {
    /// With `PostgreSQL`.
    Postgres(postgres::Standing),
    /// With `MySQL` or `MariaDB`.
    Mysql(mysql::Standing),
    /// With Redis.
    Redis(redis::Standing),
    /// With a health endpoint.
    Http(http::Standing),
}

/// How a standing session ended. Holds what was seen, as a probe would have reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Without a word of the server: FIN, RST, or an error.
    Lost(Finding),
    /// It ended in order (FIN), without a word.
    Closed(Finding),
    /// The server said that it, or this session, is being shut down.
    Shutdown(Finding),
    /// The server said that it ends all its sessions because one of its processes has crashed.
    Crash(Finding),
    /// A process of the server said that the main one is gone: it died, and nobody shut it down.
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

impl Login {
    /// A login to `address` by a check of this kind; `None` for one that does not log in.
    pub fn new(address: &BackendAddr, kind: &CheckKind) -> Option<Self> {
        match kind {
            CheckKind::Tcp | CheckKind::Exec(_) | CheckKind::Exchange(_) => None,
            CheckKind::Postgres(check) => Some(Self::Postgres(postgres::Login::new(address, check))),
            CheckKind::Mysql(check) => Some(Self::Mysql(mysql::Login::new(address, check))),
            CheckKind::Redis(check) => Some(Self::Redis(redis::Login::new(address, check))),
            CheckKind::Http(check) => Some(Self::Http(http::Login::new(address, check))),
        }
    }

    /// A login that is refused is a line in the server's log, or a burden on it.
    pub const fn is_costly(&self) -> bool {
        matches!(self, Self::Postgres(_) | Self::Mysql(_))
    }

    /// Connects, logs in and asks, all before `deadline`. Needs a tokio runtime.
    ///
    /// # Errors
    /// Whatever is not an answer to the question.
    pub async fn open(&self, addresses: &Addresses, deadline: Deadline) -> Result<(Standing, Finding), Failure> {
        match self {
            Self::Postgres(login) => {
                let (standing, finding) = login.open(addresses, deadline).await?;
                Ok((Standing::Postgres(standing), finding))
            }
            Self::Mysql(login) => {
                let (standing, finding) = login.open(addresses, deadline).await?;
                Ok((Standing::Mysql(standing), finding))
            }
            Self::Redis(login) => {
                let (standing, finding) = login.open(addresses, deadline).await?;
                Ok((Standing::Redis(standing), finding))
            }
            Self::Http(login) => {
                let (standing, finding) = login.open(addresses, deadline).await?;
                Ok((Standing::Http(standing), finding))
            }
        }
    }
}

impl Standing {
    /// Asks for role, lag and the rest. After any outcome but `ok` the session is of no more use.
    pub async fn query(&mut self, deadline: Deadline) -> Finding {
        match self {
            Self::Postgres(standing) => standing.query(deadline).await,
            Self::Mysql(standing) => standing.query(deadline).await,
            Self::Redis(standing) => standing.query(deadline).await,
            Self::Http(standing) => standing.query(deadline).await,
        }
    }

    /// It still answers, however it answers.
    pub async fn still_serves(&mut self, deadline: Deadline) -> bool {
        self.query(deadline).await.outcome == Outcome::Ok
    }

    /// It may be asked again. A server of HTTP may close a connection after any answer, which is neither a loss nor a standing
    /// session.
    pub const fn lasts(&self) -> bool {
        match self {
            Self::Postgres(_) | Self::Mysql(_) | Self::Redis(_) => true,
            Self::Http(standing) => standing.lasts(),
        }
    }

    /// The last question met a connection that was closed because it was idle: it is to be asked over a new one.
    pub const fn is_stale(&self) -> bool {
        matches!(self, Self::Http(standing) if standing.is_stale())
    }

    /// Resolves when the session is over, the moment the kernel or the server tells. May be asked again.
    pub async fn broken(&mut self) -> Broken {
        match self {
            Self::Postgres(standing) => standing.broken().await,
            Self::Mysql(standing) => standing.broken().await,
            Self::Redis(standing) => standing.broken().await,
            Self::Http(standing) => standing.broken().await,
        }
    }

    /// How the session ended, if it has.
    pub fn ended(&mut self) -> Option<Broken> {
        match self {
            Self::Postgres(standing) => standing.ended(),
            Self::Mysql(standing) => standing.ended(),
            Self::Redis(standing) => standing.ended(),
            Self::Http(standing) => standing.ended(),
        }
    }

    /// Logs out and waits, for a moment only, until the server was told.
    pub async fn close(self) {
        match self {
            Self::Postgres(standing) => standing.close().await,
            Self::Mysql(standing) => standing.close().await,
            Self::Redis(standing) => standing.close().await,
            // HTTP knows no goodbye.
            Self::Http(standing) => drop(standing),
        }
    }
}
