//! A connection, encrypted or not.

use std::{path::Path, sync::Arc};

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::{Finding, bounded::Bounded, io_error, tls};
use crate::{
    config::{TlsIdentity, TlsMode},
    failover::Outcome,
};

/// A connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// Encrypts the connection to `host` where `mode` wants it, before anything else is said; shows `identity` to a server that asks.
///
/// # Errors
/// When the server cannot encrypt, or is not who it should be.
pub(super) async fn encrypt(
    socket: Bounded,
    host: &str,
    mode: TlsMode,
    authorities: Option<&Path>,
    identity: Option<&TlsIdentity>,
) -> Result<Box<dyn Stream>, Finding> {
    if mode == TlsMode::Off {
        return Ok(Box::new(socket));
    }
    let misconfigured = |why: String| Finding::new(Outcome::Misconfigured, why);
    let config = tls::client_as(mode, authorities, identity).map_err(misconfigured)?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| misconfigured(format!("{host} is no name for a certificate: {error}")))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.map_err(|error| io_error(&error))?;
    Ok(Box::new(stream))
}
