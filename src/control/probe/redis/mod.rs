//! The Redis check: `AUTH` if there is a password, then `PING` and `INFO` over a session that stays open.
//!
//! `INFO` is answered even while the server loads its data and while a replica has lost its primary, so it tells the role. `PING`
//! is not, so it tells whether clients are served. A user that may do only these two is enough.
//!
//! | file | what it holds |
//! |---|---|
//! | `resp` | the protocol, as much of it as a check reads |
//! | `facts` | what `INFO` reports |
//! | `classify` | the outcome of an error reply |
//! | `sentinel` | a second opinion on which server is the primary |

mod classify;
pub(crate) mod facts;
pub mod resp;
mod sentinel;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Mutex as AsyncMutex,
    time::timeout_at,
};

use self::{
    resp::Reply,
    sentinel::{Named, SentinelMonitor},
};
use super::{
    bounded::{Allowance, Bounded, Garbage},
    deadline::Deadline,
    files::Password,
    finding::{Broken, Failure, Finding, Refusal},
    kind::{Check, Kind},
    socket::io_error,
    standing::{self, Opened, SESSIONS},
    stream::{Security, Stream, Tls},
    tcp::Plain,
};
use crate::{
    config::RedisCheck,
    failover::{Outcome, Printable, Role},
    net::{addr::BackendAddr, addresses::Addresses, endpoint::Endpoint},
};

/// How far a login came that was not over in time.
const UNANSWERED: &str = "connected, but the check was not answered";

/// How the check logs in to one backend.
#[derive(Clone, Debug)]
pub struct Login {
    host: Arc<str>,
    check: Arc<RedisCheck>,
    password: Option<Password>,
    council: Arc<AsyncMutex<Option<SentinelMonitor>>>,
    /// The process that was seen as a standby: if it is a primary later, it was promoted, and did not come back as one.
    witnessed: Arc<Mutex<Option<Arc<str>>>>,
}

/// A session that stays open between probes.
pub struct Standing {
    stream: Box<dyn Stream>,
    allowance: Allowance,
    /// What was received and not understood yet.
    received: Vec<u8>,
    login: Login,
    peer: Endpoint,
    /// As the server named it at the login.
    version: Option<Printable>,
    run_id: Option<Arc<str>>,
    broken: Option<Broken>,
}

impl std::fmt::Debug for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standing").field("version", &self.version).field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl Kind for RedisCheck {
    fn of(&self, address: &BackendAddr) -> Check {
        Check::Login(Box::new(Login::new(address, self)))
    }

    fn descriptors(&self) -> usize {
        SESSIONS + self.sentinels.as_ref().map_or(0, |sentinels| sentinels.addresses.len())
    }
}

#[async_trait]
impl standing::Login for Login {
    async fn open(&self, addresses: &Addresses, deadline: Deadline) -> Result<Opened, Failure> {
        let mut standing = self.session(addresses, deadline).await?;
        let finding = match timeout_at(deadline.at(), standing.look()).await {
            Ok(look) => look.map_err(Failure::Backend)?,
            Err(_) => return Err(Failure::Backend(Finding::late(UNANSWERED, deadline))),
        };
        standing::opened(standing, finding)
    }
}

impl Login {
    /// A login to `address` as `check` says.
    pub fn new(address: &BackendAddr, check: &RedisCheck) -> Self {
        let (host, password) = (address.host().into(), check.password.as_ref().map(Password::new));
        Self { host, check: Arc::new(check.clone()), password, council: Arc::default(), witnessed: Arc::default() }
    }

    /// A session over which nothing was asked yet.
    pub(in crate::control) async fn session(&self, addresses: &Addresses, deadline: Deadline) -> Result<Standing, Failure> {
        let (authorities, identity) = (self.check.tls_ca_file.as_deref(), self.check.tls_identity.as_ref());
        let security = Security { host: &self.host, mode: self.check.tls, authorities, identity };
        let (socket, peer, tls) = security.connect(addresses, deadline).await?;
        let opening = self.log_in(socket, tls, peer, deadline);
        match timeout_at(deadline.at(), opening).await {
            Ok(opened) => opened.map_err(Failure::Backend),
            Err(_) => Err(Failure::Backend(Finding::late(UNANSWERED, deadline))),
        }
    }

    async fn log_in(&self, socket: Plain, tls: Tls, peer: Endpoint, deadline: Deadline) -> Result<Standing, Finding> {
        let allowance = Allowance::new();
        let stream = tls.encrypt(Bounded::new(socket, allowance.clone())).await?;
        let login = self.clone();
        let mut standing =
            Standing { stream, allowance, received: Vec::new(), login, peer, version: None, run_id: None, broken: None };
        if let Some(password) = Password::of(self.password.as_ref(), deadline.for_files()).await {
            let user = self.check.user.as_deref();
            let words: Vec<&str> = ["AUTH"].into_iter().chain(user).chain([password.expose()]).collect();
            if let Reply::Error(error) = standing.ask(&words).await? {
                return Err(classify::error(&error));
            }
        }
        Ok(standing)
    }

    /// The server that the Sentinels name, if there are any.
    async fn named(&self) -> Option<Named> {
        let sentinels = self.check.sentinels.as_ref()?;
        self.council.lock().await.get_or_insert_with(|| SentinelMonitor::convene(sentinels)).named().await
    }
}

#[async_trait]
impl standing::Standing for Standing {
    async fn query(&mut self, deadline: Deadline) -> Finding {
        self.allowance.renew();
        match timeout_at(deadline.at(), self.look()).await {
            Ok(Ok(finding)) => finding,
            Ok(Err(finding)) => {
                if finding.outcome == Outcome::Closed {
                    self.broken = Some(Broken::Lost(finding.clone()));
                }
                finding
            }
            Err(_) => Finding::late("logged in, but the check was not answered", deadline),
        }
    }

    async fn broken(&mut self) -> Broken {
        if let Some(broken) = &self.broken {
            return broken.clone();
        }
        let broken = match self.stream.read(&mut [0; 64]).await {
            Ok(0) => Broken::Closed(io_error(&io::ErrorKind::UnexpectedEof.into())),
            Ok(_) => Broken::Lost(Finding::new(Outcome::ProtocolError, "the server spoke without being asked")),
            Err(error) => Broken::Lost(io_error(&error)),
        };
        self.broken.insert(broken).clone()
    }

    fn ended(&mut self) -> Option<Broken> {
        self.broken.clone()
    }

    async fn close(mut self: Box<Self>) {
        // A failure here does not matter: the check is over.
        let _ = self.stream.shutdown().await;
    }
}

impl Standing {
    /// Gives a command.
    pub(in crate::control) async fn run(&mut self, words: &[&str], deadline: Deadline) -> Result<Reply, Refusal> {
        self.allowance.renew();
        match timeout_at(deadline.at(), self.ask(words)).await {
            Ok(Ok(Reply::Error(error))) => {
                Err(Refusal { is_denied: resp::code(&error) == "NOPERM", why: classify::error(&error).evidence })
            }
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Finding::late("logged in, but the command was not answered", deadline).into()),
        }
    }

    async fn look(&mut self) -> Result<Finding, Finding> {
        let served = self.ask(&["PING"]).await?;
        if let Reply::Error(error) = &served
            // A replica that serves nothing without its primary is still a replica.
            && resp::code(error) != "MASTERDOWN"
        {
            return Ok(classify::error(error));
        }
        if self.version.is_none() {
            match self.ask(&["INFO", "server"]).await? {
                Reply::Bulk(info) => {
                    self.version = facts::version(&info).map_err(|why| Finding::new(Outcome::Misconfigured, why))?;
                    self.run_id = facts::run_id(&info);
                }
                Reply::Error(error) => return Ok(classify::error(&error)),
                Reply::Status(_) | Reply::List(_) => return Err(no_info()),
            }
        }
        match self.ask(&["INFO", "replication"]).await? {
            Reply::Bulk(info) => Ok(self.compare(facts::read(&info, self.version.clone())).await),
            Reply::Error(error) => Ok(classify::error(&error)),
            Reply::Status(_) | Reply::List(_) => Err(no_info()),
        }
    }

    /// The server's own role combined with the opinion of the Sentinels.
    ///
    /// | the server | the Sentinels name | it was seen as a standby | then it is |
    /// |---|---|---|---|
    /// | primary | none (no Sentinel answers, or none is configured) | · | primary |
    /// | primary | this server | · | primary, with their count as its epoch |
    /// | primary | another | yes | primary: just promoted, they will name it soon |
    /// | primary | another | no | nothing: an old primary that came back |
    /// | standby | · | · | standby |
    async fn compare(&self, mut finding: Finding) -> Finding {
        let witnessed = || self.login.witnessed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match finding.facts.role {
            Some(Role::Standby) => {
                self.login.witnessed.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.run_id);
            }
            Some(Role::Primary) => match self.login.named().await {
                Some(named) if named.is(&self.login.host, &self.peer) => finding.facts.db_epoch = Some(named.config_epoch),
                Some(named) if self.run_id.is_none() || witnessed() != self.run_id => {
                    finding.facts.role = Some(Role::Unknown);
                    let Named { host, port, .. } = named;
                    let host: String = host.chars().filter(char::is_ascii_graphic).take(80).collect();
                    finding.evidence = format!("says that it is primary, but the Sentinels name {host}:{port}").into();
                }
                _ => {}
            },
            _ => {}
        }
        finding
    }

    async fn ask(&mut self, words: &[&str]) -> Result<Reply, Finding> {
        self.converse(words).await.map_err(|error| io_error(&error))
    }

    async fn converse(&mut self, words: &[&str]) -> io::Result<Reply> {
        self.stream.write_all(&resp::command(words)).await?;
        self.stream.flush().await?;
        loop {
            if let Some((reply, length)) = resp::parse(&self.received).map_err(Garbage)? {
                self.received.drain(..length);
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// It speaks the protocol, so it is alive, even if something stands in front of it.
fn no_info() -> Finding {
    Finding::new(
        Outcome::Misconfigured,
        "the answer to INFO is none: a proxy in front of Redis is asked, or a server of another kind",
    )
}
