//! A tiny `PostgreSQL` client: log in without a password, one simple query at a time. It notices at once when its session ends, and
//! knows what it was told: when a write fails it still reads what the server said before the end, as libpq does
//! (`pqHandleSendFailure`); the kernel keeps received bytes when a reset follows them.

use std::{fmt, io, net::SocketAddr, path::PathBuf, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpStream, UnixStream},
};

use crate::wire::{self, Message, Outbox, ServerError};

/// Where a server listens.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a socket.
    Unix(PathBuf),
}

/// How long the last words of a session that failed are waited for.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

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

/// The first value of the last row.
pub fn last_value(rows: Rows) -> Option<String> {
    rows.into_iter().next_back()?.into_iter().next()?
}

/// A logged-in session.
pub struct Session {
    stream: BufReader<Box<dyn Stream>>,
    /// SQLSTATE of the last `NoticeResponse`.
    warned: Option<String>,
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
        let mut session = Self { stream: BufReader::new(stream), warned: None };
        session
            .exchange(Outbox::default().startup(user, database), |message| match (message.tag, message.number()) {
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
        let mut rows = Rows::new();
        self.exchange(Outbox::default().query(sql), |message| {
            if message.tag == b'D' {
                rows.push(message.columns().ok_or_else(|| SessionError::Protocol("a damaged row".into()))?);
            }
            Ok(())
        })
        .await?;
        Ok(rows)
    }

    /// Sends nothing for this long, but listens.
    ///
    /// # Errors
    /// When the session ends meanwhile.
    pub async fn idle(&mut self, length: Duration) -> Result<(), SessionError> {
        let end = tokio::time::Instant::now() + length;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => return Ok(()),
                // Takes nothing out of the buffer, so that nothing is lost when the sleep ends first.
                filled = self.stream.fill_buf() => { filled?; }
            }
            let message = self.next().await?;
            if message.tag == b'E' {
                return Err(SessionError::Server(message.error()));
            }
        }
    }

    /// SQLSTATE of the last warning the server sent.
    pub fn warned(&self) -> Option<&str> {
        self.warned.as_deref()
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        let _ = self.stream.write_all(Outbox::default().terminate().bytes()).await;
    }

    async fn exchange(
        &mut self,
        out: &Outbox,
        each: impl FnMut(&Message) -> Result<(), SessionError>,
    ) -> Result<(), SessionError> {
        match self.stream.write_all(out.bytes()).await {
            Ok(()) => self.until_ready(each).await,
            Err(error) => match tokio::time::timeout(LAST_WORDS_TIMEOUT, self.until_ready(each)).await {
                Ok(Err(SessionError::Server(last_words))) if last_words.is_fatal() => Err(SessionError::Server(last_words)),
                _ => Err(error.into()),
            },
        }
    }

    /// Reads up to `ReadyForQuery`. An `ErrorResponse` is returned then, or at once when it ends the session.
    async fn until_ready(&mut self, mut each: impl FnMut(&Message) -> Result<(), SessionError>) -> Result<(), SessionError> {
        let mut failed = None;
        loop {
            let message = self.next().await?;
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

    async fn next(&mut self) -> Result<Message, SessionError> {
        let message = wire::read_message(&mut self.stream).await?;
        let message = message.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        if message.tag == b'N' {
            self.warned = Some(message.error().code);
        }
        Ok(message)
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
