//! What concerns the process as a whole.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use super::{DAY, claims::Claims, listener::endpoint, strangers};
use crate::{
    config::{
        AdminConfig, LogConfig, LogFormat, LogLevel,
        raw::reader::{Field, Keys, Section},
    },
    lifecycle::Deadlines,
    net::{addr::BackendAddr, endpoint::Endpoint},
};

const ADMIN_KEYS: Keys = Keys { known: &["listen", "hosts"], planned: &["write"] };
const LOG_KEYS: Keys = Keys { known: &["level", "format"], planned: &[] };
const SHUTDOWN_KEYS: Keys = Keys { known: &["delay", "timeout"], planned: &[] };

const ADMIN_PORT: u16 = 8432;
const MAX_ADMIN_ADDRESSES: usize = 16;
const MAX_ADMIN_HOSTS: usize = 64;
const HOST: &str = "a host name without a port, such as mainstay.example";
const MAX_WORKERS: u32 = 256;

pub(super) fn admin(file: Section<'_>, claims: &mut Claims) -> AdminConfig {
    let wanted = "an address such as 127.0.0.1:8432 or unix:/run/mainstay/admin.sock, or a list of them";
    let section = file.get("admin").and_then(|field| field.map(ADMIN_KEYS));
    let fields = section
        .and_then(|admin| admin.get("listen"))
        .map(|field| field.one_or_many(wanted, MAX_ADMIN_ADDRESSES).unwrap_or_default());
    let listen = match fields {
        Some(fields) => fields.into_iter().filter_map(|field| admin_address(field, claims)).collect(),
        None => vec![SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT)).into()],
    };
    let names = "a host name such as mainstay.example, or a list of them";
    let hosts = section.and_then(|admin| admin.get("hosts")?.one_or_many(names, MAX_ADMIN_HOSTS)).unwrap_or_default();
    AdminConfig { listen, hosts: hosts.into_iter().filter_map(host).collect() }
}

fn host(field: Field<'_>) -> Option<Arc<str>> {
    let text = field.text(HOST)?;
    let is_host = |text: &str| !text.contains(':') && format!("{text}:1").parse::<BackendAddr>().is_ok();
    let name = text.strip_suffix('.').unwrap_or(text);
    if is_host(name) { Some(name.into()) } else { field.wrong(HOST, None) }
}

fn admin_address(field: Field<'_>, claims: &mut Claims) -> Option<Endpoint> {
    let endpoint = endpoint(field, "an address such as 127.0.0.1:8432 or unix:/run/mainstay/admin.sock")?;
    claims.listen(field, &endpoint);
    warn_if_reachable(field, &endpoint);
    Some(endpoint)
}

fn warn_if_reachable(field: Field<'_>, endpoint: &Endpoint) {
    if !endpoint.is_local() {
        field.warning(
            "the admin endpoint can be reached from other machines",
            "it tells the addresses of your databases; keep it on 127.0.0.1, or let a firewall guard it",
        );
    }
}

pub(super) fn log(file: Section<'_>) -> LogConfig {
    let log = file.get("log").and_then(|field| field.map(LOG_KEYS));
    LogConfig {
        level: log.map_or(LogLevel::Info, |log| log.word("level", LogLevel::Info)),
        format: log.map_or(LogFormat::Auto, |log| log.word("format", LogFormat::Auto)),
    }
}

pub(super) fn shutdown(file: Section<'_>) -> Deadlines {
    let shutdown = file.get("shutdown").and_then(|field| field.map(SHUTDOWN_KEYS));
    let read = |key, default| shutdown.map_or(default, |section| section.duration(key, default, Duration::ZERO..=DAY));
    Deadlines { delay: read("delay", Duration::ZERO), timeout: read("timeout", Duration::from_secs(30)) }
}

pub(super) fn workers(file: Section<'_>) -> Option<usize> {
    let field = file.get("workers").filter(|field| !field.is_word("auto"))?;
    field.count(1..=MAX_WORKERS).and_then(|count| usize::try_from(count).ok())
}

pub(super) fn busy_poll(file: Section<'_>) -> Option<Duration> {
    // Longer than a query of a few rows takes, it would only burn the core.
    file.get("busy_poll")?.duration_or_off(Duration::from_micros(1)..=Duration::from_millis(1))
}

pub(super) fn state_dir(file: Section<'_>) -> Option<PathBuf> {
    let field = file.get_or_null("state_dir")?;
    let path = PathBuf::from(field.text("the absolute path of a directory")?);
    if !path.is_absolute() {
        return field.wrong("the absolute path of a directory", None);
    }
    strangers::warn_if_writable(field, &path);
    Some(path)
}
