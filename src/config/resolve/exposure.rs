//! Warnings about what an attacker on the network, or another user of this machine, could do. None is an error: a network may be
//! trusted.

use std::{os::unix::fs::PermissionsExt, path::Path};

use crate::{
    config::{
        check::CheckKind,
        listener::ListenerConfig,
        pool::BackendConfig,
        raw::reader::{Field, Section},
    },
    wire::Protocol,
};

/// Write permission for everybody.
const WORLD_WRITABLE: u32 = 0o002;

/// Whether only this machine can be the other end.
pub(super) fn is_local(backend: &BackendConfig) -> bool {
    match backend.address.ip() {
        Some(ip) => ip.is_loopback(),
        // The host of a unix socket is localhost, too.
        None => backend.address.host().eq_ignore_ascii_case("localhost"),
    }
}

/// A password that goes to another machine without verification.
pub(super) fn warn_of_passwords(check: Option<Field<'_>>, backends: &[BackendConfig], kind: &CheckKind) {
    let Some((field, backend)) = check.zip(backends.iter().find(|backend| !is_local(backend))) else { return };
    if let Some((message, help)) = kind.exposed_password(&backend.name) {
        field.warning(message, help);
    }
}

/// A server without TLS on its unix socket says so, and mainstay passes that on.
pub(super) fn warn_of_clients_with_tls(
    section: Section<'_>,
    listeners: &[(ListenerConfig, Vec<Field<'_>>)],
    backends: &[BackendConfig],
    kind: &CheckKind,
) {
    let by_tcp = listeners.iter().any(|(listener, _)| listener.listen.iter().any(|endpoint| endpoint.tcp().is_some()));
    let by_unix = backends.iter().find(|backend| backend.address.unix().is_some()).filter(|_| by_tcp);
    if let (Protocol::Postgres, Some(backend), Some(field)) = (kind.protocol(), by_unix, section.own("backends")) {
        field.warning(
            format!("clients that connect by TCP cannot use TLS with {}: PostgreSQL has no TLS on a unix socket", backend.name),
            "clients with sslmode=require get `server does not support SSL`; for these give the backend by host:port",
        );
    }
}

/// A directory that another user could replace.
pub(in crate::config) fn warn_if_writable(field: Field<'_>, path: &Path) {
    let writable = |path: &&Path| std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & WORLD_WRITABLE != 0);
    if let Some(parent) = path.ancestors().find(writable) {
        field.warning(
            format!("every user of this machine can write to {}", parent.display()),
            "keep the state where only mainstay may write, such as /var/lib/mainstay",
        );
    }
}
