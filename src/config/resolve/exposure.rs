//! Warnings of what somebody else on the network, or on this machine, could do. Nothing here is an error: a network may be trusted.

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

/// Permission of everybody to write.
const WORLD_WRITABLE: u32 = 0o002;

/// Only this machine can be at its other end.
pub(super) fn is_local(backend: &BackendConfig) -> bool {
    match backend.address.ip() {
        Some(ip) => ip.is_loopback(),
        // A unix socket's host is that, too.
        None => backend.address.host().eq_ignore_ascii_case("localhost"),
    }
}

/// A password that goes to another machine, of which nobody knows whether it is the right one.
pub(super) fn warn_of_passwords(check: Option<Field<'_>>, backends: &[BackendConfig], kind: &CheckKind) {
    let Some((field, backend)) = check.zip(backends.iter().find(|backend| !is_local(backend))) else { return };
    if let Some((message, help)) = kind.exposed_password(&backend.name) {
        field.warning(message, help);
    }
}

/// A server says on its unix socket that it has no TLS, and mainstay passes that on.
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
            format!(
                "clients that come by TCP and want TLS get none from {}: PostgreSQL has no TLS on a unix socket",
                backend.name
            ),
            "clients with sslmode=require are told `server does not support SSL`; for these give the backend by host:port",
        );
    }
}

/// A directory in whose place somebody else could put another.
pub(in crate::config) fn warn_if_writable(field: Field<'_>, path: &Path) {
    let writable = |path: &&Path| std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & WORLD_WRITABLE != 0);
    if let Some(parent) = path.ancestors().find(writable) {
        field.warning(
            format!("every user of this machine can write to {}", parent.display()),
            "keep the state where only mainstay may write, such as /var/lib/mainstay",
        );
    }
}
