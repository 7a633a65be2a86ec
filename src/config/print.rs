//! The effective configuration, in the words of the file: every key, no secret.

mod exchange;
mod exec;

use std::{
    fmt::{Display, Write},
    path::Path,
    sync::Arc,
    time::Duration,
};

use serde_json::Value as Json;

use super::{
    AdminConfig, BackendConfig, CheckConfig, CheckKind, Config, HttpCheck, ListenerConfig, ListenerRoute, MysqlCheck, PoolConfig,
    PostgresCheck, RedisCheck, SecretSource, TlsIdentity, TlsMode,
    raw::quantity::{format_duration, format_size},
    resolve::{default_names, is_legal_name},
};
use crate::{
    failover::{Election, MaxLag, Policy, label::Label},
    net::cidr::Cidr,
};

/// A value in file order.
enum Tree {
    Null,
    Flag(bool),
    Number(u64),
    Text(String),
    /// A text that is shown as `***` to programs; in YAML it refers to where the secret is.
    Secret(String),
    List(Vec<Self>),
    Map(Vec<(&'static str, Self)>),
    /// A map whose keys are the user's.
    Named(Vec<(String, Self)>),
}

impl Config {
    /// The effective configuration under the keys of the file, secrets as `***`.
    pub fn to_json(&self) -> Json {
        json(&file(self))
    }

    /// The effective configuration as a file that can be used again; secrets as the file or variable they came from.
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        yaml(&file(self), 0, &mut out);
        out
    }
}

fn admin(admin: &AdminConfig) -> Tree {
    let mut map = vec![("listen", admin.listen.iter().map(|address| text(address)).collect())];
    if !admin.hosts.is_empty() {
        map.push(("hosts", admin.hosts.iter().map(|host| text(host)).collect()));
    }
    Tree::Map(map)
}

fn file(config: &Config) -> Tree {
    Tree::Map(vec![
        ("admin", admin(&config.admin)),
        ("log", Tree::Map(vec![("level", word(config.log.level)), ("format", word(config.log.format))])),
        ("shutdown", Tree::Map(vec![("delay", duration(config.shutdown.delay)), ("timeout", duration(config.shutdown.timeout))])),
        ("workers", config.workers.map_or_else(|| text(&"auto"), number)),
        ("busy_poll", or_off(config.busy_poll)),
        ("state_dir", config.state_dir.as_deref().map_or(Tree::Null, path)),
        ("pools", config.pools.iter().map(pool).collect()),
    ])
}

fn pool(pool: &PoolConfig) -> Tree {
    let policy = &pool.policy;
    let mut map = vec![
        ("name", text(&pool.name)),
        ("check", check(&pool.check, policy)),
        ("connect_timeout", duration(pool.connect_timeout)),
        (
            "hold",
            Tree::Map(vec![
                ("timeout", duration(pool.hold.timeout)),
                ("max", number(pool.hold.max)),
                ("max_per_ip", number(pool.hold.max_per_ip)),
            ]),
        ),
        ("on_down", word(pool.on_down)),
    ];
    if policy.election == Election::ByRole {
        map.push(("on_conflict", word(policy.on_conflict)));
    }
    let failback = policy.failback_after.map_or_else(|| text(&"never"), |after| Tree::Map(vec![("after", duration(after))]));
    let budget = Tree::Map(vec![("max", count(policy.budget_max)), ("within", duration(policy.budget_within))]);
    map.extend([
        ("failback", failback),
        ("failover_budget", budget),
        ("listeners", pool.listeners.iter().map(listener).collect()),
        ("backends", backends(&pool.backends)),
    ]);
    Tree::Map(map)
}

fn check(check: &CheckConfig, policy: &Policy) -> Tree {
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

fn listener(listener: &ListenerConfig) -> Tree {
    let keepalive = listener.keepalive;
    let mut map = vec![("name", text(&listener.name)), ("listen", listener.listen.iter().map(|address| text(address)).collect())];
    // What has no effect is not shown, and would be a warning.
    let is_tcp = listener.listen.iter().any(|address| address.tcp().is_some());
    map.extend(is_tcp.then_some(("freebind", Tree::Flag(listener.freebind))));
    map.push(("route", word(listener.route)));
    let chooses = listener.route != ListenerRoute::Primary;
    map.extend(chooses.then(|| ("balance", word(listener.balance))));
    map.extend((listener.route == ListenerRoute::Replica).then(|| ("fallback", word(listener.fallback))));
    map.push(("refusal", word(listener.refusal)));
    map.extend(listener.max_connections.map(|max| ("max_connections", number(max))));
    map.extend(listener.max_connections_per_ip.map(|max| ("max_connections_per_ip", number(max))));
    map.extend(networks("allow", &listener.allow));
    map.extend(networks("deny", &listener.deny));
    let proxy = &listener.proxy_protocol;
    let header = networks("accept_from", &proxy.accept_from).into_iter().chain([("send", word(proxy.send))]);
    map.extend([
        ("proxy_protocol", Tree::Map(header.collect())),
        ("client_login_timeout", or_off(listener.client_login_timeout)),
        ("idle_timeout", or_off(listener.idle_timeout)),
        ("half_close_timeout", duration(listener.half_close_timeout)),
        (
            "keepalive",
            Tree::Map(vec![
                ("idle", duration(keepalive.idle)),
                ("interval", duration(keepalive.interval)),
                ("count", count(keepalive.count)),
            ]),
        ),
        ("tcp_user_timeout", or_off(listener.tcp_user_timeout)),
        ("relay", word(listener.relay)),
    ]);
    Tree::Map(map)
}

/// Nothing where nothing is said: an empty list would be an error.
fn networks(key: &'static str, networks: &[Cidr]) -> Option<(&'static str, Tree)> {
    (!networks.is_empty()).then(|| (key, networks.iter().map(|network| text(network)).collect()))
}

/// Addresses alone where the names follow from them; else the names, but for those that can only come from an address.
fn backends(backends: &[BackendConfig]) -> Tree {
    let unnamed = backends.iter().map(|backend| (None, &backend.address)).collect::<Vec<_>>();
    let names: Vec<&Arc<str>> = backends.iter().map(|backend| &backend.name).collect();
    let follow = default_names(&unnamed).iter().eq(names);
    let one = |backend: &BackendConfig| {
        if follow || !is_legal_name(&backend.name) {
            text(&backend.address)
        } else {
            Tree::Map(vec![("name", text(&backend.name)), ("address", text(&backend.address))])
        }
    };
    backends.iter().map(one).collect()
}

impl FromIterator<Self> for Tree {
    fn from_iter<I: IntoIterator<Item = Self>>(items: I) -> Self {
        Self::List(items.into_iter().collect())
    }
}

fn text(value: &dyn Display) -> Tree {
    Tree::Text(value.to_string())
}

fn word<L: Label>(label: L) -> Tree {
    text(&label.as_str())
}

fn path(path: &Path) -> Tree {
    text(&path.display())
}

fn duration(duration: Duration) -> Tree {
    Tree::Text(format_duration(duration))
}

fn or_off(limit: Option<Duration>) -> Tree {
    limit.map_or_else(|| text(&"off"), duration)
}

fn number(value: usize) -> Tree {
    Tree::Number(value as u64)
}

fn count(value: u32) -> Tree {
    Tree::Number(value.into())
}

fn json(tree: &Tree) -> Json {
    match tree {
        Tree::Null => Json::Null,
        Tree::Flag(flag) => (*flag).into(),
        Tree::Number(number) => (*number).into(),
        Tree::Text(text) => text.as_str().into(),
        Tree::Secret(_) => "***".into(),
        Tree::List(items) => items.iter().map(json).collect(),
        Tree::Map(entries) => entries.iter().map(|(key, value)| ((*key).to_owned(), json(value))).collect(),
        Tree::Named(entries) => entries.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
    }
}

/// Writes a value behind what stands in the line already: `key:` or `-`, or nothing at the start.
fn yaml(tree: &Tree, indent: usize, out: &mut String) {
    let pad = "  ".repeat(indent);
    match tree {
        Tree::Map(entries) if !entries.is_empty() => {
            yaml_map(entries.iter().map(|(key, value)| (*key, value)), indent, out);
        }
        Tree::Named(entries) if !entries.is_empty() => {
            yaml_map(entries.iter().map(|(key, value)| (key.as_str(), value)), indent, out);
        }
        Tree::List(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&pad);
                out.push_str("- ");
                yaml(item, indent + 1, out);
            }
        }
        scalar => {
            yaml_scalar(scalar, out);
            out.push('\n');
        }
    }
}

fn yaml_map<'a>(entries: impl Iterator<Item = (&'a str, &'a Tree)>, indent: usize, out: &mut String) {
    let pad = "  ".repeat(indent);
    for (position, (key, value)) in entries.enumerate() {
        // The first key of a map in a list stands behind the dash.
        if position > 0 || !out.ends_with("- ") {
            out.push_str(&pad);
        }
        out.push_str(key);
        out.push(':');
        yaml_value(value, indent + 1, out);
    }
}

fn yaml_value(value: &Tree, indent: usize, out: &mut String) {
    let nested = match value {
        Tree::Map(entries) => !entries.is_empty(),
        Tree::Named(entries) => !entries.is_empty(),
        Tree::List(items) => !items.is_empty(),
        _ => false,
    };
    out.push(if nested { '\n' } else { ' ' });
    yaml(value, indent, out);
}

fn yaml_scalar(tree: &Tree, out: &mut String) {
    match tree {
        Tree::Null => out.push_str("null"),
        Tree::Flag(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Tree::Number(number) => out.push_str(&number.to_string()),
        Tree::Secret(reference) => out.push_str(reference),
        Tree::List(_) => out.push_str("[]"),
        Tree::Map(_) | Tree::Named(_) => out.push_str("{}"),
        Tree::Text(text) => {
            let plain =
                text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            let plain = plain && !["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&text.as_str());
            if plain {
                return out.push_str(text);
            }
            out.push('"');
            for c in text.chars() {
                match c {
                    '"' | '\\' => out.extend(['\\', c]),
                    '$' => out.push_str("$$"),
                    c if c.is_control() || !c.is_ascii() => {
                        // Writing to a String cannot fail.
                        let _ = write!(out, "\\U{:08X}", u32::from(c));
                    }
                    c => out.push(c),
                }
            }
            out.push('"');
        }
    }
}
