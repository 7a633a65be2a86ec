//! Asks a running mainstay, or gives it an order: one HTTP request over TCP or a unix socket.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use crate::{
    config::Secret,
    failover::{escaped, is_printable},
};

/// Enough for any complete answer.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// No answer is larger: a thousand sessions are a quarter of a mebibyte.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Which mainstay to ask.
#[derive(Clone, Debug, clap::Args)]
pub struct Admin {
    /// Where the running mainstay answers.
    #[arg(
        help = "Admin address of the running mainstay: host:port, or unix:/path",
        long = "admin",
        value_name = "ADDR",
        env = "MAINSTAY_ADMIN",
        default_value = "127.0.0.1:8432"
    )]
    pub address: AdminAddr,
}

/// Address of an admin endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddr {
    /// `host:port`.
    Tcp(String),
    /// `unix:/path`.
    Unix(PathBuf),
}

impl FromStr for AdminAddr {
    type Err = String;

    /// Of a list the first: `mainstay run` takes several from the same variable.
    fn from_str(list: &str) -> Result<Self, String> {
        let text = list.split(',').next().unwrap_or(list);
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err("write unix: and an absolute path, as in unix:/run/mainstay/admin.sock".into()),
            None => match text.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
                Some((host, Ok(_))) if !host.is_empty() => Ok(Self::Tcp(text.to_owned())),
                _ => Err("write host:port or unix:/path".into()),
            },
        }
    }
}

impl fmt::Display for AdminAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no answer: what happened and what to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreachable(String);

impl Unreachable {
    /// `what` happened when `address` was asked.
    pub fn new(address: &AdminAddr, what: &dyn fmt::Display) -> Self {
        Self(format!(
            "mainstay cannot be reached at {address}: {}. Check that it runs, and that this is the address of \
             `admin.listen` in its configuration (--admin ADDR or MAINSTAY_ADMIN sets it here).",
            escaped(&what.to_string())
        ))
    }
}

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreachable {}

/// What is sent besides the path.
#[derive(Clone, Debug, Default)]
pub struct Ask<'a> {
    /// How; GET unless it says otherwise.
    pub method: Method,
    /// JSON; nothing for GET.
    pub body: Option<String>,
    /// What proves that the asker may order. It is sent over TCP only: over a unix socket the kernel says who asks.
    pub token: Option<&'a Secret>,
}

/// `GET path`.
///
/// # Errors
/// When there is no complete answer within `timeout`.
pub fn get(address: &AdminAddr, path: &str, timeout: Duration) -> Result<Answer, Unreachable> {
    send(address, path, &Ask::default(), timeout)
}

/// Sends a request.
///
/// # Errors
/// When there is no complete answer within `timeout`.
pub fn send(address: &AdminAddr, path: &str, ask: &Ask<'_>, timeout: Duration) -> Result<Answer, Unreachable> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Unreachable::new(address, &error))?;
    runtime.block_on(call(address, path, ask, timeout))
}

/// The same, within a runtime.
pub(super) async fn call(address: &AdminAddr, path: &str, ask: &Ask<'_>, timeout: Duration) -> Result<Answer, Unreachable> {
    let failed = |what: &dyn fmt::Display| Unreachable::new(address, what);
    match tokio::time::timeout(timeout, connect(address, path, ask)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failed(&error)),
        Err(_elapsed) => Err(failed(&format_args!("no answer within {timeout:?}"))),
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

async fn connect(address: &AdminAddr, path: &str, ask: &Ask<'_>) -> Result<Answer, Failure> {
    // On a loopback address the endpoint refuses unknown names, so the request names `localhost`.
    let mut request = Request::builder().method(&ask.method).uri(path).header(header::HOST, "localhost");
    if ask.body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    if let (Some(token), AdminAddr::Tcp(_)) = (ask.token, address) {
        let mut value = header::HeaderValue::from_str(&format!("Bearer {}", token.expose()))?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    let request = request.body(Full::from(ask.body.clone().unwrap_or_default()))?;
    match address {
        AdminAddr::Tcp(address) => exchange(TcpStream::connect(address).await?, request).await,
        AdminAddr::Unix(socket) => exchange(UnixStream::connect(socket).await?, request).await,
    }
}

async fn exchange(
    socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await?.to_bytes();
    driver.abort();
    Ok(Answer { status, body })
}

/// The same JSON, with control and invisible characters in its texts escaped.
pub(super) fn plain_json(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_printable(c) || c.is_ascii_whitespace() {
            plain.push(c);
        } else {
            plain.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_tcp_or_unix() {
        for text in ["127.0.0.1:8432", "[::1]:1", "db.example:80", "unix:/run/a.sock"] {
            assert_eq!(text.parse::<AdminAddr>().unwrap().to_string(), text);
        }
        for text in ["", "8432", ":8432", "host", "host:", "host:99999", "unix:", "unix:relative"] {
            assert!(text.parse::<AdminAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn nobody_there_is_told_with_what_to_check() {
        // A port that was just free: nothing listens on it.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let error = get(&AdminAddr::Tcp(format!("127.0.0.1:{port}")), "/", TIMEOUT).unwrap_err().to_string();
        assert!(error.contains("refused") && error.contains("admin.listen"), "{error}");
    }

    #[test]
    fn an_endpoint_that_closes_is_no_answer() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = AdminAddr::Tcp(listener.local_addr().unwrap().to_string());
        let server = std::thread::spawn(move || drop(listener.accept().unwrap()));
        assert!(get(&address, "/", TIMEOUT).is_err());
        server.join().unwrap();
    }
}
