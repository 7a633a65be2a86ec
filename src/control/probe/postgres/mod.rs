//! The `PostgreSQL` check: a login and one query, or the query alone over a session that stays open.
//!
//! | file | what it holds |
//! |---|---|
//! | `facts` | the one query and how its answer is read |
//! | `classify` | the outcome of an error |
//! | `login` | the start-up message and authentication |
//! | `scram` | SCRAM authentication |
//! | `session` | the task that drives a connection, from the login to its proper end |

mod classify;
mod facts;
pub(crate) mod login;
pub(crate) mod scram;
mod session;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::oneshot, time::timeout_at};
use tokio_postgres::Client;
use tokio_util::sync::DropGuard;

use super::{
    bounded::Allowance,
    deadline::Deadline,
    files::Password,
    finding::{Broken, Failure, Finding},
    kind::{Check, Kind},
    linger::{self, Linger},
    standing::{self, Opened, SESSIONS, Standing as _},
    tcp,
};
use crate::{
    config::PostgresCheck,
    failover::Outcome,
    net::{addr::BackendAddr, addresses::Addresses},
};

/// How the check logs in to one backend.
#[derive(Clone, Debug)]
pub struct Login {
    host: Arc<str>,
    check: Arc<PostgresCheck>,
    password: Option<Password>,
    /// What the role may read. Tried once, because each refusal is a line in the server's log.
    reduced: Arc<Mutex<facts::Scope>>,
    linger: Linger,
}

/// A session of the check that stays open between probes. Dropping it logs out in the background.
#[derive(Debug)]
pub struct Standing {
    client: Client,
    ended: oneshot::Receiver<Broken>,
    broken: Option<Broken>,
    allowance: Allowance,
    reduced: Arc<Mutex<facts::Scope>>,
    _abandon: DropGuard,
}

impl Kind for PostgresCheck {
    fn of(&self, address: &BackendAddr) -> Check {
        Check::Login(Box::new(Login::new(address, self)))
    }

    fn descriptors(&self) -> usize {
        SESSIONS + linger::PLACES
    }
}

#[async_trait]
impl standing::Login for Login {
    /// A login that is still running at the deadline is finished and logged out in the background, within a few seconds, unless too
    /// many are already.
    async fn open(&self, addresses: &Addresses, deadline: Deadline) -> Result<Opened, Failure> {
        let (socket, _) = tcp::connect(addresses, deadline).await?;
        let opening = session::start(socket, self.clone(), deadline);
        let mut standing = match timeout_at(deadline.at(), opening).await {
            Ok(Ok(opened)) => opened?,
            Ok(Err(_)) => return Err(Failure::backend(Outcome::ProtocolError, "the login ended without a result")),
            Err(_) => return Err(Failure::Backend(Finding::late("connected, but the login did not finish", deadline))),
        };
        let finding = standing.query(deadline).await;
        standing::opened(standing, finding)
    }

    fn is_costly(&self) -> bool {
        true
    }
}

impl Login {
    /// A login to `address` as `check` says.
    pub fn new(address: &BackendAddr, check: &PostgresCheck) -> Self {
        let password = check.password.as_ref().map(Password::new);
        let check = Arc::new(check.clone());
        Self { host: address.host().into(), check, password, reduced: Arc::default(), linger: Linger::default() }
    }
}

#[async_trait]
impl standing::Standing for Standing {
    async fn query(&mut self, deadline: Deadline) -> Finding {
        self.allowance.renew();
        match timeout_at(deadline.at(), self.ask()).await {
            Ok(finding) => finding,
            Err(_) => Finding::late("logged in, but the query was not answered", deadline),
        }
    }

    async fn broken(&mut self) -> Broken {
        if let Some(broken) = &self.broken {
            return broken.clone();
        }
        let broken =
            (&mut self.ended).await.unwrap_or_else(|_| Broken::Lost(Finding::new(Outcome::Closed, "the session's task ended")));
        self.broken.insert(broken).clone()
    }

    fn ended(&mut self) -> Option<Broken> {
        if self.broken.is_none() {
            self.broken = self.ended.try_recv().ok();
        }
        self.broken.clone()
    }

    async fn close(self: Box<Self>) {
        let Self { client, ended, .. } = *self;
        drop(client);
        // A failure here does not matter: the check is over.
        drop(tokio::time::timeout(Duration::from_millis(200), ended).await);
    }
}

impl Standing {
    async fn ask(&mut self) -> Finding {
        let mut scope = *self.reduced.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let error = match self.client.simple_query(scope.query()).await {
                Ok(answer) => {
                    *self.reduced.lock().unwrap_or_else(PoisonError::into_inner) = scope;
                    return facts::read(&answer, scope);
                }
                Err(error) => error,
            };
            scope = match error.code().and_then(|refusal| scope.without(refusal)) {
                Some(less) => less,
                None if error.is_closed() => {
                    // The task that drives the connection knows why.
                    return self.broken().await.finding();
                }
                None => return classify::error(&error),
            };
        }
    }
}
