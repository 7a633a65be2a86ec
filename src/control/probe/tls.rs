//! What a check demands of the server's certificate, and the encryption itself.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use super::{Finding, bounded::Bounded, io_error};
use crate::{config::TlsMode, failover::Outcome};

/// A connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// Begins TLS on a connection to `host`.
///
/// # Errors
/// What was found instead.
pub(super) async fn encrypt(
    socket: Bounded,
    host: &str,
    mode: TlsMode,
    trusted: Option<&Path>,
) -> Result<Box<dyn Stream>, Finding> {
    let misconfigured = |why: String| Finding::new(Outcome::Misconfigured, why);
    let config = client(mode, trusted).map_err(misconfigured)?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| misconfigured(format!("{host} is no name for a certificate: {error}")))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await.map_err(|error| io_error(&error))?;
    Ok(Box::new(stream))
}

/// The client side of TLS for a check: 1.2 or 1.3. The authorities are read anew each time, so a renewed file counts at once.
///
/// # Errors
/// When the file with the authorities cannot be used; one sentence for people.
pub(super) fn client(mode: TlsMode, trusted: Option<&Path>) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match mode {
        TlsMode::Off | TlsMode::Prefer | TlsMode::Require => Arc::new(Unverified(Arc::clone(&provider))),
        TlsMode::VerifyFull => {
            let path = trusted.ok_or("verify-full needs tls_ca_file")?;
            WebPkiServerVerifier::builder_with_provider(Arc::new(authorities(path)?), Arc::clone(&provider))
                .build()
                .map_err(|error| format!("{}: {error}", path.display()))?
        }
    };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let fail = |what: &dyn std::fmt::Display| format!("tls_ca_file {}: {what}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| fail(&error))? {
        let certificate = certificate.map_err(|error| fail(&error))?;
        roots.add(certificate).map_err(|error| fail(&error))?;
    }
    if roots.is_empty() {
        return Err(fail(&"there is no certificate in it"));
    }
    Ok(roots)
}

/// Accepts any certificate, as libpq's `require` does without a root file: encrypted, but the peer may be anybody. The
/// handshake's signature is still checked, so at least the peer holds the key of the certificate it shows.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
