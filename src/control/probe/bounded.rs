//! A socket that reads a limited number of bytes for one probe, and notices at the first bytes when the peer uses another protocol.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::tcp::Plain;
use crate::wire::postgres::{HEADER, is_plausible};

/// Bytes that one probe may read. A login with a long certificate chain and one row of facts needs about 10 KiB.
pub(super) const LIMIT: usize = 64 * 1024;

/// How many bytes may still be read; shared between the socket and the session that asks over it.
#[derive(Clone, Debug)]
pub(super) struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(LIMIT)))
    }

    /// A new query begins.
    pub(super) fn renew(&self) {
        self.grant(LIMIT);
    }

    /// A query begins whose answer may have so many bytes.
    pub(super) fn grant(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }

    fn spend(&self, read: usize) -> io::Result<()> {
        let spent = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(read));
        spent.map(drop).map_err(|_| Garbage("it sent more for one check than any answer needs".into()).into())
    }
}

/// The peer does not use the protocol of the check.
#[derive(Debug)]
pub(super) struct Garbage(pub(super) String);

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Garbage {}

impl From<Garbage> for io::Error {
    fn from(garbage: Garbage) -> Self {
        Self::new(io::ErrorKind::InvalidData, garbage)
    }
}

/// The socket.
#[derive(Debug)]
pub(super) struct Bounded {
    inner: Plain,
    allowance: Allowance,
    /// The first bytes of the first message, until it is clear that it is one.
    greeting: Option<Vec<u8>>,
}

impl Bounded {
    pub(super) fn new(inner: Plain, allowance: Allowance) -> Self {
        Self { inner, allowance, greeting: None }
    }

    /// From here on the peer must speak `PostgreSQL`'s message format in clear text.
    pub(super) fn expect_greeting(&mut self) {
        self.greeting = Some(Vec::with_capacity(HEADER));
    }

    fn check_greeting(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(greeting) = &mut self.greeting else { return Ok(()) };
        greeting.extend(bytes.iter().take(HEADER - greeting.len()));
        if !is_plausible(greeting) {
            return Err(Garbage(format!("it does not speak PostgreSQL: its answer begins with {}", quote(greeting))).into());
        }
        if greeting.len() == HEADER {
            self.greeting = None;
        }
        Ok(())
    }
}

/// Untrusted bytes as text for a log line.
pub(super) fn quote(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

impl AsyncRead for Bounded {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.allowance.spend(buf.filled().len() - before)?;
        Poll::Ready(self.check_greeting(&buf.filled()[before..]))
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_spent_once_and_renewed() {
        let allowance = Allowance::new();
        assert!(allowance.spend(LIMIT).is_ok());
        assert!(allowance.spend(1).is_err());
        allowance.renew();
        assert!(allowance.spend(1).is_ok());
    }
}
