//! The first messages of a session: who we are, and the proof of it (`PostgreSQL` documentation, "Message Flow: Start-up").
//!
//! The library does not do this: it sends the password to any server that asks for it in clear text, hashes as many rounds as a
//! server wants on the control thread, and does not understand all answers. It takes over after the login ([`Begun`]).

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, BytesMut};
use postgres_protocol::{authentication::md5_hash, message::frontend};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, timeout_at},
};

use super::{
    super::{
        bounded::{Garbage, quote},
        deadline::Deadline,
        finding::Finding,
        socket::io_error,
        stream::Stream,
    },
    classify::LONGEST_MESSAGE,
    scram::{Binding, Scram},
};
use crate::{
    config::{AuthMethod, PostgresCheck, Secret},
    failover::{Outcome, label::Label},
};

const SCRAM: &str = "SCRAM-SHA-256";
const SCRAM_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// `AuthenticationOk`.
const SUCCESS: u32 = 0;
/// No message of a login is longer (libpq's own bound is 2000, for anything but errors).
const LONGEST: usize = 30_000;

/// What is known of the peer before the login.
pub(crate) struct Peer {
    /// Nobody else can listen or answer: verified by TLS, or a unix socket.
    pub(crate) is_verified: bool,
    /// The digest of the certificate that it showed.
    pub(crate) end_point: Option<Vec<u8>>,
    /// It speaks TLS.
    pub(crate) is_encrypted: bool,
}

/// Logs in. The stream continues with the last message, which the library judges: success, or an error.
pub(crate) async fn log_in(
    stream: Box<dyn Stream>,
    peer: Peer,
    check: &PostgresCheck,
    password: Option<Secret>,
    deadline: Deadline,
) -> Result<Begun, Finding> {
    let mut login = Login { stream, peer, check, password, deadline };
    let last = login.converse().await.map_err(|trouble| match trouble {
        Trouble::Socket(error) => io_error(&error),
        Trouble::Found(finding) => finding,
    })?;
    Ok(Begun { stream: login.stream, unread: last.bytes(), has_started: false })
}

enum Trouble {
    Socket(io::Error),
    Found(Finding),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Socket(error)
    }
}

fn cannot_do(method: &str) -> Trouble {
    misconfigured(format!(
        "the server wants a login by {method}, which a check cannot do: give its role scram-sha-256 in pg_hba.conf"
    ))
}

fn misconfigured(why: impl Into<String>) -> Trouble {
    Trouble::Found(Finding::new(Outcome::Misconfigured, why.into()))
}

struct Login<'a> {
    stream: Box<dyn Stream>,
    peer: Peer,
    check: &'a PostgresCheck,
    password: Option<Secret>,
    deadline: Deadline,
}

struct Message {
    kind: u8,
    body: Vec<u8>,
}

impl Message {
    /// Which request for a proof it is, and its data.
    fn request(&self) -> Option<(u32, &[u8])> {
        let (code, rest) = self.body.split_first_chunk().filter(|_| self.kind == b'R')?;
        Some((u32::from_be_bytes(*code), rest))
    }

    fn bytes(&self) -> BytesMut {
        let length = u32::try_from(self.body.len() + 4).unwrap_or(u32::MAX).to_be_bytes();
        [&[self.kind], &length[..], &self.body].concat().as_slice().into()
    }
}

impl Login<'_> {
    /// The message that ends the login: success, or one that the library turns into an error.
    async fn converse(&mut self) -> Result<Message, Trouble> {
        let check = self.check;
        let words =
            [("client_encoding", "UTF8"), ("user", &check.user), ("database", &check.database), ("application_name", "mainstay")];
        self.send(|out| frontend::startup_message(words, out)).await?;
        let message = self.receive().await?;
        let ended = match message.request() {
            Some((SUCCESS, _)) => {
                self.permit(AuthMethod::None)?;
                return Ok(message);
            }
            Some((method, rest)) => self.prove(method, rest).await?,
            None => return Ok(message),
        };
        let message = match ended {
            Some(error) => return Ok(error),
            None => self.receive().await?,
        };
        match message.request() {
            Some((SUCCESS, _)) | None => Ok(message),
            Some(_) => Err(misconfigured("the server asks for a second proof, which a check cannot give")),
        }
    }

    /// Sends the requested proof; returns an error that the server sent meanwhile.
    async fn prove(&mut self, method: u32, rest: &[u8]) -> Result<Option<Message>, Trouble> {
        match (method, rest) {
            (3, _) => {
                self.permit(AuthMethod::Password)?;
                if !self.peer.is_verified && !self.check.allow_cleartext_password {
                    return Err(misconfigured(self.in_clear_text()));
                }
                let password = self.password()?;
                self.send(|out| frontend::password_message(password.expose().as_bytes(), out)).await?;
                Ok(None)
            }
            (5, [a, b, c, d]) => {
                self.permit(AuthMethod::Md5)?;
                let proof = md5_hash(self.check.user.as_bytes(), self.password()?.expose().as_bytes(), [*a, *b, *c, *d]);
                self.send(|out| frontend::password_message(proof.as_bytes(), out)).await?;
                Ok(None)
            }
            (10, mechanisms) => {
                self.permit(AuthMethod::ScramSha256)?;
                self.scram(mechanisms).await
            }
            _ => {
                let method = match method {
                    2 => "Kerberos V5".to_owned(),
                    6 => "SCM credentials".to_owned(),
                    7 | 8 => "GSSAPI".to_owned(),
                    9 => "SSPI".to_owned(),
                    other => format!("method {other}"),
                };
                Err(cannot_do(&method))
            }
        }
    }

    fn permit(&self, method: AuthMethod) -> Result<(), Trouble> {
        match &self.check.require_auth {
            Some(methods) if !methods.contains(&method) => {
                let wanted = methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(", ");
                let asked = if method == AuthMethod::None { "no proof at all" } else { method.as_str() };
                Err(misconfigured(format!("the server asks for {asked}, but the check has require_auth: [{wanted}]")))
            }
            _ => Ok(()),
        }
    }

    fn password(&self) -> Result<Secret, Trouble> {
        let missing = || misconfigured("cannot log in: the server asks for a password, and the check has none");
        self.password.clone().ok_or_else(missing)
    }

    fn in_clear_text(&self) -> String {
        let peer = if self.peer.is_encrypted { "its certificate was not verified" } else { "the connection is not encrypted" };
        format!(
            "the server asks for the password in clear text, and {peer}, so it was not given: let pg_hba.conf ask for \
             scram-sha-256, or write tls: verify-full, or allow_cleartext_password: true"
        )
    }

    async fn scram(&mut self, mechanisms: &[u8]) -> Result<Option<Message>, Trouble> {
        let offers = |name: &str| mechanisms.split(|byte| *byte == 0).any(|offered| offered == name.as_bytes());
        let (binding, mechanism) = match self.peer.end_point.take() {
            Some(digest) if offers(SCRAM_PLUS) => (Binding::EndPoint(digest), SCRAM_PLUS),
            Some(_) if offers(SCRAM) => (Binding::NotOffered, SCRAM),
            None if offers(SCRAM) => (Binding::Impossible, SCRAM),
            _ => {
                let names: Vec<u8> = mechanisms.iter().map(|byte| if *byte == 0 { b' ' } else { *byte }).collect();
                return Err(cannot_do(&quote(names.trim_ascii().get(..LONGEST_MESSAGE).unwrap_or(names.trim_ascii()))));
            }
        };
        let password = self.password()?;
        let scram = Scram::begin(binding);
        self.send(|out| frontend::sasl_initial_response(mechanism, scram.first().as_bytes(), out)).await?;
        let answer = match self.receive().await? {
            message if message.kind != b'R' => return Ok(Some(message)),
            message => message,
        };
        let challenge = answer.request().filter(|(code, _)| *code == 11).and_then(|(_, text)| scram.challenge(text));
        let challenge = challenge.ok_or_else(|| misconfigured("the server's SCRAM could not be understood"))?;
        let proof = in_time(scram.prove(password.expose(), &challenge), self.deadline).await.ok_or_else(|| {
            misconfigured(format!(
                "the server wants {} rounds of SCRAM, for which `timeout` has no time: raise it, or store the password anew with \
                 a lower scram_iterations",
                challenge.rounds
            ))
        })?;
        self.send(|out| frontend::sasl_response(proof.message.as_bytes(), out)).await?;
        let message = self.receive().await?;
        match message.request() {
            None => Ok(Some(message)),
            Some((12, answer)) if proof.is_answered_by(answer) => Ok(None),
            Some(_) => {
                Err(misconfigured("the server did not prove that it knows the password: it is not the one that it should be"))
            }
        }
    }

    async fn send(&mut self, write: impl FnOnce(&mut BytesMut) -> io::Result<()>) -> Result<(), Trouble> {
        let mut out = BytesMut::new();
        // Only a NUL in a name or a password is refused here.
        write(&mut out).map_err(|error| misconfigured(format!("cannot log in: {error}")))?;
        self.stream.write_all(&out).await?;
        Ok(self.stream.flush().await?)
    }

    /// The next message, except those that may come at any time: protocol negotiation, a notice.
    async fn receive(&mut self) -> Result<Message, Trouble> {
        loop {
            let mut head = [0; 5];
            self.stream.read_exact(&mut head).await?;
            let [kind, length @ ..] = head;
            let length = usize::try_from(u32::from_be_bytes(length)).ok().and_then(|length| length.checked_sub(4));
            let Some(length) = length.filter(|length| *length <= LONGEST) else {
                return Err(self.without_a_length(&head).await);
            };
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).await?;
            if !b"vN".contains(&kind) {
                return Ok(Message { kind, body });
            }
        }
    }

    /// A postmaster that cannot start a process for us says so in protocol 2: a text, up to its end.
    async fn without_a_length(&mut self, head: &[u8]) -> Trouble {
        if head[0] != b'E' {
            return Trouble::Socket(
                Garbage(format!("it does not speak PostgreSQL: its answer begins with {}", quote(head))).into(),
            );
        }
        let mut text = head[1..].to_vec();
        while text.len() < LONGEST_MESSAGE && !text.ends_with(&[0]) {
            match self.stream.read_u8().await {
                Ok(byte) => text.push(byte),
                Err(_) => break,
            }
        }
        let words: String = String::from_utf8_lossy(&text).chars().filter(|c| !c.is_control()).collect();
        Trouble::Found(Finding::new(Outcome::Saturated, format!("the server says: {words}")))
    }
}

/// The result of `work`, unless its time is over. That is just before the deadline, so that a slow client side can be told from a
/// server that does not answer.
async fn in_time<T>(work: impl Future<Output = Option<T>>, deadline: Deadline) -> Option<T> {
    let limit = deadline.at() - deadline.timeout() / 10;
    if limit > Instant::now() { timeout_at(limit, work).await.ok().flatten() } else { work.await }
}

/// A session after its login, for the library: its own first message is swallowed, because it was already sent, and it reads the
/// last message of the login.
pub(crate) struct Begun {
    stream: Box<dyn Stream>,
    unread: BytesMut,
    has_started: bool,
}

impl AsyncRead for Begun {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.unread.has_remaining() {
            let length = self.unread.len().min(buf.remaining());
            buf.put_slice(&self.unread.split_to(length));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Begun {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // The library sends its start-up message alone, waits for the answer, and passes it to the socket in one write.
        if !std::mem::replace(&mut self.has_started, true) {
            return Poll::Ready(Ok(buf.len()));
        }
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
