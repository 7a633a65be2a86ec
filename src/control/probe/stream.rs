//! A connection, encrypted or not.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{bounded::Bounded, deadline::Deadline, files, finding::Finding, socket::io_error, tls, x509};
use crate::{
    config::{TlsIdentity, TlsMode},
    failover::Outcome,
};

/// A connection, encrypted or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// The name for TLS, and how to use TLS.
#[derive(Clone, Copy)]
pub(super) struct Security<'a> {
    pub(super) host: &'a str,
    pub(super) mode: TlsMode,
    pub(super) authorities: Option<&'a Path>,
    /// The client certificate, for a server that asks.
    pub(super) identity: Option<&'a TlsIdentity>,
}

/// Starts TLS where `security` wants it, before anything else is sent.
///
/// # Errors
/// When the server does not support TLS, or its certificate is not accepted.
pub(super) async fn encrypt(socket: Bounded, security: Security<'_>, deadline: Deadline) -> Result<Box<dyn Stream>, Finding> {
    if security.mode == TlsMode::Off { Ok(Box::new(socket)) } else { Ok(Box::new(handshake(socket, security, deadline).await?)) }
}

/// Starts TLS.
///
/// # Errors
/// When the server does not support TLS, or its certificate is not accepted.
pub(super) async fn handshake(
    socket: Bounded,
    security: Security<'_>,
    deadline: Deadline,
) -> Result<TlsStream<Bounded>, Finding> {
    let misconfigured = |why: String| Finding::new(Outcome::Misconfigured, why);
    let Security { host, mode, .. } = security;
    let (authorities, identity) = (security.authorities.map(PathBuf::from), security.identity.cloned());
    let build = move || tls::client(mode, authorities.as_deref(), identity.as_ref());
    // Without files nothing can hang.
    let config = if security.authorities.is_none() && security.identity.is_none() {
        build()
    } else {
        files::off_thread(Instant::now() + deadline.for_files(), build).await
    };
    let config = config.map_err(misconfigured)?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| misconfigured(format!("{host} is no name for a certificate: {error}")))?;
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.map_err(|error| io_error(&error))
}

/// What binds a login to the server's certificate.
pub(super) fn end_point(stream: &TlsStream<Bounded>) -> Option<Vec<u8>> {
    x509::end_point(stream.get_ref().1.peer_certificates()?.first()?)
}
