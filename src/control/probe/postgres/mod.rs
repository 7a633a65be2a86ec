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
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::oneshot,
    time::{error::Elapsed, timeout, timeout_at},
};
use tokio_postgres::{Client, SimpleQueryMessage, error::SqlState};
use tokio_util::sync::DropGuard;

use super::{
    bounded::{self, Allowance},
    deadline::Deadline,
    files::Password,
    finding::{Broken, Failure, Finding, Refusal},
    kind::{Check, Kind},
    linger::{self, Linger},
    standing::{self, Opened, SESSIONS, Standing as _},
    stream::Security,
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
    /// Of the last session. It lives as long as a session does that has seen it, and no session outlives its server.
    received: Arc<Mutex<Weak<facts::ReceivedTimeline>>>,
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
    received: Arc<facts::ReceivedTimeline>,
    _abandon: DropGuard,
}

/// Why a statement has no answer.
pub(in crate::control) struct Rejected {
    /// The server's code, if it refused.
    pub(in crate::control) state: Option<SqlState>,
    pub(in crate::control) refusal: Refusal,
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
        let (mut standing, _) = self.session(addresses, deadline).await?;
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
        Self {
            host: address.host().into(),
            check,
            password,
            reduced: Arc::default(),
            received: Arc::default(),
            linger: Linger::default(),
        }
    }

    /// What the sessions of this login know that are open.
    fn received(&self) -> Arc<facts::ReceivedTimeline> {
        let mut last = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let received = last.upgrade().unwrap_or_default();
        *last = Arc::downgrade(&received);
        received
    }

    /// A session that was asked nothing yet, and the near end of its connection.
    ///
    /// # Errors
    /// Why there is none.
    pub(in crate::control) async fn session(
        &self,
        addresses: &Addresses,
        deadline: Deadline,
    ) -> Result<(Standing, Option<SocketAddr>), Failure> {
        let (authorities, identity) = (self.check.tls_ca_file.as_deref(), self.check.tls_identity.as_ref());
        let security = Security { host: &self.host, mode: self.check.tls, authorities, identity };
        let (socket, _, tls) = security.connect(addresses, deadline).await?;
        let near = tcp::near(&socket);
        let opening = session::start((socket, tls), self.clone(), deadline);
        match timeout_at(deadline.at(), opening).await {
            Ok(Ok(opened)) => Ok((opened?, near)),
            Ok(Err(_)) => Err(Failure::backend(Outcome::ProtocolError, "the login ended without a result")),
            Err(_) => Err(Failure::Backend(Finding::late("connected, but the login did not finish", deadline))),
        }
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
        let Self { client, ended, broken, .. } = *self;
        drop(client);
        // Its end is told once. A failure here does not matter: the check is over.
        if broken.is_none() {
            drop(timeout(Duration::from_millis(200), ended).await);
        }
    }
}

impl Standing {
    /// Runs a statement; the first row of its answer, if it has one.
    pub(in crate::control) async fn run(&mut self, statement: &str, deadline: Deadline) -> Result<Vec<Option<String>>, Refusal> {
        let answer = self.sql(statement, bounded::LIMIT, deadline).await?;
        let row = answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect()),
            _ => None,
        });
        Ok(row.unwrap_or_default())
    }

    /// Asks something else than the check does; the answer may have so many bytes.
    ///
    /// # Errors
    /// What came instead of an answer.
    pub(in crate::control) async fn sql(
        &mut self,
        sql: &str,
        bytes: usize,
        deadline: Deadline,
    ) -> Result<Vec<SimpleQueryMessage>, Refusal> {
        self.try_sql(sql, bytes, deadline).await.map_err(|error| error.refusal)
    }

    /// The same, with the number of the server's error.
    pub(in crate::control) async fn try_sql(
        &mut self,
        sql: &str,
        bytes: usize,
        deadline: Deadline,
    ) -> Result<Vec<SimpleQueryMessage>, Rejected> {
        self.allowance.grant(bytes);
        let answer = timeout_at(deadline.at(), self.client.simple_query(sql)).await;
        self.rejected(answer, deadline).await
    }

    /// Has the server read a query without running it: how many parameters it has. Two queries in one text are an error.
    pub(in crate::control) async fn parse(&mut self, sql: &str, deadline: Deadline) -> Result<usize, Rejected> {
        self.allowance.renew();
        let statement = timeout_at(deadline.at(), self.client.prepare(sql)).await;
        Ok(self.rejected(statement, deadline).await?.params().len())
    }

    async fn rejected<T>(
        &mut self,
        answer: Result<Result<T, tokio_postgres::Error>, Elapsed>,
        deadline: Deadline,
    ) -> Result<T, Rejected> {
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if error.is_closed() => Err(Rejected { state: None, refusal: self.broken().await.finding().into() }),
            Ok(Err(error)) => {
                let is_denied = error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE);
                let refusal = Refusal { is_denied, why: classify::error(&error).evidence };
                Err(Rejected { state: error.code().cloned(), refusal })
            }
            Err(_) => {
                let late = Finding::late("logged in, but the statement did not end", deadline);
                Err(Rejected { state: None, refusal: late.into() })
            }
        }
    }

    async fn ask(&mut self) -> Finding {
        let mut scope = *self.reduced.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let error = match self.client.simple_query(scope.query()).await {
                Ok(answer) => {
                    *self.reduced.lock().unwrap_or_else(PoisonError::into_inner) = scope;
                    return facts::read(&answer, scope, &self.received);
                }
                Err(error) => error,
            };
            scope = match error.code().and_then(|refusal| scope.without(refusal)) {
                Some(less) => less,
                None if error.is_closed() => {
                    // The task that drives the connection knows why.
                    return self.broken().await.finding();
                }
                None => {
                    self.broken = session::goodbye(&error);
                    return classify::error(&error);
                }
            };
        }
    }
}
