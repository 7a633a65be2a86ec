//! A client's session as the report needs it: one that notices at once when it ends, and knows what it was told.
//!
//! It differs from the demo's in two things. It listens while it is idle. And when a write fails it still reads what the server
//! said before the end, as libpq does (`pqHandleSendFailure`); the kernel keeps received bytes when a reset follows them.

use std::{io, net::SocketAddr, time::Duration};

use mainstay::cli::demo::wire::{self, Message, Outbox, ServerError};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// How long the last words of a session that failed are waited for.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a statement or a session did not go well.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The server refused the statement; the session goes on.
    Rejected(ServerError),
    /// The session is over, and a whole `ErrorResponse` said why.
    Told(ServerError),
    /// The session is over without a word.
    Cut(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Cut(error)
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rejected(error) | Self::Told(error) => error.fmt(f),
            Self::Cut(error) => error.fmt(f),
        }
    }
}

/// A logged-in session.
#[derive(Debug)]
pub(crate) struct Session {
    stream: BufReader<TcpStream>,
    /// SQLSTATE of the last `NoticeResponse`.
    warned: Option<String>,
}

impl Session {
    /// Connects and logs in to the database `postgres`, where the server trusts us.
    pub(crate) async fn connect(to: SocketAddr, user: &str) -> Result<Self, Broken> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let mut session = Self { stream: BufReader::new(stream), warned: None };
        session.exchange(Outbox::default().startup(user, "postgres")).await?;
        Ok(session)
    }

    /// Sends one statement; the first column of its last row.
    pub(crate) async fn query(&mut self, sql: &str) -> Result<Option<String>, Broken> {
        self.exchange(Outbox::default().query(sql)).await
    }

    /// Sends nothing for this long, but listens.
    pub(crate) async fn idle(&mut self, length: Duration) -> Result<(), Broken> {
        let end = tokio::time::Instant::now() + length;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => return Ok(()),
                // Takes nothing out of the buffer, so that nothing is lost when the sleep ends first.
                filled = self.stream.fill_buf() => { filled?; }
            }
            let message = self.next().await?;
            if message.tag == b'E' {
                return Err(Broken::Told(message.error()));
            }
        }
    }

    /// SQLSTATE of the last warning the server sent.
    pub(crate) fn warned(&self) -> Option<String> {
        self.warned.clone()
    }

    /// Says goodbye.
    pub(crate) async fn close(mut self) {
        let _ = self.stream.write_all(Outbox::default().terminate().bytes()).await;
    }

    async fn exchange(&mut self, out: &Outbox) -> Result<Option<String>, Broken> {
        match self.stream.write_all(out.bytes()).await {
            Ok(()) => self.until_ready().await,
            Err(error) => match tokio::time::timeout(LAST_WORDS_TIMEOUT, self.until_ready()).await {
                Ok(Err(Broken::Told(last_words))) => Err(Broken::Told(last_words)),
                _ => Err(Broken::Cut(error)),
            },
        }
    }

    async fn until_ready(&mut self) -> Result<Option<String>, Broken> {
        let (mut value, mut rejected) = (None, None);
        loop {
            let message = self.next().await?;
            match message.tag {
                b'Z' => return rejected.map_or(Ok(value), |error| Err(Broken::Rejected(error))),
                b'E' if message.error().is_fatal() => return Err(Broken::Told(message.error())),
                b'E' => rejected = Some(message.error()),
                b'D' => value = message.columns().and_then(|columns| columns.into_iter().next().flatten()),
                b'R' if message.number() != Some(0) => {
                    return Err(Broken::Cut(io::Error::other("the server asks for a password")));
                }
                _ => {}
            }
        }
    }

    async fn next(&mut self) -> Result<Message, Broken> {
        let message = wire::read_message(&mut self.stream).await?;
        let message = message.ok_or_else(|| Broken::Cut(io::ErrorKind::UnexpectedEof.into()))?;
        if message.tag == b'N' {
            self.warned = Some(message.error().code);
        }
        Ok(message)
    }
}
