//! The TLS files: CAs and client certificate. Only paths are kept; the files are read again at each login.

use std::path::PathBuf;

use crate::{
    config::{
        file,
        raw::reader::{Field, Section},
        tls::{TlsIdentity, TlsMode},
    },
    failover::label::Label,
};

/// Whom to trust, and what the check shows of itself.
pub(in crate::config) fn files(section: Section<'_>, tls: TlsMode) -> (Option<PathBuf>, Option<TlsIdentity>) {
    (authorities(section, tls), identity(section, tls))
}

/// The mode, where a server cannot be asked whether it encrypts; `why` says why not.
pub(in crate::config) fn encryption(field: Field<'_>, why: &str) -> Option<TlsMode> {
    let tls = field.word().filter(|tls| *tls != TlsMode::Prefer);
    if field.is_word(TlsMode::Prefer.as_str()) {
        field.error(why, "write `off`, `require` or `verify-full`");
    }
    tls
}

/// The CAs to trust, where a server is verified.
fn authorities(section: Section<'_>, tls: TlsMode) -> Option<PathBuf> {
    let Some(field) = section.get("tls_ca_file") else {
        if let Some(field) = section.get("tls").filter(|_| tls == TlsMode::VerifyFull) {
            field.error(
                "`verify-full` needs to know which CA to trust",
                "add the PEM file of the CA: `tls_ca_file: /etc/ssl/ca.pem`",
            );
        }
        return None;
    };
    let path = PathBuf::from(field.text("the path of a PEM file")?);
    if tls != TlsMode::VerifyFull {
        field.warning(
            "`tls_ca_file` has no effect: nothing is verified with this `tls`",
            "write `tls: verify-full` to verify the server",
        );
    }
    match file::read_text(&path) {
        Ok(text) if text.contains("-----BEGIN") => Some(path),
        Ok(_) => field.wrong("the path of a PEM file", Some("the file holds no `-----BEGIN CERTIFICATE-----`".into())),
        Err(reason) => field.wrong("the path of a PEM file that mainstay can read", Some(reason)),
    }
}

/// The client certificate.
fn identity(section: Section<'_>, tls: TlsMode) -> Option<TlsIdentity> {
    let (cert, key) = (section.get("tls_cert_file"), section.get("tls_key_file"));
    let (cert, key) = match (cert, key) {
        (Some(cert), Some(key)) => (cert, key),
        (Some(cert), None) => {
            cert.error("a certificate needs its key", "add `tls_key_file: /path`");
            return None;
        }
        (None, Some(key)) => {
            key.error("a key needs its certificate", "add `tls_cert_file: /path`");
            return None;
        }
        (None, None) => return None,
    };
    if tls == TlsMode::Off {
        cert.warning("`tls_cert_file` has no effect: nothing is encrypted with this `tls`", "write `tls: verify-full`");
    }
    Some(TlsIdentity { cert_file: pem(cert, "CERTIFICATE")?, key_file: pem(key, "PRIVATE KEY")? })
}

/// A readable file with such a part. Errors contain nothing of its content.
pub(in crate::config) fn pem(field: Field<'_>, part: &str) -> Option<PathBuf> {
    let path = PathBuf::from(field.text("the path of a PEM file")?);
    match file::read_text(&path) {
        Ok(text) if text.lines().any(|line| line.starts_with("-----BEGIN ") && line.contains(part)) => Some(path),
        Ok(_) => field.wrong("the path of a PEM file", Some(format!("the file holds no `-----BEGIN … {part}-----`"))),
        Err(reason) => field.wrong("the path of a PEM file that mainstay can read", Some(reason)),
    }
}
