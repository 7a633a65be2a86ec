//! A connection: greeting, TLS, login, queries, and a proper end.
//!
//! A server counts connections that end without a logout (`Aborted_connects`, `Aborted_clients`) and locks a host out after a
//! hundred of them in a row (`max_connect_errors`), so every login ends with `COM_QUIT`.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

use super::{
    super::{
        bounded::{Allowance, Bounded, Garbage},
        deadline::Deadline,
        files,
        finding::Finding,
        linger::Linger,
        socket::io_error,
        stream::{Stream, Tls},
        tcp::Plain,
    },
    answer::{self, ServerError, Table},
    classify,
    handshake::{Greeting, NATIVE},
    scramble::{self, CACHING_SHA2},
    wire::{self, Packet},
};
use crate::{
    config::{MysqlCheck, Secret, TlsMode, file},
    failover::Outcome,
    wire::mysql::ERROR,
};

/// How long closing a session may take.
const FAREWELL: Duration = Duration::from_millis(200);

/// Commands (`MySQL` documentation, "Command Phase").
const COM_QUIT: u8 = 1;
const COM_QUERY: u8 = 3;

/// First bytes of a server's packets while it asks for a password.
const OK: u8 = 0;
const MORE: u8 = 1;
const NEXT_FACTOR: u8 = 2;
const SWITCH: u8 = 0xfe;
/// Answers of a server during `caching_sha2_password`: it remembers the account, or it does not.
const REMEMBERED: u8 = 3;
const NOT_REMEMBERED: u8 = 4;
/// Asks for the server's public key.
const KEY_PLEASE: u8 = 2;

/// Length of a nonce in most methods.
const NONCE: usize = 20;
/// Most packets of a login.
const LOGIN_MAX: usize = 8;
const COLUMNS_MAX: u64 = 200;
const ROWS_MAX: usize = 1000;

/// Why a query has no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The connection failed, or what came over it could not be understood.
    Socket(io::Error),
    /// The server answered with an error.
    Server(ServerError),
    /// Anything else, as it is told.
    Found(Finding),
}

impl Trouble {
    pub(super) fn finding(&self) -> Finding {
        match self {
            Self::Socket(error) => io_error(error),
            Self::Server(error) => classify::error(error),
            Self::Found(finding) => finding.clone(),
        }
    }

    fn misconfigured(why: impl Into<String>) -> Self {
        Self::Found(Finding::new(Outcome::Misconfigured, why.into()))
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

impl From<String> for Trouble {
    fn from(garbage: String) -> Self {
        Self::Socket(Garbage(garbage).into())
    }
}

/// A connection. Dropping one that is logged in logs out in the background.
pub(super) struct Conversation {
    /// `None` once it was ended.
    stream: Option<Box<dyn Stream>>,
    allowance: Allowance,
    /// What was received and not understood yet.
    received: Vec<u8>,
    /// Of the next packet that is sent.
    sequence: u8,
    is_encrypted: bool,
    is_unix: bool,
    linger: Linger,
}

/// The account.
#[derive(Clone, Copy)]
pub(super) struct Account<'a> {
    pub(super) check: &'a MysqlCheck,
    pub(super) password: Option<&'a Secret>,
    pub(super) deadline: Deadline,
    pub(super) linger: &'a Linger,
}

impl std::fmt::Debug for Conversation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversation").field("is_encrypted", &self.is_encrypted).finish_non_exhaustive()
    }
}

impl Conversation {
    /// Logs in. Gives the server's version too.
    ///
    /// # Errors
    /// What was found instead.
    pub(super) async fn begin((socket, tls): (Plain, Tls), account: Account<'_>) -> Result<(Self, String), Finding> {
        let check = account.check;
        let allowance = Allowance::new();
        let is_unix = matches!(socket, Plain::Right(_));
        let mut bare = Bare { stream: Bounded::new(socket, allowance.clone()), received: Vec::new() };
        let greeting = bare.greeting().await.map_err(|trouble| trouble.finding())?;
        let is_encrypted = match (check.tls, greeting.offers_tls()) {
            (TlsMode::Off, _) | (TlsMode::Prefer, false) => false,
            (_, true) => true,
            (mode, false) => {
                let why = format!("the server offers no TLS, but the check has tls: {mode}");
                return Err(Finding::new(Outcome::Misconfigured, why));
            }
        };
        let stream = if is_encrypted { bare.encrypt(&greeting, tls).await? } else { Box::new(bare.stream) };
        let sequence = if is_encrypted { 2 } else { 1 };
        let linger = account.linger.clone();
        let mut conversation =
            Self { stream: Some(stream), allowance, received: Vec::new(), sequence, is_encrypted, is_unix, linger };
        match conversation.log_in(&greeting, account).await {
            Ok(()) => Ok((conversation, greeting.version)),
            Err(trouble) => Err(trouble.finding()),
        }
    }

    /// A new query begins.
    pub(super) fn renew(&self) {
        self.allowance.renew();
    }

    /// As [`Self::renew`]; the answer may have so many bytes.
    pub(super) fn grant(&self, bytes: usize) {
        self.allowance.grant(bytes);
    }

    async fn log_in(&mut self, greeting: &Greeting, account: Account<'_>) -> Result<(), Trouble> {
        let password = account.password.map_or("", |password| password.expose());
        let mut nonce = greeting.nonce.clone();
        // For an unknown method no proof is sent; the server then asks with the method of the account.
        let (mut plugin, proof) = match scramble::proof(&greeting.plugin, password, &nonce) {
            Some(proof) => (greeting.plugin.clone(), proof),
            None => (NATIVE.to_owned(), scramble::proof(NATIVE, password, &nonce).unwrap_or_default()),
        };
        self.send(&greeting.response(&account.check.user, &plugin, &proof, self.is_encrypted)).await?;
        for _ in 0..LOGIN_MAX {
            let packet = self.receive().await?;
            match packet.as_slice() {
                [OK, ..] => return Ok(()),
                [ERROR, ..] => return Err(server_error(&packet)),
                [SWITCH, rest @ ..] if !rest.is_empty() => {
                    let mut cursor = wire::Cursor(rest);
                    plugin = String::from_utf8_lossy(cursor.until_nul()).into_owned();
                    // Twenty bytes and a NUL; a nonce of another length may end with a zero of its own.
                    nonce = if cursor.0.len() == NONCE + 1 { cursor.0[..NONCE].to_vec() } else { cursor.0.to_vec() };
                    let proof = scramble::proof(&plugin, password, &nonce).ok_or_else(|| unknown_method(&plugin))?;
                    self.send(&proof).await?;
                }
                [MORE, REMEMBERED] if plugin == CACHING_SHA2 => {}
                [MORE, NOT_REMEMBERED] if plugin == CACHING_SHA2 => self.prove_anew(password, &nonce, account).await?,
                // AuthMoreData of an unknown method, AuthNextFactor.
                [MORE | NEXT_FACTOR, ..] => {
                    return Err(Trouble::misconfigured("the server asks for more than a password, which a check cannot give"));
                }
                [SWITCH] => return Err(Trouble::misconfigured("the server asks for a password in the way of before MySQL 4.1")),
                _ => return Err(format!("it asks for the password in a way ({plugin}) that could not be understood").into()),
            }
        }
        Err("its login has no end".to_owned().into())
    }

    /// The server wants the password itself, because it does not remember the account. Another machine in its place would get it,
    /// so it goes only to a verified server, or encrypted with a known key: as the servers' own clients do.
    async fn prove_anew(&mut self, password: &str, nonce: &[u8], account: Account<'_>) -> Result<(), Trouble> {
        let Account { check, deadline, .. } = account;
        let is_verified = self.is_unix || (self.is_encrypted && check.tls == TlsMode::VerifyFull);
        if is_verified || (self.is_encrypted && check.allow_cleartext_password) {
            let plain: Vec<u8> = password.bytes().chain([0]).collect();
            return Ok(self.send(&plain).await?);
        }
        let pem = match &check.server_public_key_file {
            // Over TLS the server accepts the password as it is, and nothing else.
            Some(path) if !self.is_encrypted => known_key(path, deadline).await?,
            _ if !self.is_encrypted && check.allow_cleartext_password => self.shown_key().await?,
            _ => {
                let peer = if self.is_encrypted { "its certificate was not verified" } else { "the connection is not encrypted" };
                return Err(Trouble::misconfigured(format!(
                    "the server does not remember this account and wants the password itself, and {peer}, so it was not given: \
                     write tls: verify-full{}, or allow_cleartext_password: true",
                    if self.is_encrypted { "" } else { ", or server_public_key_file" },
                )));
            }
        };
        let sealed = scramble::sealed(password, nonce, &pem).map_err(Trouble::misconfigured)?;
        Ok(self.send(&sealed).await?)
    }

    /// The key that the server sends. Any machine can send one.
    async fn shown_key(&mut self) -> Result<Vec<u8>, Trouble> {
        self.send(&[KEY_PLEASE]).await?;
        let packet = self.receive().await?;
        match packet.as_slice() {
            [MORE, pem @ ..] => Ok(pem.to_vec()),
            [ERROR, ..] => Err(server_error(&packet)),
            _ => Err("it did not show its public key".to_owned().into()),
        }
    }

    /// Sends a query that is answered with a table.
    pub(super) async fn query(&mut self, question: &str) -> Result<Table, Trouble> {
        self.sequence = 0;
        let mut packet = vec![COM_QUERY];
        packet.extend(question.as_bytes());
        self.send(&packet).await?;
        let head = self.receive().await?;
        let count = match head.first() {
            Some(&ERROR) => return Err(server_error(&head)),
            _ => wire::Cursor(&head).integer().filter(|count| *count <= COLUMNS_MAX),
        };
        let count = count.ok_or_else(|| "its answer to a question could not be understood".to_owned())?;
        let mut table = Table::default();
        if count == 0 {
            return Ok(table);
        }
        for _ in 0..count {
            let definition = self.receive().await?;
            table.columns.push(answer::column(&definition).ok_or_else(|| "its answer has a column without a name".to_owned())?);
        }
        if !answer::is_end(&self.receive().await?) {
            return Err("its answer has more columns than it said".to_owned().into());
        }
        while table.rows.len() < ROWS_MAX {
            let packet = self.receive().await?;
            if answer::is_end(&packet) {
                return Ok(table);
            }
            if packet.first() == Some(&ERROR) {
                return Err(server_error(&packet));
            }
            let row = answer::row(&packet, table.columns.len());
            table.rows.push(row.ok_or_else(|| "its answer has a row that is cut off".to_owned())?);
        }
        Err("its answer has too many rows".to_owned().into())
    }

    /// Waits for an unexpected message of the server: an error, or anything else.
    ///
    /// # Errors
    /// The connection is over.
    pub(super) async fn unasked(&mut self) -> io::Result<Option<ServerError>> {
        Ok(ServerError::read(&self.receive().await?))
    }

    /// Logs out, and waits for a moment until the server has closed.
    pub(super) async fn close(mut self) {
        if let Some(stream) = self.stream.take() {
            // A failure here does not matter: the check is over.
            drop(timeout(FAREWELL, farewell(stream)).await);
        }
    }

    async fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        stream.write_all(&wire::frame(self.sequence, payload)).await?;
        stream.flush().await
    }

    async fn receive(&mut self) -> io::Result<Vec<u8>> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let packet = receive(stream, &mut self.received).await?;
        self.sequence = packet.sequence.wrapping_add(1);
        Ok(packet.payload)
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.linger.part(farewell(stream));
        }
    }
}

/// Sends `COM_QUIT` and reads until the server has closed: closing before that would be an abort if it is still answering.
async fn farewell(mut stream: Box<dyn Stream>) -> io::Result<()> {
    stream.write_all(&wire::frame(0, &[COM_QUIT])).await?;
    stream.flush().await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

async fn receive(stream: &mut (impl AsyncReadExt + Unpin), received: &mut Vec<u8>) -> io::Result<Packet> {
    loop {
        if let Some((packet, length)) = wire::parse(received).map_err(Garbage)? {
            received.drain(..length);
            return Ok(packet);
        }
        if stream.read_buf(received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// A connection before it is clear whether it is encrypted.
struct Bare {
    stream: Bounded,
    received: Vec<u8>,
}

impl Bare {
    async fn greeting(&mut self) -> Result<Greeting, Trouble> {
        let packet = receive(&mut self.stream, &mut self.received).await?;
        if let Some(error) = ServerError::read(&packet.payload) {
            return Err(Trouble::Server(error));
        }
        let greeting = Greeting::read(&packet.payload)?;
        // What an attacker sends ahead in clear text must not count as part of the encrypted stream.
        if !self.received.is_empty() {
            return Err("it said more than its greeting".to_owned().into());
        }
        if !greeting.is_usable() {
            return Err(Trouble::misconfigured("the server is older than MySQL 4.1, whose logins are not safe"));
        }
        Ok(greeting)
    }

    async fn encrypt(mut self, greeting: &Greeting, tls: Tls) -> Result<Box<dyn Stream>, Finding> {
        let request = wire::frame(1, &greeting.tls_request());
        self.stream.write_all(&request).await.map_err(|error| io_error(&error))?;
        tls.encrypt(self.stream).await
    }
}

/// The server's key, from a file of the user.
async fn known_key(path: &Path, deadline: Deadline) -> Result<Vec<u8>, Trouble> {
    let (path, shown) = (path.to_owned(), path.display().to_string());
    let read = move || file::read(&path).map_err(|unread| unread.to_string());
    let read = files::off_thread(Instant::now() + deadline.for_files(), read).await;
    read.map_err(|why| Trouble::misconfigured(format!("server_public_key_file {shown}: {why}")))
}

fn server_error(packet: &[u8]) -> Trouble {
    ServerError::read(packet).map_or_else(|| "its error is cut off".to_owned().into(), Trouble::Server)
}

fn unknown_method(plugin: &str) -> Trouble {
    let plugin: String = plugin.chars().filter(char::is_ascii_graphic).take(40).collect();
    Trouble::misconfigured(format!("the account logs in by {plugin}, which a check cannot do; give it another method"))
}
