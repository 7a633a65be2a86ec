//! The task that drives a connection: TLS, login, then the queries of the standing session, up to a proper end.
//!
//! It is a separate task, so that a deadline never cuts a connection off in the middle: the server would log a line for each.
//! Abandoned connections get a moment to log out.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::oneshot,
};
use tokio_postgres::{
    Client, Config, Connection, NoTls,
    config::SslMode,
    error::{DbError, SqlState},
    tls::NoTlsStream,
};
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        bounded::{Allowance, Bounded, Garbage, quote},
        deadline::Deadline,
        files::Password,
        finding::{Broken, Failure, Finding},
        socket::io_error,
        stream::{self, Stream, Tls},
        tcp::Plain,
    },
    Login, Standing, classify,
    login::{self, Begun, Peer},
};
use crate::{config::TlsMode, failover::Outcome, wire};

type Driver = Connection<Begun, NoTlsStream>;

/// Starts the login over `socket`; the receiver gets the session.
pub(super) fn start(socket: (Plain, Tls), login: Login, deadline: Deadline) -> oneshot::Receiver<Result<Standing, Failure>> {
    let (opened, opening) = oneshot::channel();
    tokio::spawn(run(socket, login, deadline, opened));
    opening
}

async fn run(
    (socket, tls): (Plain, Tls),
    login: Login,
    deadline: Deadline,
    mut opened: oneshot::Sender<Result<Standing, Failure>>,
) {
    let allowance = Allowance::new();
    let is_unix = matches!(socket, Plain::Right(_));
    let socket = Bounded::new(socket, allowance.clone());
    let connected = tokio::select! {
        connected = connect((socket, tls), is_unix, &login, deadline) => connected,
        () = login.linger.is_over(opened.closed()) => return,
    };
    let (client, driver) = match connected {
        Ok(connected) => connected,
        Err(failure) => {
            // Nobody waits any more: the deadline was first.
            drop(opened.send(Err(failure)));
            return;
        }
    };
    let abandoned = CancellationToken::new();
    let (end, ended) = oneshot::channel();
    let received = login.received();
    let (reduced, abandon) = (login.reduced, abandoned.clone().drop_guard());
    let standing = Standing { client, ended, broken: None, allowance, reduced, received, _abandon: abandon };
    // A session that nobody waits for is dropped here, which logs out.
    drop(opened.send(Ok(standing)));
    let broken = tokio::select! {
        result = driver => broken(result),
        () = login.linger.is_over(abandoned.cancelled()) => return,
    };
    drop(end.send(broken));
}

async fn connect(
    (mut stream, tls): (Bounded, Tls),
    is_unix: bool,
    login: &Login,
    deadline: Deadline,
) -> Result<(Client, Driver), Failure> {
    let check = &*login.check;
    let password = Password::of(login.password.as_ref(), deadline.for_files()).await;
    let is_encrypted = negotiate(&mut stream, check.tls).await?;
    let (stream, end_point): (Box<dyn Stream>, _) = if is_encrypted {
        let stream = tls.handshake(stream).await.map_err(Failure::Backend)?;
        let end_point = stream::end_point(&stream);
        (Box::new(stream), end_point)
    } else {
        stream.expect_greeting();
        (Box::new(stream), None)
    };
    let peer = Peer { is_verified: is_unix || check.tls == TlsMode::VerifyFull, is_encrypted, end_point };
    let begun = login::log_in(stream, peer, check, password, deadline).await.map_err(Failure::Backend)?;
    let mut config = Config::new();
    config.user(&check.user).ssl_mode(SslMode::Disable);
    config.connect_raw(begun, NoTls).await.map_err(|error| Failure::Backend(classify::error(&error)))
}

/// Asks for TLS. After an `S` there is no way back to clear text. Only one byte is read: what an attacker sends ahead in clear text
/// must not count as part of the encrypted stream.
async fn negotiate(stream: &mut Bounded, mode: TlsMode) -> Result<bool, Failure> {
    if mode == TlsMode::Off {
        return Ok(false);
    }
    let mut answer = [0];
    let asked = async {
        stream.write_all(&wire::postgres::SSL).await?;
        stream.read_exact(&mut answer).await
    };
    asked.await.map_err(|error| Failure::Backend(io_error(&error)))?;
    match &answer {
        b"S" => Ok(true),
        b"N" if mode == TlsMode::Prefer => Ok(false),
        b"N" => Err(Failure::backend(Outcome::Misconfigured, format!("the server offers no TLS, but the check has tls: {mode}"))),
        other => {
            let garbage = Garbage(format!("it does not speak PostgreSQL: its answer begins with {}", quote(other)));
            Err(Failure::backend(Outcome::ProtocolError, garbage.to_string()))
        }
    }
}

fn broken(result: Result<(), tokio_postgres::Error>) -> Broken {
    let Err(error) = result else { return Broken::Lost(Finding::new(Outcome::Closed, "the check logged out")) };
    goodbye(&error).unwrap_or_else(|| Broken::Lost(classify::error(&error)))
}

/// The server ended the session and said so. To a session that has just asked something, that is the answer.
pub(super) fn goodbye(error: &tokio_postgres::Error) -> Option<Broken> {
    let finding = || classify::error(error);
    // admin_shutdown 57P01, crash_shutdown 57P02. A backend whose postmaster is gone sends 57P01 as well (be-secure.c); the name of
    // the function is the same in every language.
    let is_orphan = error.as_db_error().and_then(DbError::routine).is_some_and(|name| name.starts_with("secure_"));
    match error.code() {
        Some(&SqlState::ADMIN_SHUTDOWN) if is_orphan => Some(Broken::Orphaned(finding())),
        Some(&SqlState::ADMIN_SHUTDOWN) => Some(Broken::Shutdown(finding())),
        Some(&SqlState::CRASH_SHUTDOWN) => Some(Broken::Crash(finding())),
        _ => None,
    }
}
