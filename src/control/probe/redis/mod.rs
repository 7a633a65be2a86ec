//! The Redis check: `AUTH` where a password is given, then `PING` and `INFO` over a session that stays open.
//!
//! `INFO` is answered also while the server loads its data and while a replica has lost its primary, so it tells the role;
//! `PING` is not, so it tells whether clients are served. A role that may do no more than these two is enough.
//!
//! | file | what it holds |
//! |---|---|
//! | `resp` | the protocol, as much of it as a check reads |
//! | `facts` | what `INFO` says of the server |
//! | `classify` | which outcome an error reply is |

mod classify;
mod facts;
pub mod resp;

use std::{io, net::SocketAddr, sync::Arc};

use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout_at,
};
use tokio_rustls::TlsConnector;

use self::resp::Reply;
use super::{
    Deadline, Failure, Finding,
    bounded::{Allowance, Bounded, Garbage},
    io_error,
    standing::Broken,
    tcp, tls,
};
use crate::{
    config::{RedisCheck, TlsMode},
    failover::Outcome,
    net::addr::BackendAddr,
};

/// A connection, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// How the check logs in to one backend.
#[derive(Clone, Debug)]
pub struct Login {
    host: Arc<str>,
    check: Arc<RedisCheck>,
}

/// A session that stays open between probes.
pub struct Standing {
    stream: Box<dyn Stream>,
    allowance: Allowance,
    /// What was received and not understood yet.
    received: Vec<u8>,
    /// As the server named it at the login.
    version: Option<Arc<str>>,
    broken: Option<Broken>,
}

impl std::fmt::Debug for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standing").field("version", &self.version).field("broken", &self.broken).finish_non_exhaustive()
    }
}

impl Login {
    /// A login to `address` as `check` says.
    pub fn new(address: &BackendAddr, check: &RedisCheck) -> Self {
        Self { host: address.host().into(), check: Arc::new(check.clone()) }
    }

    /// Connects, logs in and asks, all before `deadline`.
    ///
    /// # Errors
    /// Whatever is not an answer to the question.
    pub async fn open(&self, addresses: &[SocketAddr], deadline: Deadline) -> Result<(Standing, Finding), Failure> {
        let (socket, _) = tcp::connect(addresses, deadline).await?;
        let allowance = Allowance::new();
        let opening = self.converse(Bounded::new(socket, allowance.clone()), allowance);
        match timeout_at(deadline.at(), opening).await {
            Ok(Ok((standing, finding))) if finding.outcome == Outcome::Ok => Ok((standing, finding)),
            Ok(Ok((_, finding)) | Err(finding)) => Err(Failure::Backend(finding)),
            Err(_) => Err(Failure::Backend(late("connected, but the check was not answered", deadline))),
        }
    }

    async fn converse(&self, socket: Bounded, allowance: Allowance) -> Result<(Standing, Finding), Finding> {
        let stream = self.encrypt(socket).await?;
        let mut standing = Standing { stream, allowance, received: Vec::new(), version: None, broken: None };
        if let Some(password) = &self.check.password {
            let user = self.check.user.as_deref();
            let words: Vec<&str> = ["AUTH"].into_iter().chain(user).chain([password.expose()]).collect();
            if let Reply::Error(error) = standing.ask(&words).await? {
                return Err(classify::error(&error));
            }
        }
        let finding = standing.look().await?;
        Ok((standing, finding))
    }

    async fn encrypt(&self, socket: Bounded) -> Result<Box<dyn Stream>, Finding> {
        if self.check.tls == TlsMode::Off {
            return Ok(Box::new(socket));
        }
        let misconfigured = |why: String| Finding::new(Outcome::Misconfigured, why);
        let config = tls::client(self.check.tls, self.check.tls_ca_file.as_deref()).map_err(misconfigured)?;
        let name = ServerName::try_from(self.host.to_string())
            .map_err(|error| misconfigured(format!("{} is no name for a certificate: {error}", self.host)))?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.map_err(|error| io_error(&error))?;
        Ok(Box::new(stream))
    }
}

impl Standing {
    /// Asks for role, lag and the rest. After any outcome but `ok` the session is of no more use.
    pub async fn query(&mut self, deadline: Deadline) -> Finding {
        self.allowance.renew();
        match timeout_at(deadline.at(), self.look()).await {
            Ok(Ok(finding)) => finding,
            Ok(Err(finding)) => {
                if finding.outcome == Outcome::Closed {
                    self.broken = Some(Broken::Lost(finding.clone()));
                }
                finding
            }
            Err(_) => late("logged in, but the check was not answered", deadline),
        }
    }

    /// Resolves when the session is over, the moment the kernel tells. May be asked again.
    pub async fn broken(&mut self) -> Broken {
        if let Some(broken) = &self.broken {
            return broken.clone();
        }
        let finding = match self.stream.read(&mut [0; 64]).await {
            Ok(0) => io_error(&io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Finding::new(Outcome::ProtocolError, "the server spoke without being asked"),
            Err(error) => io_error(&error),
        };
        self.broken.insert(Broken::Lost(finding)).clone()
    }

    /// How the session ended, if that is known.
    pub fn ended(&self) -> Option<Broken> {
        self.broken.clone()
    }

    /// Logs out.
    pub async fn close(mut self) {
        // Told or not, the check is over.
        let _ = self.stream.shutdown().await;
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
                }
                Reply::Error(error) => return Ok(classify::error(&error)),
                Reply::Status(_) => return Err(out_of_turn()),
            }
        }
        match self.ask(&["INFO", "replication"]).await? {
            Reply::Bulk(info) => Ok(facts::read(&info, self.version.clone())),
            Reply::Error(error) => Ok(classify::error(&error)),
            Reply::Status(_) => Err(out_of_turn()),
        }
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

fn out_of_turn() -> Finding {
    Finding::new(Outcome::ProtocolError, "the server answered out of turn")
}

fn late(what: &str, deadline: Deadline) -> Finding {
    Finding::new(Outcome::Timeout, format!("{what} within {:?}", deadline.timeout()))
}
