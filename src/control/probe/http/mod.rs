//! The HTTP check: one GET of a health endpoint. Its status, and its body if it is Patroni's, tell the role.
//!
//! A server that keeps connections is asked again over the same one; for one that closes them after each answer, as Patroni does,
//! each probe connects. Neither is a standing session whose end is evidence: any server may close an idle connection.
//!
//! | file | what it holds |
//! |---|---|
//! | `request` | the request |
//! | `session` | a connection: one request at a time |
//! | `facts` | what Patroni's JSON says |
//! | `classify` | the meaning of an answer |

mod classify;
pub(crate) mod facts;
mod request;
mod session;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::timeout_at;

use self::{
    classify::Judgement,
    session::{Interrupted, Session},
};
use super::{
    agreement::SecondOpinion,
    bounded::{Allowance, Bounded},
    deadline::Deadline,
    files::Password,
    finding::{Broken, Failure, Finding},
    kind::{Check, Kind},
    standing::{self, Opened, SESSIONS, Standing as _},
    stream::Security,
};
use crate::{
    config::HttpCheck,
    failover::{Outcome, Role},
    net::{addr::BackendAddr, addresses::Addresses, endpoint::Endpoint},
};

/// How far a probe came that got no answer in time.
const UNANSWERED: &str = "connected, but the request was not answered";

/// How the check asks one backend's endpoint.
#[derive(Clone, Debug)]
pub struct Login {
    /// For `Host` and for the certificate.
    host: Arc<str>,
    check: Arc<HttpCheck>,
    password: Option<Password>,
}

/// A connection between probes, if the server keeps one.
pub struct Standing {
    login: Login,
    address: Endpoint,
    session: Option<Session>,
    stale: bool,
    broken: Option<Broken>,
}

impl std::fmt::Debug for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standing").field("address", &self.address).field("lasts", &self.lasts()).finish_non_exhaustive()
    }
}

impl Kind for HttpCheck {
    fn of(&self, address: &BackendAddr) -> Check {
        Check::Login(Box::new(Login::new(address, self)))
    }

    fn descriptors(&self) -> usize {
        SESSIONS
    }
}

#[async_trait]
impl standing::Login for Login {
    /// `addresses` are those of the backend; the port is the endpoint's own.
    async fn open(&self, addresses: &Addresses, deadline: Deadline) -> Result<Opened, Failure> {
        let (standing, judgement) = self.read(addresses, deadline).await?;
        let finding = judgement.finding;
        standing::opened(standing, finding)
    }
}

impl Login {
    /// A question for the endpoint of `address`, as `check` says.
    pub fn new(address: &BackendAddr, check: &HttpCheck) -> Self {
        let host = check.host.as_deref().unwrap_or(address.host());
        let password = check.login.as_ref().map(|login| Password::new(&login.password));
        Self { host: host.into(), check: Arc::new(check.clone()), password }
    }

    /// The answer of the endpoint, beside another check of the same backend. Total: every failure is part of the result.
    pub async fn second(&self, addresses: &Addresses, deadline: Deadline) -> SecondOpinion {
        match self.read(addresses, deadline).await {
            Ok((_, Judgement { finding, in_order: true })) => match (finding.outcome, finding.facts.role) {
                (Outcome::Ok, Some(Role::Primary)) => SecondOpinion::Primary(finding),
                _ => SecondOpinion::Otherwise(finding),
            },
            Ok((_, Judgement { finding, .. })) | Err(Failure::Backend(finding)) => SecondOpinion::Nothing(finding.evidence),
            Err(Failure::Local(evidence)) => SecondOpinion::Nothing(evidence),
        }
    }

    /// Asks another path of the endpoint, or posts JSON to it: the status, and the body if it is not too long.
    pub(in crate::control) async fn call(
        &self,
        addresses: &Addresses,
        (path, body): (&str, Option<String>),
        deadline: Deadline,
    ) -> Result<(u16, Bytes), Failure> {
        let asking = async {
            let (mut session, address) = self.connect(addresses, deadline).await?;
            let password = Password::of(self.password.as_ref(), deadline.for_files()).await;
            let question = request::call((path, body), &self.check, (&self.host, port_of(&address)), password.as_ref())
                .map_err(|why| Failure::backend(Outcome::Misconfigured, why))?;
            let answer = session.ask(question).await.map_err(|interrupted| Failure::Backend(interrupted.finding))?;
            Ok((answer.status, answer.body.unwrap_or_default()))
        };
        timeout_at(deadline.at(), asking).await.unwrap_or_else(|_| Err(Failure::Backend(Finding::late(UNANSWERED, deadline))))
    }

    async fn read(&self, addresses: &Addresses, deadline: Deadline) -> Result<(Standing, Judgement), Failure> {
        let asking = async {
            let (mut session, address) = self.connect(addresses, deadline).await?;
            let asked = self.ask(&mut session, port_of(&address), deadline).await;
            let judgement = asked.map_err(|interrupted| Failure::Backend(interrupted.finding))?;
            let session = if session.stands().await { Some(session) } else { None };
            Ok((Standing { login: self.clone(), address, session, stale: false, broken: None }, judgement))
        };
        timeout_at(deadline.at(), asking).await.unwrap_or_else(|_| Err(Failure::Backend(Finding::late(UNANSWERED, deadline))))
    }

    async fn connect(&self, addresses: &Addresses, deadline: Deadline) -> Result<(Session, Endpoint), Failure> {
        let port = self.check.port;
        let addresses: Addresses = addresses.in_order().filter_map(|(_, address)| endpoint_of(address, port)).collect();
        // The PROXY header is only for the database's port.
        let greeted = if port.is_some() { deadline.with_header(None) } else { deadline };
        let (authorities, identity) = (self.check.tls_ca_file.as_deref(), self.check.tls_identity.as_ref());
        let security = Security { host: &self.host, mode: self.check.tls, authorities, identity };
        let (socket, address, tls) = security.connect(&addresses, greeted).await?;
        let allowance = Allowance::new();
        let stream = tls.encrypt(Bounded::new(socket, allowance.clone())).await.map_err(Failure::Backend)?;
        Ok((Session::start(stream, allowance).await.map_err(Failure::Backend)?, address))
    }

    async fn ask(&self, session: &mut Session, port: u16, deadline: Deadline) -> Result<Judgement, Interrupted> {
        let misconfigured = |why: String| Finding::new(Outcome::Misconfigured, why);
        let password = Password::of(self.password.as_ref(), deadline.for_files()).await;
        let question = request::build(&self.check, &self.host, port, password.as_ref())
            .map_err(|why| Interrupted { finding: misconfigured(why), unanswered: false })?;
        Ok(classify::judge(&self.check, &session.ask(question).await?))
    }
}

/// Where to connect: the backend's own port, if no other is given. A backend with a unix socket is on this machine, and has no port
/// of its own.
fn endpoint_of(backend: &Endpoint, port: Option<u16>) -> Option<Endpoint> {
    let address = match (backend, port) {
        (Endpoint::Tcp(address), port) => SocketAddr::new(address.ip(), port.unwrap_or(address.port())),
        (Endpoint::Unix(_), port) => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port?),
    };
    Some(address.into())
}

fn port_of(endpoint: &Endpoint) -> u16 {
    endpoint.tcp().map_or(0, |address| address.port())
}

#[async_trait]
impl standing::Standing for Standing {
    /// It may be used again. `false` once the server has closed it normally.
    fn lasts(&self) -> bool {
        self.session.is_some()
    }

    /// It was idle, and was closed while a request was sent, before any answer: no failure, and no answer (RFC 9110, section
    /// 9.2.2).
    fn is_stale(&self) -> bool {
        self.stale
    }

    /// Asks again. The result of a connection that [`Standing::is_stale`] says nothing about the backend.
    async fn query(&mut self, deadline: Deadline) -> Finding {
        let Some(mut session) = self.session.take() else {
            self.stale = true;
            return Finding::new(Outcome::Closed, "the connection was closed");
        };
        let asking = async {
            let asked = self.login.ask(&mut session, port_of(&self.address), deadline).await;
            let stands = asked.is_ok() && session.stands().await;
            (asked, stands)
        };
        match timeout_at(deadline.at(), asking).await {
            Err(_) => Finding::late(UNANSWERED, deadline),
            Ok((Ok(judgement), stands)) => {
                self.session = stands.then_some(session);
                judgement.finding
            }
            Ok((Err(Interrupted { finding, unanswered }), _)) => {
                self.stale = unanswered && finding.outcome == Outcome::Closed;
                finding
            }
        }
    }

    /// Resolves when the connection breaks, and never when the server closes it normally. May be called again.
    async fn broken(&mut self) -> Broken {
        if let Some(broken) = &self.broken {
            return broken.clone();
        }
        let ended = match &mut self.session {
            Some(session) => session.ended().await,
            None => None,
        };
        self.session = None;
        let Some(finding) = ended else { return std::future::pending().await };
        self.broken.insert(Broken::Lost(finding)).clone()
    }

    fn ended(&mut self) -> Option<Broken> {
        self.broken.clone()
    }

    // HTTP has no logout.
    async fn close(self: Box<Self>) {}
}
