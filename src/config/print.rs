//! A check in the words of the file: every key, no secret.

mod exchange;
mod exec;

use std::path::Path;

use super::{
    check::{CheckConfig, CheckKind, MysqlCheck, PostgresCheck, RedisCheck},
    http_check::HttpCheck,
    raw::quantity::format_size,
    secret::SecretSource,
    tls::{TlsIdentity, TlsMode},
    tree::{Tree, count, duration, path, text, word},
};
use crate::failover::{MaxLag, Policy};

/// `check` of a pool.
pub(super) fn check(check: &CheckConfig, policy: &Policy) -> Tree {
    let mut map = match &check.kind {
        CheckKind::Tcp => vec![("tcp", Tree::Map(Vec::new()))],
        CheckKind::Postgres(login) => vec![("postgres", postgres(login)), ("fresh_login", duration(check.fresh_login))],
        CheckKind::Mysql(login) => vec![("mysql", mysql(login)), ("fresh_login", duration(check.fresh_login))],
        CheckKind::Redis(login) => vec![("redis", redis(login)), ("fresh_login", duration(check.fresh_login))],
        CheckKind::Http(alone) => vec![("http", http(alone)), ("fresh_login", duration(check.fresh_login))],
        CheckKind::Exec(check) => vec![("exec", exec::exec(check))],
        CheckKind::Exchange(check) => vec![("exchange", exchange::exchange(check))],
    };
    map.extend(check.second.as_ref().map(|second| ("http", http(second))));
    map.extend([
        ("interval", duration(check.interval)),
        ("fast_interval", duration(check.fast_interval)),
        ("timeout", duration(check.timeout)),
        ("fall", count(policy.fall)),
        ("rise", count(policy.rise)),
    ]);
    Tree::Map(map)
}

fn postgres(login: &PostgresCheck) -> Tree {
    let mut map = vec![("user", text(&login.user))];
    map.extend(password(login.password.as_ref()));
    map.push(("database", text(&login.database)));
    map.extend(login.require_auth.as_ref().map(|methods| ("require_auth", methods.iter().copied().map(word).collect())));
    map.extend(in_clear_text(login.allow_cleartext_password));
    map.extend(security(login.tls, login.tls_ca_file.as_deref(), login.max_lag.map(MaxLag::Bytes)));
    map.extend(identity(login.tls_identity.as_ref()));
    Tree::Map(map)
}

fn mysql(login: &MysqlCheck) -> Tree {
    let mut map = vec![("user", text(&login.user))];
    map.extend(password(login.password.as_ref()));
    map.extend(in_clear_text(login.allow_cleartext_password));
    map.extend(login.server_public_key_file.as_deref().map(|file| ("server_public_key_file", path(file))));
    map.extend(security(login.tls, login.tls_ca_file.as_deref(), login.max_lag));
    map.extend(identity(login.tls_identity.as_ref()));
    map.push(("writable_replica", word(login.writable_replica)));
    Tree::Map(map)
}

fn redis(login: &RedisCheck) -> Tree {
    let mut map: Vec<_> = login.user.as_ref().map(|user| ("user", text(user))).into_iter().collect();
    map.extend(password(login.password.as_ref()));
    map.extend(security(login.tls, login.tls_ca_file.as_deref(), login.max_lag.map(MaxLag::Bytes)));
    map.extend(identity(login.tls_identity.as_ref()));
    if let Some(sentinels) = &login.sentinels {
        map.push(("sentinels", sentinels.addresses.iter().map(|address| text(address)).collect()));
        map.push(("sentinel_name", text(&sentinels.name)));
        map.extend(sentinels.user.as_ref().map(|user| ("sentinel_user", text(user))));
        map.extend(sentinels.password.as_ref().map(|secret| secret_as("sentinel_password", "sentinel_password_file", secret)));
    }
    Tree::Map(map)
}

fn http(check: &HttpCheck) -> Tree {
    let mut map: Vec<_> = check.port.map(|port| ("port", Tree::Number(port.into()))).into_iter().collect();
    map.push(("path", exec::word(&check.path)));
    map.push(("expect", check.expect.iter().map(|status| Tree::Number((*status).into())).collect()));
    map.extend(check.host.as_ref().map(|host| ("host", text(host))));
    if let Some(login) = &check.login {
        map.push(("user", text(&login.user)));
        map.extend(password(Some(&login.password)));
    }
    map.extend(security(check.tls, check.tls_ca_file.as_deref(), check.max_lag.map(MaxLag::Bytes)));
    map.extend(identity(check.tls_identity.as_ref()));
    Tree::Map(map)
}

fn identity(identity: Option<&TlsIdentity>) -> impl Iterator<Item = (&'static str, Tree)> {
    let files =
        identity.map(|identity| [("tls_cert_file", path(&identity.cert_file)), ("tls_key_file", path(&identity.key_file))]);
    files.into_iter().flatten()
}

fn in_clear_text(allowed: bool) -> Option<(&'static str, Tree)> {
    allowed.then_some(("allow_cleartext_password", Tree::Flag(true)))
}

fn password(secret: Option<&super::Secret>) -> Option<(&'static str, Tree)> {
    secret.map(|secret| secret_as("password", "password_file", secret))
}

fn secret_as(key: &'static str, file_key: &'static str, secret: &super::Secret) -> (&'static str, Tree) {
    match secret.source() {
        SecretSource::File(file) => (file_key, path(file)),
        SecretSource::Variable(name) => (key, Tree::Secret(format!("${{{name}}}"))),
        SecretSource::Program => (key, Tree::Secret("***".into())),
    }
}

/// A secret that is part of a text: in YAML the variable that is all of it, or nothing that could be used again.
fn hidden(source: &SecretSource) -> Tree {
    match source {
        SecretSource::Variable(name) => Tree::Secret(format!("${{{name}}}")),
        SecretSource::File(_) | SecretSource::Program => Tree::Secret("\"***\"".into()),
    }
}

fn security(tls: TlsMode, authorities: Option<&Path>, max_lag: Option<MaxLag>) -> impl Iterator<Item = (&'static str, Tree)> {
    let authorities = authorities.map(|file| ("tls_ca_file", path(file)));
    let max_lag = max_lag.map(|max| ("max_lag", lag(max)));
    [("tls", word(tls))].into_iter().chain(authorities).chain(max_lag)
}

fn lag(max: MaxLag) -> Tree {
    match max {
        MaxLag::Bytes(bytes) => Tree::Text(format_size(bytes)),
        MaxLag::Time(time) => duration(time),
    }
}
