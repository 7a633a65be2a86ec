//! Transport security of a check.

use std::path::PathBuf;

crate::labels! {
    /// Transport security of a check, in libpq's words.
    #[derive(Default)]
    pub enum TlsMode {
        /// Never.
        #[default]
        Off = "off",
        /// When the server offers it, unverified.
        Prefer = "prefer",
        /// Always, unverified.
        Require = "require",
        /// Always; certificate chain and host name are verified.
        VerifyFull = "verify-full",
    }
}

/// A certificate and its key. The files are read at each new connection, so renewed ones are used at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsIdentity {
    /// PEM file with the certificate, and the intermediate ones.
    pub cert_file: PathBuf,
    /// PEM file with its key.
    pub key_file: PathBuf,
}
