//! One request to a receiver. Its certificate is verified, no redirect is followed, and of its answer only the status is read.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Uri,
    client::conn::http1::Builder,
    header::{CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT},
    http::uri::Scheme,
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::failure::Failure;
use crate::config::file;

/// For one address of several.
const CONNECT: Duration = Duration::from_secs(3);
/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 4;
const HEAD_MAX: usize = 16 * 1024;
/// The longest pause that a receiver may ask for.
const LONGEST_PAUSE: u64 = 60;

/// Where a request goes.
pub(super) struct Target {
    uri: Uri,
    addresses: Vec<SocketAddr>,
    /// `None`: without TLS, to this machine.
    tls: Option<Arc<ClientConfig>>,
}

/// The parts of a request that need the disk and the resolver. Blocks on both.
///
/// # Errors
/// Why not; nothing of the URL.
pub(super) fn prepare(uri: Uri, tls_ca_file: Option<&PathBuf>) -> Result<Target, Failure> {
    let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
    let tls = is_tls.then(|| client(tls_ca_file.map(PathBuf::as_path))).transpose().map_err(Failure::again)?;
    let host = bare_host(&uri);
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let resolved = (host.as_str(), port).to_socket_addrs();
    let addresses = resolved.map_err(|error| Failure::again(format!("its host name cannot be resolved: {error}")))?;
    let addresses = addresses.take(MAX_ADDRESSES).collect();
    Ok(Target { uri, addresses, tls })
}

fn bare_host(uri: &Uri) -> String {
    uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// Posts JSON.
///
/// # Errors
/// Why it was not taken; nothing of the URL, and nothing of what the receiver said but its status.
pub(super) async fn post(target: &Target, body: Bytes, headers: Vec<(HeaderName, HeaderValue)>) -> Result<(), Failure> {
    let socket = connect(&target.addresses).await?;
    let Some(tls) = &target.tls else { return ask(socket, target, body, headers).await };
    let name = ServerName::try_from(bare_host(&target.uri)).map_err(|_| Failure::never("its host is no name of a server"))?;
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, socket).await;
    let stream = stream.map_err(|error| Failure::again(format!("TLS: {error}")))?;
    ask(stream, target, body, headers).await
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Failure> {
    let mut last = "its host name has no address".to_owned();
    for address in addresses {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => last = format!("it cannot be connected to: {error}"),
            Err(_) => last = format!("it does not answer a connect within {CONNECT:?}"),
        }
    }
    Err(Failure::again(last))
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    target: &Target,
    body: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
) -> Result<(), Failure> {
    let wrong = |error: hyper::Error| Failure::again(format!("it does not answer as HTTP says: {error}"));
    let path = target.uri.path_and_query().map_or("/", |path| path.as_str());
    let host = target.uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::post(path)
        .header(HOST, host)
        .header(USER_AGENT, concat!("mainstay/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    // The error would show the path.
    let request = request.body(Full::new(body)).map_err(|_| Failure::never("its URL cannot be asked for"))?;
    let (mut sender, connection) = Builder::new().max_buf_size(HEAD_MAX).handshake(TokioIo::new(stream)).await.map_err(wrong)?;
    let answer = tokio::select! {
        biased;
        answer = sender.send_request(request) => answer.map_err(wrong)?,
        // Why it ended is told to the request.
        Err(error) = connection => return Err(wrong(error)),
    };
    let status = answer.status().as_u16();
    let pause = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let pause = pause.map(|seconds: u64| Duration::from_secs(seconds.min(LONGEST_PAUSE)));
    match status {
        200..=299 => Ok(()),
        300..=399 => Err(Failure::never(format!("it answered {status}: a redirect, and none is followed"))),
        408 | 425 | 429 | 500..=599 => Err(Failure { pause, ..Failure::again(format!("it answered {status}")) }),
        401 | 403 | 404 | 410 => Err(Failure::never(format!("it answered {status}: is its URL, or its secret, still right?"))),
        _ => Err(Failure::never(format!("it answered {status}"))),
    }
}

/// TLS 1.2 or 1.3; the certificate and the name of the server are verified.
fn client(trusted: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let roots = match trusted {
        Some(path) => from_file(path).map_err(|what| format!("tls_ca_file {}: {what}", path.display()))?,
        None => of_the_machine()?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

fn from_file(path: &Path) -> Result<RootCertStore, String> {
    let pem = file::read(path).map_err(|unread| unread.to_string())?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("there is no certificate in it".into()) } else { Ok(roots) }
}

fn of_the_machine() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    // Some machines have a certificate that rustls does not read; the others still count.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(
            "this machine has no CA certificates: install them (ca-certificates), or name a file with `tls_ca_file`".into()
        );
    }
    Ok(roots)
}
