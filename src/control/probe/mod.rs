//! The checks, one file or folder for each protocol.
//!
//! | file | what it holds |
//! |---|---|
//! | [`mod@kind`] | what a kind of check is; the table of them is [`config::check_kinds`](crate::config) |
//! | `finding` | the result of a probe |
//! | `deadline` | the moment by which it must be over |
//! | [`tcp`] | a connect, which is also the first step of every other check |
//! | [`postgres`], [`mysql`], [`redis`] | a login and a query, or the query alone over a standing session |
//! | [`http`] | a GET of a health endpoint |
//! | [`agreement`] | combines a check with a second opinion by HTTP |
//! | [`standing`] | such sessions, for any protocol |
//! | [`exec`], [`exchange`] | the user's own command, or texts |
//! | [`single`] | checks that keep no session |
//! | `linger` | how abandoned sessions end |
//! | `socket` | the meaning of a socket error |
//! | `stream` | a connection, encrypted or not |
//! | `tls` | verification of the server's certificate |
//! | `x509` | parts of a certificate that is not verified |
//! | `files` | passwords and certificates, read off the control thread |
//! | `bounded` | a socket that reads a limited number of bytes for one probe |
//!
//! Every check has one [`Deadline`] for all of its steps, so a server cannot extend it by sending a byte now and then.

pub mod agreement;
pub(crate) mod bounded;
mod deadline;
pub mod exchange;
pub mod exec;
mod files;
pub(super) mod finding;
pub mod http;
pub mod kind;
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

pub use deadline::Deadline;
pub use finding::{Broken, Failure, Finding};
use kind::{Check, Kind};
use standing::Login;

use super::resolver;
use crate::{
    config::{CheckConfig, CheckKind, check_kinds},
    failover::{Outcome, Printable},
    net::addr::BackendAddr,
};

macro_rules! of_kinds {
    ($($name:literal: $kind:ident($check:ident), $meaning:literal;)+) => {
        /// The check as its kind makes it.
        pub fn kind(check: &CheckKind) -> &dyn Kind {
            match check { $(CheckKind::$kind(check) => check),+ }
        }
    };
}
check_kinds!(of_kinds);

/// How `address` is logged in to; `None` for a check that does not log in.
pub fn login(address: &BackendAddr, check: &CheckKind) -> Option<Box<dyn Login>> {
    match kind(check).of(address) {
        Check::Login(login) => Some(login),
        Check::Single(_) => None,
    }
}

/// Most descriptors that the checks of one backend hold; they are reserved from clients.
pub fn descriptors(check: &CheckConfig) -> usize {
    /// A lookup of its name: a socket, or a file.
    const LOOKUP: usize = 1;
    /// A password or a certificate while it is read.
    const FILE: usize = 1;
    LOOKUP + FILE + kind(&check.kind).descriptors() + usize::from(check.second.is_some())
}

/// Makes one whole probe (with a new login, where the check has one), resolving the name first. Logs out cleanly.
///
/// # Errors
/// When this machine could not probe; the text says what was missing.
pub async fn once(address: &BackendAddr, kind: &CheckKind, timeout: Duration) -> Result<Finding, Printable> {
    once_by(address, kind, Deadline::after(timeout)).await
}

/// As [`once`], with the second opinion where the check has one: both within its timeout.
///
/// # Errors
/// When this machine could not probe; the text says what was missing.
pub async fn whole(address: &BackendAddr, check: &CheckConfig) -> Result<Finding, Printable> {
    let deadline = Deadline::after(check.timeout).with_header(check.proxy_header);
    let Some(second) = &check.second else { return once_by(address, &check.kind, deadline).await };
    let second = async {
        match resolver::lookup(address).await {
            Ok(addresses) => http::Login::new(address, second).second(&addresses, deadline).await,
            Err(evidence) => agreement::SecondOpinion::Nothing(evidence),
        }
    };
    let second = async {
        let opinion = tokio::time::timeout_at(deadline.at(), second).await;
        opinion.unwrap_or_else(|_| agreement::SecondOpinion::Nothing(resolver::unresolved(address, deadline.timeout()).evidence))
    };
    let (direct, opinion) = tokio::join!(once_by(address, &check.kind, deadline), second);
    Ok(agreement::join(direct?, &opinion, agreement::Trust::New).finding)
}

/// As [`once`], with a given deadline.
///
/// # Errors
/// As [`once`].
pub async fn once_by(address: &BackendAddr, kind: &CheckKind, deadline: Deadline) -> Result<Finding, Printable> {
    let addresses = match tokio::time::timeout_at(deadline.at(), resolver::lookup(address)).await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(evidence)) => return Ok(Finding::new(Outcome::Unreachable, evidence)),
        Err(_) => return Ok(resolver::unresolved(address, deadline.timeout())),
    };
    let login = match self::kind(kind).of(address) {
        Check::Single(mut single) => return single.probe(&addresses, deadline).await,
        Check::Login(login) => login,
    };
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
    use crate::config::{MysqlCheck, PostgresCheck, TcpCheck};

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
            let login = login(&address, &kind).unwrap();
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
        assert_eq!(descriptors(&check(CheckKind::Tcp(TcpCheck))), 3);
    }
}
