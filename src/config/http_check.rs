//! How the HTTP check asks.

use std::path::PathBuf;

use super::{
    exec::Word,
    secret::Secret,
    tls::{TlsIdentity, TlsMode},
};

/// A GET whose answer tells the role, such as Patroni's `GET /primary`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpCheck {
    /// The endpoint's port; `None` is the backend's own.
    pub port: Option<u16>,
    /// Path, with a query if one is needed; default `/primary`. Not shown where a variable is part of it, which may hold a token.
    pub path: Word,
    /// Any of these statuses means "this is the primary"; default 200.
    pub expect: Vec<u16>,
    /// Name for `Host` and for the certificate; `None` is the backend's host.
    pub host: Option<String>,
    /// Transport security: never `prefer`, because an HTTP port encrypts or does not.
    pub tls: TlsMode,
    /// PEM file with the authorities to trust; required for `verify-full`.
    pub tls_ca_file: Option<PathBuf>,
    /// What the check shows of itself, where the server asks.
    pub tls_identity: Option<TlsIdentity>,
    /// User and password (RFC 7617, "Basic").
    pub login: Option<HttpLogin>,
    /// A standby that lags by more bytes is not ready to take over (told by `failover_ready`).
    pub max_lag: Option<u64>,
}

/// User and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLogin {
    /// Has no colon.
    pub user: String,
    /// The password.
    pub password: Secret,
}

impl Default for HttpCheck {
    fn default() -> Self {
        Self {
            port: None,
            path: "/primary".into(),
            expect: vec![200],
            host: None,
            tls: TlsMode::Off,
            tls_ca_file: None,
            tls_identity: None,
            login: None,
            max_lag: None,
        }
    }
}
