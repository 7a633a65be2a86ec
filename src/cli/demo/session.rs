//! A tiny `PostgreSQL` client: log in without a password, one simple query at a time.

use std::{fmt, io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixStream},
};

use super::wire::{self, Message, Outbox, ServerError};
use crate::net::endpoint::Endpoint;

/// Rows of a result; each column is text or NULL.
pub type Rows = Vec<Vec<Option<String>>>;

/// Why a login or a query did not succeed.
#[derive(Debug)]
pub enum SessionError {
    /// The server (or mainstay in its name) said so.
    Server(ServerError),
    /// The connection could not be made, broke or was closed.
    Io(io::Error),
    /// What came is not what the protocol allows here.
    Protocol(String),
}

impl SessionError {
    /// The session is over.
    pub fn ends_session(&self) -> bool {
        !matches!(self, Self::Server(error) if !error.is_fatal())
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Protocol(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for SessionError {}

impl From<io::Error> for SessionError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A logged-in session.
pub struct Session {
    stream: BufReader<Box<dyn Stream>>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// Connects and logs in as `user` to `database`, where the server trusts us.
    ///
    /// # Errors
    /// When the connection fails or the server turns the login down.
    pub async fn connect(to: &Endpoint, user: &str, database: &str) -> Result<Self, SessionError> {
        let stream: Box<dyn Stream> = match to {
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Endpoint::Unix(path) => Box::new(UnixStream::connect(path).await?),
        };
        let mut session = Self { stream: BufReader::new(stream) };
        session.send(Outbox::default().startup(user, database)).await?;
        session
            .until_ready(|message| match (message.tag, message.number()) {
                (b'R', Some(0)) => Ok(()),
                (b'R', _) => Err(SessionError::Protocol("the server asks for a password, and this client has none".into())),
                _ => Ok(()),
            })
            .await?;
        Ok(session)
    }

    /// Sends one statement and reads its rows.
    ///
    /// # Errors
    /// When the server refuses the statement or the connection breaks; [`SessionError::ends_session`] tells which.
    pub async fn query(&mut self, sql: &str) -> Result<Rows, SessionError> {
        self.send(Outbox::default().query(sql)).await?;
        let mut rows = Rows::new();
        self.until_ready(|message| {
            if message.tag == b'D' {
                rows.push(message.columns().ok_or_else(|| SessionError::Protocol("a damaged row".into()))?);
            }
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        let _ = self.send(Outbox::default().terminate()).await;
    }

    async fn send(&mut self, out: &Outbox) -> io::Result<()> {
        self.stream.write_all(out.bytes()).await
    }

    /// Reads up to `ReadyForQuery`. An `ErrorResponse` is returned then, or at once when it ends the session.
    async fn until_ready(&mut self, mut each: impl FnMut(&Message) -> Result<(), SessionError>) -> Result<(), SessionError> {
        let mut failed = None;
        loop {
            let Some(message) = wire::read_message(&mut self.stream).await? else {
                return Err(SessionError::Io(io::ErrorKind::UnexpectedEof.into()));
            };
            match message.tag {
                b'Z' => return failed.map_or(Ok(()), |error| Err(SessionError::Server(error))),
                b'E' => {
                    let error = message.error();
                    if error.is_fatal() {
                        return Err(SessionError::Server(error));
                    }
                    failed = Some(error);
                }
                _ => each(&message)?,
            }
        }
    }
}

/// Connects as `postgres` to `postgres`, asks, disconnects: for callers without a runtime, and for those inside one (the work is
/// done on a thread of its own).
///
/// # Errors
/// As [`Session::connect`] and [`Session::query`]; `TimedOut` when it takes longer than `timeout`.
pub fn query_once(to: &Endpoint, sql: &str, timeout: Duration) -> Result<Rows, SessionError> {
    let ask = async {
        let mut session = Session::connect(to, "postgres", "postgres").await?;
        let rows = session.query(sql).await?;
        session.close().await;
        Ok(rows)
    };
    let work = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        runtime.block_on(async {
            tokio::time::timeout(timeout, ask).await.unwrap_or_else(|_| Err(SessionError::Io(io::ErrorKind::TimedOut.into())))
        })
    };
    std::thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_| Err(SessionError::Protocol("the client's thread panicked".into())))
}
