//! The checks, one file a protocol.
//!
//! | file | what it holds |
//! |---|---|
//! | [`tcp`] | a connect, which is also the first step of every other check |
//! | [`postgres`], [`mysql`], [`redis`] | a login and a question, or the question alone over a standing session |
//! | [`http`] | a GET of a health endpoint |
//! | [`agreement`] | what a check and a second opinion by HTTP come to together |
//! | [`standing`] | such sessions, whatever the protocol |
//! | [`exec`], [`exchange`] | a command, or texts, of the user's own |
//! | [`single`] | checks that keep no session |
//! | `linger` | how what nobody waits for any more ends |
//! | `socket` | what an error of a socket says |
//! | `stream` | a connection, encrypted or not |
//! | `tls` | what a check demands of the server's certificate |
//! | `x509` | what it needs of one that nobody verifies |
//! | `files` | passwords and certificates, read off the control thread |
//! | `bounded` | a socket that reads so many bytes for one probe and no more |
//!
//! Every check has one [`Deadline`] for all of its steps, so a server that sends a byte now and then gains nothing by it.

pub mod agreement;
pub(crate) mod bounded;
pub mod exchange;
pub mod exec;
mod files;
pub mod http;
mod linger;
pub mod mysql;
pub mod postgres;
pub mod redis;
pub mod single;
mod socket;
pub mod standing;
pub(crate) mod stream;
pub mod tcp;
mod tls;
pub(crate) mod x509;

use std::time::Duration;

use single::Single;
use socket::{garbled, io_error};
use standing::Login;
use tokio::time::Instant;

use super::resolver;
use crate::{
    config::{CheckConfig, CheckKind},
    failover::{Facts, Outcome, Printable},
    net::{addr::BackendAddr, proxy_protocol::Version},
};

/// What a probe learned of the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was found.
    pub outcome: Outcome,
    /// What the backend said of itself; empty unless the outcome is `ok`.
    pub facts: Facts,
    /// One short sentence for people: what was seen.
    pub evidence: Printable,
}

impl Finding {
    fn new(outcome: Outcome, evidence: impl Into<Printable>) -> Self {
        Self { outcome, facts: Facts::default(), evidence: evidence.into() }
    }
}

/// Why a probe brought back no session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The backend, or its silence, is the reason.
    Backend(Finding),
    /// Our own side could not ask (no port, no descriptor, no memory): no evidence about the backend. Holds what was missing.
    Local(Printable),
}

impl Failure {
    fn backend(outcome: Outcome, evidence: impl Into<Printable>) -> Self {
        Self::Backend(Finding::new(outcome, evidence))
    }
}

/// The one moment by which a whole probe must be over. It goes with the probe through all of its steps, and so carries the other
/// thing that is said to all of it: the header that must come before everything else.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    timeout: Duration,
    header: Option<Version>,
}

impl Deadline {
    /// A deadline `timeout` from now.
    pub fn after(timeout: Duration) -> Self {
        Self { at: Instant::now() + timeout, timeout, header: None }
    }

    /// The same for a backend that wants a PROXY header first: it is told that the check speaks for itself.
    #[must_use]
    pub const fn with_header(self, header: Option<Version>) -> Self {
        Self { header, ..self }
    }

    /// What must be sent before anything else.
    const fn header(self) -> Option<&'static [u8]> {
        match self.header {
            Some(version) => Some(version.own()),
            None => None,
        }
    }

    /// How long files may be read for: a part of the whole, so that a disk that hangs is told from a server that does.
    fn for_files(self) -> Duration {
        self.timeout / 4
    }

    /// The moment itself.
    pub const fn at(self) -> Instant {
        self.at
    }

    /// The time the probe was given, for evidence.
    pub const fn timeout(self) -> Duration {
        self.timeout
    }
}

/// Descriptors that the checks of one backend hold at most, so that they are kept from clients.
pub fn descriptors(check: &CheckConfig) -> usize {
    /// A lookup of its name: a socket, or a file.
    const LOOKUP: usize = 1;
    /// A password or a certificate while it is read.
    const FILE: usize = 1;
    /// A session that stays open, and the login that takes its place.
    const SESSIONS: usize = 2;
    /// Both outputs and the process; while it is started, the other ends of the pipes, an input, and two of the standard library.
    const RUN: usize = 8;
    let direct = match &check.kind {
        CheckKind::Tcp | CheckKind::Exchange(_) => 1,
        CheckKind::Http(_) => SESSIONS,
        CheckKind::Postgres(_) | CheckKind::Mysql(_) => SESSIONS + linger::PLACES,
        CheckKind::Redis(check) => SESSIONS + check.sentinels.as_ref().map_or(0, |sentinels| sentinels.addresses.len()),
        CheckKind::Exec(_) => RUN,
    };
    LOOKUP + FILE + direct + usize::from(check.second.is_some())
}

/// Makes one whole probe (with a new login, where the check has one), resolving the name first. Logs out cleanly.
///
/// # Errors
/// When our own side lacked something to ask with; the text says what.
pub async fn once(address: &BackendAddr, kind: &CheckKind, timeout: Duration) -> Result<Finding, Printable> {
    one(address, kind, Deadline::after(timeout)).await
}

/// As [`once`], with a deadline of the caller's making.
///
/// # Errors
/// As [`once`].
pub async fn once_by(address: &BackendAddr, kind: &CheckKind, deadline: Deadline) -> Result<Finding, Printable> {
    one(address, kind, deadline).await
}

/// As [`once`], with the second opinion where the check has one: both within its timeout.
///
/// # Errors
/// When our own side lacked something to ask with; the text says what.
pub async fn whole(address: &BackendAddr, check: &CheckConfig) -> Result<Finding, Printable> {
    let deadline = Deadline::after(check.timeout).with_header(check.proxy_header);
    let Some(second) = &check.second else { return one(address, &check.kind, deadline).await };
    let second = async {
        match resolver::lookup(address).await {
            Ok(addresses) => http::Login::new(address, second).second(&addresses, deadline).await,
            Err(evidence) => agreement::Said::Nothing(evidence),
        }
    };
    let second = async {
        let said = tokio::time::timeout_at(deadline.at(), second).await;
        said.unwrap_or_else(|_| agreement::Said::Nothing(resolver::unresolved(address, deadline.timeout()).evidence))
    };
    let (direct, said) = tokio::join!(one(address, &check.kind, deadline), second);
    Ok(agreement::join(direct?, &said, agreement::Trust::New).finding)
}

async fn one(address: &BackendAddr, kind: &CheckKind, deadline: Deadline) -> Result<Finding, Printable> {
    let addresses = match tokio::time::timeout_at(deadline.at(), resolver::lookup(address)).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(evidence)) => return Ok(Finding::new(Outcome::Unreachable, evidence)),
        Err(_) => return Ok(resolver::unresolved(address, deadline.timeout())),
    };
    let Some(login) = Login::new(address, kind) else { return Single::new(address, kind).probe(&addresses, deadline).await };
    match login.open(&addresses, deadline).await {
        Ok((standing, finding)) => {
            standing.close().await;
            Ok(finding)
        }
        Err(Failure::Backend(finding)) => Ok(finding),
        Err(Failure::Local(evidence)) => Err(evidence),
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::{
        io::AsyncReadExt,
        net::TcpListener,
        sync::{Semaphore, mpsc},
    };

    use super::*;
    use crate::config::{MysqlCheck, PostgresCheck};

    fn check(kind: CheckKind) -> CheckConfig {
        CheckConfig {
            kind,
            second: None,
            interval: Duration::from_secs(1),
            fast_interval: Duration::from_millis(100),
            timeout: Duration::from_secs(1),
            fresh_login: Duration::from_secs(5),
            proxy_header: None,
        }
    }

    /// A server that accepts and never answers: the logins that were given up stay for a moment.
    #[tokio::test]
    async fn a_silent_server_holds_no_more_descriptors_than_are_kept_for_its_checks() {
        const LOGINS: usize = 24;
        for kind in [CheckKind::Postgres(PostgresCheck::default()), CheckKind::Mysql(MysqlCheck::default())] {
            let kept = descriptors(&check(kind.clone()));
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address: BackendAddr = listener.local_addr().unwrap().to_string().parse().unwrap();
            let (places, (peak, mut peaks)) = (Arc::new(Semaphore::new(LOGINS)), mpsc::unbounded_channel());
            tokio::spawn(async move {
                while let Ok((mut client, _)) = listener.accept().await {
                    let place = Arc::clone(&places).acquire_owned().await.unwrap();
                    peak.send(LOGINS - places.available_permits()).unwrap();
                    tokio::spawn(async move {
                        while matches!(client.read(&mut [0; 512]).await, Ok(1..)) {}
                        drop(place);
                    });
                }
            });
            let login = Login::new(&address, &kind).unwrap();
            let addresses = resolver::lookup(&address).await.unwrap();
            for _ in 0..LOGINS {
                assert!(login.open(&addresses, Deadline::after(Duration::from_millis(10))).await.is_err());
            }
            let mut most = 0;
            while let Ok(peak) = peaks.try_recv() {
                most = most.max(peak);
            }
            // More than the three that were once kept for a backend.
            assert!(most > 3 && most <= kept, "{most} at a time, {kept} are kept");
        }
        assert_eq!(descriptors(&check(CheckKind::Tcp)), 3);
    }
}
