//! `mainstay probe http`: the check that the arguments describe.

use super::Args;
use crate::config::{HttpCheck, HttpLogin, Secret, TlsIdentity, TlsMode};

/// The check.
///
/// # Errors
/// Which argument cannot be used, and what would be right.
pub(super) fn check(args: &Args, password: Option<Secret>, tls_identity: Option<TlsIdentity>) -> Result<HttpCheck, String> {
    let plain = HttpCheck::default();
    if args.tls == Some(TlsMode::Prefer) {
        return Err("--tls prefer: an HTTP port encrypts or does not; write off or require".into());
    }
    if !args.path.starts_with('/') {
        return Err("--path begins with a slash, as in /primary".into());
    }
    let login = match (args.user.clone(), password) {
        (Some(user), Some(password)) => Some(HttpLogin { user, password }),
        (None, None) => None,
        _ => return Err("--user and --password-file belong together".into()),
    };
    Ok(HttpCheck {
        port: args.port,
        path: args.path.clone().into(),
        expect: if args.status.is_empty() { plain.expect } else { args.status.clone() },
        host: args.host.clone(),
        tls: args.tls.unwrap_or(plain.tls),
        tls_ca_file: args.tls_ca_file.clone(),
        tls_identity,
        login,
        max_lag: None,
    })
}
