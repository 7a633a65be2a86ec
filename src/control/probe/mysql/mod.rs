//! The `MySQL` check, also for `MariaDB` and Galera: a login and a few queries, or the queries alone over a session that stays
//! open.
//!
//! | file | what it holds |
//! |---|---|
//! | [`wire`] | packets and their contents |
//! | [`handshake`] | the first packets |
//! | [`scramble`] | how a password is proven |
//! | [`answer`] | errors and tables |
//! | [`facts`] | what the server reports |
//! | [`replication`] | the sources of the server |
//! | [`gtids`] | the numbers of its transactions |
//! | [`classify`] | the outcome of an error |
//! | [`conversation`] | a connection, from the greeting to its proper end |

pub mod answer;
mod classify;
mod conversation;
mod facts;
mod gtids;
pub mod handshake;
mod replication;
mod scramble;
pub mod wire;

pub(in crate::control) use self::facts::Dialect;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use tokio::{sync::oneshot, time::timeout_at};

use self::{
    answer::Table,
    conversation::{Account, Conversation, Trouble},
    facts::Answers,
};
use super::{
    bounded,
    deadline::Deadline,
    files::Password,
    finding::{Broken, Failure, Finding, Refusal},
    kind::{Check, Kind},
    linger::{self, Linger},
    socket::io_error,
    standing::{self, Opened, SESSIONS, Standing as _},
    stream::{Security, Tls},
    tcp::{self, Plain},
};
use crate::{
    config::MysqlCheck,
    failover::Outcome,
    net::{addr::BackendAddr, addresses::Addresses},
};

/// `ER_SPECIFIC_ACCESS_DENIED_ERROR`: the account may not ask this. `ER_PARSE_ERROR`, `ER_NOT_SUPPORTED_YET`: the server does not
/// know the statement. Errors that may pass are not among these, because nothing asks again.
const UNANSWERABLE: [u16; 3] = [1227, 1064, 1235];

/// `ER_SPECIFIC_ACCESS_DENIED_ERROR`, `ER_DBACCESS_DENIED_ERROR`, `ER_ACCESS_DENIED_ERROR`, `ER_KILL_DENIED_ERROR`.
const DENIED: [u16; 4] = [1227, 1044, 1045, 1095];

/// How the check logs in to one backend.
#[derive(Clone, Debug)]
pub struct Login {
    host: Arc<str>,
    check: Arc<MysqlCheck>,
    password: Option<Password>,
    /// The account may not see replication. Asked once, and again after a restart of mainstay.
    blind: Arc<AtomicBool>,
    linger: Linger,
}

/// A session that stays open between probes. Dropping it logs out in the background.
#[derive(Debug)]
pub struct Standing {
    conversation: Conversation,
    dialect: Dialect,
    /// Asks for the variables that this server has.
    question: String,
    is_galera: bool,
    check: Arc<MysqlCheck>,
    blind: Arc<AtomicBool>,
    broken: Option<Broken>,
}

/// Why a statement has no answer.
pub(in crate::control) struct Refused {
    /// The server's number, if it refused.
    pub(in crate::control) code: Option<u16>,
    pub(in crate::control) finding: Finding,
}

impl Kind for MysqlCheck {
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
    /// many are already: a server counts those that are cut off, and eventually locks the host out.
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
    pub fn new(address: &BackendAddr, check: &MysqlCheck) -> Self {
        let password = check.password.as_ref().map(Password::new);
        let check = Arc::new(check.clone());
        Self { host: address.host().into(), check, password, blind: Arc::default(), linger: Linger::default() }
    }

    /// A session that was asked nothing of its role yet, and the near end of its connection.
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
        let (opened, opening) = oneshot::channel();
        tokio::spawn(self.clone().run((socket, tls), deadline, opened));
        match timeout_at(deadline.at(), opening).await {
            Ok(Ok(opened)) => Ok((opened.map_err(Failure::Backend)?, near)),
            Ok(Err(_)) => Err(Failure::backend(Outcome::ProtocolError, "the login ended without a result")),
            Err(_) => Err(Failure::Backend(Finding::late("connected, but the login did not finish", deadline))),
        }
    }

    async fn run(self, socket: (Plain, Tls), deadline: Deadline, mut opened: oneshot::Sender<Result<Standing, Finding>>) {
        let standing = tokio::select! {
            standing = self.log_in(socket, deadline) => standing,
            () = self.linger.is_over(opened.closed()) => return,
        };
        // A session that nobody waits for is dropped here, which logs out.
        drop(opened.send(standing));
    }

    async fn log_in(&self, socket: (Plain, Tls), deadline: Deadline) -> Result<Standing, Finding> {
        let password = Password::of(self.password.as_ref(), deadline.for_files()).await;
        let account = Account { check: &self.check, password: password.as_ref(), deadline, linger: &self.linger };
        let (conversation, version) = Conversation::begin(socket, account).await?;
        let mut standing = Standing {
            conversation,
            dialect: Dialect::new(&version),
            question: String::new(),
            is_galera: false,
            check: Arc::clone(&self.check),
            blind: Arc::clone(&self.blind),
            broken: None,
        };
        standing.learn().await.map_err(|trouble| trouble.finding())?;
        Ok(standing)
    }
}

#[async_trait]
impl standing::Standing for Standing {
    async fn query(&mut self, deadline: Deadline) -> Finding {
        self.conversation.renew();
        match timeout_at(deadline.at(), self.ask()).await {
            Ok(Ok(finding)) => finding,
            Ok(Err(trouble)) => {
                let finding = trouble.finding();
                if let Trouble::Server(error) = &trouble
                    && classify::SHUTDOWN.contains(&error.code)
                {
                    self.broken = Some(Broken::Shutdown(finding.clone()));
                } else if finding.outcome == Outcome::Closed {
                    self.broken = Some(Broken::Lost(finding.clone()));
                }
                finding
            }
            Err(_) => Finding::late("logged in, but the questions were not answered", deadline),
        }
    }

    async fn broken(&mut self) -> Broken {
        if let Some(broken) = &self.broken {
            return broken.clone();
        }
        let broken = match self.conversation.unasked().await {
            // A server that stops, or an administrator who ends this session, sends an error before the close.
            Ok(Some(error)) if classify::SHUTDOWN.contains(&error.code) => Broken::Shutdown(classify::error(&error)),
            Ok(Some(error)) => Broken::Lost(classify::error(&error)),
            Ok(None) => Broken::Lost(Finding::new(Outcome::ProtocolError, "the server spoke without being asked")),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Broken::Closed(io_error(&error)),
            Err(error) => Broken::Lost(io_error(&error)),
        };
        self.broken.insert(broken).clone()
    }

    fn ended(&mut self) -> Option<Broken> {
        self.broken.clone()
    }

    async fn close(self: Box<Self>) {
        self.conversation.close().await;
    }
}

impl Standing {
    /// Runs a statement.
    pub(in crate::control) async fn run(&mut self, statement: &str, deadline: Deadline) -> Result<Table, Refusal> {
        self.sql(statement, bounded::LIMIT, deadline).await.map_err(|refused| Refusal {
            is_denied: refused.code.is_some_and(|code| DENIED.contains(&code)),
            why: refused.finding.evidence,
        })
    }

    /// The kind of server.
    pub(in crate::control) const fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// It is a node of a Galera cluster.
    pub(in crate::control) const fn is_galera(&self) -> bool {
        self.is_galera
    }

    /// Asks something else than the check does; the answer may have so many bytes.
    ///
    /// # Errors
    /// The server's own refusal, or what came instead of an answer.
    pub(in crate::control) async fn sql(&mut self, sql: &str, bytes: usize, deadline: Deadline) -> Result<Table, Refused> {
        self.conversation.grant(bytes);
        match timeout_at(deadline.at(), self.conversation.query(sql)).await {
            Ok(Ok(table)) => Ok(table),
            Ok(Err(trouble)) => Err(Refused {
                code: if let Trouble::Server(error) = &trouble { Some(error.code) } else { None },
                finding: trouble.finding(),
            }),
            Err(_) => Err(Refused { code: None, finding: Finding::late("logged in, but the statement did not end", deadline) }),
        }
    }

    /// Which variables this server has, once per login: a query for one that it lacks is an error.
    async fn learn(&mut self) -> Result<(), Trouble> {
        let names = facts::VARIABLES.map(|name| format!("'{name}'")).join(", ");
        let table = self.conversation.query(&format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({names})")).await?;
        let present = facts::VARIABLES.iter().filter(|name| table.named(name).is_some());
        let mut columns: Vec<String> = present.map(|name| format!("@@global.{name} AS {name}")).collect();
        columns.extend(table.named("server_uuid").map(|_| facts::OWN.to_owned()));
        if columns.is_empty() {
            let finding = Finding::new(Outcome::Misconfigured, "the server has none of the variables that tell its role");
            return Err(Trouble::Found(finding));
        }
        self.question = format!("SELECT {}", columns.join(", "));
        self.is_galera = table.named("wsrep_on").is_some_and(facts::is_on);
        Ok(())
    }

    async fn ask(&mut self) -> Result<Finding, Trouble> {
        // The state of the node first: one that is not ready refuses the other queries.
        let galera = if self.is_galera { Some(self.conversation.query(facts::GALERA).await?) } else { None };
        let variables = self.conversation.query(&self.question).await?;
        let replication = self.replication().await?;
        let answers = Answers { variables: &variables, replication: replication.as_ref(), galera: galera.as_ref() };
        Ok(facts::read(&self.dialect, &answers, self.check.writable_replica))
    }

    async fn replication(&mut self) -> Result<Option<Table>, Trouble> {
        if self.is_galera || self.blind.load(Ordering::Relaxed) {
            return Ok(None);
        }
        match self.conversation.query(self.dialect.replication()).await {
            Ok(table) => Ok(Some(table)),
            Err(Trouble::Server(error)) if UNANSWERABLE.contains(&error.code) => {
                self.blind.store(true, Ordering::Relaxed);
                Ok(None)
            }
            Err(trouble) => Err(trouble),
        }
    }
}
