//! The TLS client of a check: verification of the server's certificate, and its own certificate.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};

use super::x509;
use crate::config::{TlsIdentity, TlsMode, file};

/// The TLS client of a check: 1.2 or 1.3, with a certificate of its own for a server that asks for one. The files are read each
/// time, so renewed ones are used at once. Blocks on the disk.
///
/// # Errors
/// When one of the files cannot be used; one sentence for people, without any content of a key file.
pub(super) fn client(mode: TlsMode, trusted: Option<&Path>, identity: Option<&TlsIdentity>) -> Result<ClientConfig, String> {
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
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let Some(TlsIdentity { cert_file, key_file }) = identity else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(cert_file).map_err(|what| format!("tls_cert_file {}: {what}", cert_file.display()))?;
    let key = key(key_file).map_err(|what| format!("tls_key_file {}: {what}", key_file.display()))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| {
        format!("tls_cert_file {} and tls_key_file {} cannot be used: {error}", cert_file.display(), key_file.display())
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = file::read(path).map_err(|unread| unread.to_string())?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    if chain.is_empty() { Err("there is no certificate in it".into()) } else { Ok(chain) }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = file::read(path).map_err(|unread| unread.to_string())?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| error.to_string())
}

fn authorities(path: &Path) -> Result<RootCertStore, String> {
    let fail = |what: &dyn std::fmt::Display| format!("tls_ca_file {}: {what}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path).map_err(|what| fail(&what))? {
        roots.add(certificate).map_err(|error| fail(&error))?;
    }
    Ok(roots)
}

/// Accepts any certificate, as libpq's `require` does without a root file: encrypted, but the peer may be anybody. The
/// handshake's signature is still checked, so at least the peer holds the key of the certificate it shows; that of a certificate
/// which webpki does not read (version 1) as well.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl Unverified {
    fn or_by_its_key(
        &self,
        judged: Result<HandshakeSignatureValid, rustls::Error>,
        (message, certificate, signed): (&[u8], &CertificateDer<'_>, &DigitallySignedStruct),
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        judged.or_else(|error| match error {
            rustls::Error::InvalidCertificate(_) if x509::signed_by_owner(certificate, message, signed, algorithms) => {
                Ok(HandshakeSignatureValid::assertion())
            }
            error => Err(error),
        })
    }
}

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
        let judged = verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms);
        self.or_by_its_key(judged, (message, certificate, signed))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let judged = verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms);
        self.or_by_its_key(judged, (message, certificate, signed))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
