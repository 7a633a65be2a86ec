//! A connection, encrypted or not.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    bounded::Bounded,
    deadline::Deadline,
    files,
    finding::{Failure, Finding},
    socket::io_error,
    tcp::{self, Plain},
    tls, x509,
};
use crate::{
    config::{TlsIdentity, TlsMode},
    failover::Outcome,
    net::{addresses::Addresses, endpoint::Endpoint},
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

/// TLS of one connection, with its files read.
pub(super) struct Tls {
    host: String,
    /// `None` where there is to be no TLS.
    config: Option<Arc<ClientConfig>>,
}

impl Security<'_> {
    /// Connects, and reads the files of TLS before anything is said: a login that is cut off in its middle is a line in the server's
    /// log. That a file cannot be read hides no server that is gone.
    ///
    /// # Errors
    /// Why there is no connection; then, which file cannot be used.
    pub(super) async fn connect(self, addresses: &Addresses, deadline: Deadline) -> Result<(Plain, Endpoint, Tls), Failure> {
        let reading = async { Ok(self.read(deadline).await) };
        // A refusal does not wait for a disk.
        let (tls, (socket, address)) = tokio::try_join!(reading, tcp::connect(addresses, deadline))?;
        Ok((socket, address, tls.map_err(|why| Failure::Backend(misconfigured(why)))?))
    }

    async fn read(self, deadline: Deadline) -> Result<Tls, String> {
        let Security { host, mode, authorities, identity } = self;
        let host = host.to_owned();
        if mode == TlsMode::Off {
            return Ok(Tls { host, config: None });
        }
        let (authorities, identity) = (authorities.map(PathBuf::from), identity.cloned());
        // Without files nothing can hang.
        let has_files = authorities.is_some() || identity.is_some();
        let build = move || tls::client(mode, authorities.as_deref(), identity.as_ref());
        let config = if has_files { files::off_thread(Instant::now() + deadline.for_files(), build).await } else { build() };
        Ok(Tls { host, config: Some(Arc::new(config?)) })
    }
}

impl Tls {
    /// Starts TLS where the check wants it, before anything else is sent.
    ///
    /// # Errors
    /// When the server does not support TLS, or its certificate is not accepted.
    pub(super) async fn encrypt(self, socket: Bounded) -> Result<Box<dyn Stream>, Finding> {
        if self.config.is_none() { Ok(Box::new(socket)) } else { Ok(Box::new(self.handshake(socket).await?)) }
    }

    /// Starts TLS.
    ///
    /// # Errors
    /// When the server does not support TLS, or its certificate is not accepted.
    pub(super) async fn handshake(self, socket: Bounded) -> Result<TlsStream<Bounded>, Finding> {
        let Self { host, config } = self;
        let config = config.ok_or_else(|| misconfigured("the check has tls: off".to_owned()))?;
        let name = ServerName::try_from(host.clone())
            .map_err(|error| misconfigured(format!("{host} is no name for a certificate: {error}")))?;
        TlsConnector::from(config).connect(name, socket).await.map_err(|error| io_error(&error))
    }
}

fn misconfigured(why: String) -> Finding {
    Finding::new(Outcome::Misconfigured, why)
}

/// What binds a login to the server's certificate.
pub(super) fn end_point(stream: &TlsStream<Bounded>) -> Option<Vec<u8>> {
    x509::end_point(stream.get_ref().1.peer_certificates()?.first()?)
}
