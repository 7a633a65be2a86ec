//! Over TLS: whom the check trusts, and how it says who it is.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use mainstay::{
    config::{HttpCheck, TlsIdentity, TlsMode},
    failover::{Outcome, Role},
    net::addr::BackendAddr,
};
use rustls::{RootCertStore, ServerConfig, crypto::ring, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::{local, once};
use crate::{probe::fake, support::child::Bounded};

/// A directory with an authority and what it signed, removed at the end.
struct Certificates(PathBuf);

impl Certificates {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("mainstay-http-tls-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let script = "set -e
key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
for authority in good other; do
    openssl req -x509 $key -days 2 -subj \"/CN=test authority $authority\" -keyout $authority-ca.key -out $authority-ca.crt
done
sign() { # NAME, AUTHORITY, EXTENSIONS
    openssl req -new $key -subj /CN=$1 -keyout $1.key -out $1.csr
    printf \"$3\\nbasicConstraints=CA:FALSE\\n\" > $1.ext
    openssl x509 -req -in $1.csr -CA $2-ca.crt -CAkey $2-ca.key -CAcreateserial -days 2 -extfile $1.ext -out $1.crt
}
sign server good subjectAltName=DNS:localhost,DNS:patroni.example
sign mainstay good extendedKeyUsage=clientAuth
sign stranger other extendedKeyUsage=clientAuth";
        let output = Command::new("sh").args(["-c", script]).current_dir(&dir).bounded_output().unwrap();
        assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn chain(&self, name: &str) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_file_iter(self.path(name)).unwrap().map(Result::unwrap).collect()
    }

    fn identity(&self, name: &str) -> TlsIdentity {
        TlsIdentity { cert_file: self.path(&format!("{name}.crt")), key_file: self.path(&format!("{name}.key")) }
    }

    /// A server that answers 200; `demanding` one wants a certificate of the good authority.
    async fn serve(&self, demanding: bool) -> u16 {
        let mut roots = RootCertStore::empty();
        for certificate in self.chain("good-ca.crt") {
            roots.add(certificate).unwrap();
        }
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let builder = if demanding {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from_pem_file(self.path("server.key")).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(builder.with_single_cert(self.chain("server.crt"), key).unwrap()));
        fake::serve(move |stream, _| {
            let acceptor = acceptor.clone();
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                while matches!(stream.read(&mut [0; 4096]).await, Ok(1..)) {
                    if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_err() {
                        return;
                    }
                }
            }
        })
        .await
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn check(tls: TlsMode) -> HttpCheck {
    HttpCheck { tls, ..HttpCheck::default() }
}

fn verifying(authority: &Path) -> HttpCheck {
    HttpCheck { tls_ca_file: Some(authority.into()), ..check(TlsMode::VerifyFull) }
}

#[tokio::test]
async fn certificates_are_verified_and_shown_as_asked() {
    let certificates = Certificates::new();
    let (open, demanding) = (certificates.serve(false).await, certificates.serve(true).await);
    let (good, other) = (certificates.path("good-ca.crt"), certificates.path("other-ca.crt"));
    let by_name = |port: u16| -> BackendAddr { format!("localhost:{port}").parse().unwrap() };
    let renamed = HttpCheck { host: Some("patroni.example".into()), ..verifying(&good) };
    let known = HttpCheck { tls_identity: Some(certificates.identity("mainstay")), ..verifying(&good) };
    for (address, check) in [
        (local(open), check(TlsMode::Require)),
        (by_name(open), verifying(&good)),
        (local(open), renamed),
        (by_name(demanding), known.clone()),
        (local(demanding), HttpCheck { tls: TlsMode::Require, tls_ca_file: None, ..known.clone() }),
    ] {
        let finding = once(&address, &check).await;
        assert_eq!((finding.outcome, finding.facts.role), (Outcome::Ok, Some(Role::Primary)), "{check:?}: {}", finding.evidence);
    }
    let unknown = HttpCheck { tls_identity: Some(certificates.identity("stranger")), ..verifying(&good) };
    let mismatched = TlsIdentity { cert_file: certificates.path("mainstay.crt"), key_file: certificates.path("stranger.key") };
    let absent = TlsIdentity { cert_file: certificates.path("mainstay.crt"), key_file: certificates.path("nowhere.key") };
    let keyless = TlsIdentity { cert_file: certificates.path("mainstay.key"), key_file: certificates.path("mainstay.key") };
    let with = |identity| HttpCheck { tls_identity: Some(identity), ..known.clone() };
    for (address, check, word) in [
        (by_name(open), verifying(&other), "UnknownIssuer"),
        (local(open), verifying(&good), "not valid for"),
        (by_name(demanding), verifying(&good), "alert"),
        (by_name(demanding), unknown, "alert"),
        (by_name(demanding), with(mismatched), "cannot be used"),
        (by_name(demanding), with(absent), "tls_key_file"),
        (by_name(demanding), with(keyless), "no certificate"),
    ] {
        let finding = once(&address, &check).await;
        assert_eq!(finding.outcome, Outcome::Misconfigured, "{word}: {}", finding.evidence);
        assert!(finding.evidence.contains(word), "{word}: {}", finding.evidence);
    }
    // Clear text to a port that wants TLS, and TLS to one that does not know it.
    let finding = once(&by_name(open), &check(TlsMode::Off)).await;
    assert!(matches!(finding.outcome, Outcome::ProtocolError | Outcome::Closed), "{finding:?}");
    let clear = fake::serve(|stream, _| async move { fake::answer(stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await }).await;
    let finding = once(&local(clear), &check(TlsMode::Require)).await;
    assert_eq!(finding.outcome, Outcome::ProtocolError, "{}", finding.evidence);
    // A renewed file counts at once.
    std::fs::copy(certificates.path("stranger.crt"), certificates.path("mainstay.crt")).unwrap();
    std::fs::copy(certificates.path("stranger.key"), certificates.path("mainstay.key")).unwrap();
    assert_eq!(once(&by_name(demanding), &known).await.outcome, Outcome::Misconfigured);
}
