//! The few messages of `PostgreSQL`'s protocol 3.0 that the look-alike and the clients speak, both ways.
//!
//! Source: `PostgreSQL` documentation, chapter "Frontend/Backend Protocol", sections "Message Flow" and "Message Formats". Every
//! message but the first of a connection is a tag byte, a length (i32, counts itself, not the tag) and a body.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

pub use crate::protocol::Startup;
use crate::protocol::{PROTOCOL_3, STARTUP_MAX, error_response};

/// Longest message that is read; a longer one is an error, so that garbage cannot make us allocate.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// One message after the start of a connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is; the meaning depends on who sent it.
    pub tag: u8,
    /// Its body, without tag and length.
    pub body: Vec<u8>,
}

/// An `ErrorResponse`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// `ERROR`, or `FATAL` when the session is over.
    pub severity: String,
    /// SQLSTATE.
    pub code: String,
    /// For people.
    pub message: String,
}

impl ServerError {
    /// An error after which the session goes on.
    pub fn error(code: &str, message: &str) -> Self {
        Self { severity: "ERROR".into(), code: code.into(), message: message.into() }
    }

    /// An error that ends the session.
    pub fn fatal(code: &str, message: &str) -> Self {
        Self { severity: "FATAL".into(), code: code.into(), message: message.into() }
    }

    /// The server ends the session with this error.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }

    fn parse(body: &[u8]) -> Self {
        let mut error = Self { severity: String::new(), code: String::new(), message: String::new() };
        for field in body.split(|byte| *byte == 0).filter(|field| !field.is_empty()) {
            let text = String::from_utf8_lossy(&field[1..]).into_owned();
            match field[0] {
                // V is the severity that is never translated; S is for servers before 9.6.
                b'V' => error.severity = text,
                b'S' if error.severity.is_empty() => error.severity = text,
                b'C' => error.code = text,
                b'M' => error.message = text,
                _ => {}
            }
        }
        error
    }
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {}", self.severity, self.code, self.message)
    }
}

impl Message {
    /// The body as an `ErrorResponse`.
    pub fn error(&self) -> ServerError {
        ServerError::parse(&self.body)
    }

    /// The body as the text of a `Query`: up to its first NUL.
    pub fn text(&self) -> String {
        let end = self.body.iter().position(|byte| *byte == 0).unwrap_or(self.body.len());
        String::from_utf8_lossy(&self.body[..end]).into_owned()
    }

    /// The body as a big-endian number, as in `AuthenticationXYZ`.
    pub fn number(&self) -> Option<u32> {
        self.body.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }

    /// The body as the columns of a `DataRow`; `None` when it is none.
    pub fn columns(&self) -> Option<Vec<Option<String>>> {
        let (count, mut rest) = self.body.split_first_chunk::<2>()?;
        let mut columns = Vec::new();
        for _ in 0..u16::from_be_bytes(*count) {
            let (length, tail) = rest.split_first_chunk::<4>()?;
            rest = tail;
            let value = match usize::try_from(i32::from_be_bytes(*length)) {
                Ok(length) => {
                    let (value, tail) = rest.split_at_checked(length)?;
                    rest = tail;
                    Some(String::from_utf8_lossy(value).into_owned())
                }
                Err(_null) => None,
            };
            columns.push(value);
        }
        Some(columns)
    }
}

/// Reads one message; `None` when the peer closed between two.
///
/// # Errors
/// When the connection breaks or the length is impossible.
pub async fn read_message<R: AsyncRead + Unpin>(from: &mut R) -> io::Result<Option<Message>> {
    let mut tag = [0];
    if from.read(&mut tag).await? == 0 {
        return Ok(None);
    }
    let length = from.read_u32().await?;
    Ok(Some(Message { tag: tag[0], body: read_body(from, length, MAX_MESSAGE_BYTES).await? }))
}

/// Reads what a client opens a connection with, and the name it logs in with; `None` when it closed without a word.
///
/// # Errors
/// When the connection breaks or what comes is no startup packet.
pub async fn read_startup<R: AsyncRead + Unpin>(from: &mut R) -> io::Result<Option<(Startup, String)>> {
    let mut length = [0; 4];
    let first = from.read(&mut length).await?;
    if first == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[first..]).await?;
    let body = read_body(from, u32::from_be_bytes(length), STARTUP_MAX).await?;
    let Some(code) = body.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a startup packet without a protocol version"));
    };
    let mut words = body[4..].split(|byte| *byte == 0);
    let user = words.find(|word| *word == b"user").and_then(|_| words.next()).unwrap_or_default();
    Ok(Some((Startup::of(code), String::from_utf8_lossy(user).into_owned())))
}

async fn read_body<R: AsyncRead + Unpin>(from: &mut R, length: u32, max: usize) -> io::Result<Vec<u8>> {
    let length = usize::try_from(length).ok().and_then(|length| length.checked_sub(4)).filter(|length| *length <= max);
    let Some(length) = length else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message with an impossible length"));
    };
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok(body)
}

/// Messages on their way out, in order.
#[derive(Debug, Default)]
pub struct Outbox(Vec<u8>);

impl Outbox {
    /// The bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Adds a message.
    #[allow(clippy::cast_possible_truncation, reason = "every message written here is far below 4 GiB")]
    fn message(&mut self, tag: u8, body: impl FnOnce(&mut Vec<u8>)) -> &mut Self {
        self.0.push(tag);
        let start = self.0.len();
        self.0.extend([0; 4]);
        body(&mut self.0);
        let length = (self.0.len() - start) as u32;
        self.0[start..start + 4].copy_from_slice(&length.to_be_bytes());
        self
    }

    /// `StartupMessage` (client).
    pub fn startup(&mut self, user: &str, database: &str) -> &mut Self {
        self.message(0, |out| {
            out.extend(PROTOCOL_3.to_be_bytes());
            for text in ["user", user, "database", database, "application_name", "mainstay demo"] {
                put_text(out, text);
            }
            out.push(0);
        });
        // The startup packet alone has no tag.
        self.0.remove(0);
        self
    }

    /// `Query` (client).
    pub fn query(&mut self, sql: &str) -> &mut Self {
        self.message(b'Q', |out| put_text(out, sql))
    }

    /// `Terminate` (client).
    pub fn terminate(&mut self) -> &mut Self {
        self.message(b'X', |_| {})
    }

    /// `AuthenticationOk` (server).
    pub fn authentication_ok(&mut self) -> &mut Self {
        self.message(b'R', |out| out.extend([0; 4]))
    }

    /// `ParameterStatus` (server).
    pub fn parameter_status(&mut self, name: &str, value: &str) -> &mut Self {
        self.message(b'S', |out| {
            put_text(out, name);
            put_text(out, value);
        })
    }

    /// `BackendKeyData` (server).
    pub fn backend_key_data(&mut self, process: u32, key: u32) -> &mut Self {
        self.message(b'K', |out| {
            out.extend(process.to_be_bytes());
            out.extend(key.to_be_bytes());
        })
    }

    /// `ReadyForQuery`, outside a transaction (server).
    pub fn ready(&mut self) -> &mut Self {
        self.message(b'Z', |out| out.push(b'I'))
    }

    /// `RowDescription` of text columns (server).
    #[allow(clippy::cast_possible_truncation, reason = "these results have a handful of columns")]
    pub fn row_description(&mut self, names: &[&str]) -> &mut Self {
        /// Object id of the type `text`.
        const TEXT: u32 = 25;
        self.message(b'T', |out| {
            out.extend((names.len() as u16).to_be_bytes());
            for name in names {
                put_text(out, name);
                out.extend([0; 6]); // of no table, no column number
                out.extend(TEXT.to_be_bytes());
                out.extend((-1_i16).to_be_bytes()); // variable length
                out.extend((-1_i32).to_be_bytes()); // no type modifier
                out.extend([0; 2]); // text format
            }
        })
    }

    /// `DataRow` (server).
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "a few short columns")]
    pub fn data_row(&mut self, values: &[Option<&str>]) -> &mut Self {
        self.message(b'D', |out| {
            out.extend((values.len() as u16).to_be_bytes());
            for value in values {
                match value {
                    Some(value) => {
                        out.extend((value.len() as i32).to_be_bytes());
                        out.extend(value.as_bytes());
                    }
                    None => out.extend((-1_i32).to_be_bytes()),
                }
            }
        })
    }

    /// `CommandComplete` (server).
    pub fn command_complete(&mut self, tag: &str) -> &mut Self {
        self.message(b'C', |out| put_text(out, tag))
    }

    /// `ParseComplete` (server).
    pub fn parse_complete(&mut self) -> &mut Self {
        self.message(b'1', |_| {})
    }

    /// `CloseComplete` (server).
    pub fn close_complete(&mut self) -> &mut Self {
        self.message(b'3', |_| {})
    }

    /// `ParameterDescription` of a statement without parameters, and `NoData` (server).
    pub fn described(&mut self) -> &mut Self {
        self.message(b't', |out| out.extend([0; 2])).message(b'n', |_| {})
    }

    /// `EmptyQueryResponse` (server).
    pub fn empty_query(&mut self) -> &mut Self {
        self.message(b'I', |_| {})
    }

    /// `ErrorResponse` (server).
    pub fn error(&mut self, error: &ServerError) -> &mut Self {
        self.0.extend(error_response(&error.severity, &error.code, &error.message));
        self
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.as_bytes());
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn parse(bytes: &[u8]) -> io::Result<Option<Message>> {
        read_message(&mut &*bytes).await
    }

    #[tokio::test]
    async fn what_is_written_is_read_back() {
        let mut out = Outbox::default();
        out.data_row(&[Some("a"), None, Some("")]);
        let row = parse(out.bytes()).await.unwrap().unwrap();
        assert_eq!((row.tag, row.columns().unwrap()), (b'D', vec![Some("a".into()), None, Some(String::new())]));

        let error = ServerError::fatal("57P03", "starting up");
        let mut out = Outbox::default();
        out.error(&error);
        let read = parse(out.bytes()).await.unwrap().unwrap().error();
        assert!(read.is_fatal());
        assert_eq!(read, error);

        let mut out = Outbox::default();
        out.startup("u", "d");
        assert_eq!(read_startup(&mut out.bytes()).await.unwrap(), Some((Startup::Login, "u".into())));
    }

    #[tokio::test]
    async fn impossible_lengths_and_cut_messages_are_errors_not_panics() {
        for bytes in [&b"Q\0\0\0\x03"[..], b"Q\xff\xff\xff\xff", b"Q\0\0\0\x08ab", b"Q\0\0"] {
            assert!(parse(bytes).await.is_err(), "{bytes:?}");
        }
        for bytes in [&b"\0\0\0\x03"[..], b"\0\0\0\x04", b"\0\0\x7f\xff", b"\0\0\0\x08\0"] {
            assert!(read_startup(&mut &*bytes).await.is_err(), "{bytes:?}");
        }
        for body in [&b""[..], b"\0", b"\0\x01", b"\0\x01\0\0\0\x05ab", b"\xff\xff\0\0\0\0"] {
            assert_eq!(Message { tag: b'D', body: body.into() }.columns(), None, "{body:?}");
        }
        assert_eq!(parse(b"").await.unwrap(), None);
    }
}
