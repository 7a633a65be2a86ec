//! The configuration, and the keys of the process.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use serde_json::Value as Json;

use super::{
    notify::{self, ReceiverConfig},
    operators::{self, Operator},
    pool::{self, PoolConfig},
    raw::{
        node::Value,
        quantity::DAY,
        reader::{Field, Section},
    },
    resolve::{claims::Claims, endpoint::endpoint, exposure::warn_if_writable},
    shape,
    table::{counts_from, schema_of, table},
    tree::{Tree, number, path, some_of, text},
};
use crate::{
    lifecycle::Deadlines,
    net::{addr::BackendAddr, endpoint::Endpoint},
};

/// The effective configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The admin endpoint.
    pub admin: AdminConfig,
    /// The log.
    pub log: LogConfig,
    /// What `/metrics` shows.
    pub metrics: MetricsConfig,
    /// Whether the file is loaded again without an order.
    pub reload: ReloadConfig,
    /// How a shutdown proceeds.
    pub shutdown: Deadlines,
    /// Number of data-plane threads; `None` is one for each usable core.
    pub workers: Option<usize>,
    /// How long a worker polls after its sessions moved bytes; `None` not at all.
    pub busy_poll: Option<Duration>,
    /// Directory for the state that survives a restart.
    pub state_dir: Option<PathBuf>,
    /// Who is told of what happens.
    pub notify: Vec<ReceiverConfig>,
    /// The pools, in file order.
    pub pools: Vec<PoolConfig>,
}

/// Where the admin endpoint listens, and who may order there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// TCP addresses and unix sockets.
    pub listen: Vec<Endpoint>,
    /// Host names by which it may be asked, besides IP addresses and localhost.
    pub hosts: Vec<Arc<str>>,
    /// The file with the token that may order over TCP; `None`: nobody may.
    pub write: Option<PathBuf>,
    /// Who may order over a unix socket, besides root and mainstay's own user.
    pub operators: Vec<Operator>,
}

/// The log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The lowest level that is written.
    pub level: LogLevel,
    /// The format of a line.
    pub format: LogFormat,
}

/// What `/metrics` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// How much of it.
    pub detail: MetricsDetail,
}

/// Whether the configuration file is loaded again without an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadConfig {
    /// Between two looks at the file; `None`: nobody looks.
    pub watch: Option<Duration>,
}

crate::labels! {
    /// How many series `/metrics` shows.
    pub enum MetricsDetail {
        /// Those that an alert, a panel or the runbook needs.
        Short = "short",
        /// All.
        Full = "full",
    }
}

crate::labels! {
    /// Level of a log line.
    pub enum LogLevel {
        /// Only what needs a person.
        Error = "error",
        /// Also what may need one.
        Warn = "warn",
        /// Also every change of state.
        Info = "info",
        /// Also every session.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

crate::labels! {
    /// Format of a log line.
    pub enum LogFormat {
        /// Text on a terminal, JSON otherwise.
        Auto = "auto",
        /// For people.
        Text = "text",
        /// For programs.
        Json = "json",
        /// `key=value`, for programs and people.
        Logfmt = "logfmt",
    }
}

const ADMIN_PORT: u16 = 8432;
const MAX_ADMIN_ADDRESSES: usize = 16;
const MAX_ADMIN_HOSTS: usize = 64;
const HOST: &str = "a host name without a port, such as mainstay.example";
const MAX_WORKERS: u32 = 256;
const HOUR: Duration = Duration::from_hours(1);

impl Config {
    /// The effective configuration under the keys of the file, secrets as `***`.
    pub fn to_json(&self) -> Json {
        FILE.print(self).to_json()
    }

    /// The effective configuration as a file that can be read again; secrets as the file or variable they came from.
    pub fn to_yaml(&self) -> String {
        FILE.print(self).to_yaml()
    }

    /// The keys of the process that differ and cannot change while it runs.
    pub fn keys_that_differ<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'static str> {
        FILE.differing(self, other).filter(|key| !["pools", "notify", "reload"].contains(key))
    }

    /// Every key at its default.
    pub(super) fn plain() -> Self {
        Self {
            admin: AdminConfig {
                listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT)).into()],
                hosts: Vec::new(),
                write: None,
                operators: Vec::new(),
            },
            log: LogConfig { level: LogLevel::Info, format: LogFormat::Auto },
            metrics: MetricsConfig { detail: MetricsDetail::Short },
            reload: ReloadConfig { watch: None },
            shutdown: Deadlines { delay: Duration::ZERO, timeout: Duration::from_secs(30) },
            workers: None,
            busy_poll: None,
            state_dir: None,
            notify: Vec::new(),
            pools: Vec::new(),
        }
    }
}

table! {
    FILE: Config;
    "admin": elsewhere("[a map](#admin)", "see there", |config| Some(ADMIN.print(&config.admin)))
        is schema_of(&ADMIN, &Config::plain().admin),
        "Where the status, the metrics and the API are; see [admin.md](admin.md).";
    "log": section(log, LOG), "The log, on standard error; see [log.md](log.md).";
    "metrics": section(metrics, METRICS), "What `/metrics` shows.";
    "reload": section(reload, RELOAD), "Whether a changed file is loaded without an order; see [reload.md](reload.md).";
    "shutdown": section(shutdown, SHUTDOWN), "How mainstay stops.";
    "workers": custom(
        |_| format!("{}, or `auto`", counts_from(&(1..=MAX_WORKERS))), "",
        |field, config| config.workers = if field.is_word("auto") { None } else { field.size_of(1..=MAX_WORKERS) },
        |config| Some(config.workers.map_or_else(|| text(&"auto"), number))
    ) is shape::number::count_or(&(1..=MAX_WORKERS), "auto"),
        "Threads that relay bytes; `auto` is one for each core that the process may use.";
    // Longer than a query of a few rows takes, it would only keep the core busy.
    "busy_poll": duration_or_off(busy_poll, Duration::from_micros(1)..=Duration::from_millis(1)),
        "How long a worker polls for more before it sleeps: lower latency, but it keeps a core busy.";
    "state_dir": custom(
        |_| "the absolute path of a directory, or `null`".into(), "",
        |field, config| config.state_dir = state_dir(field),
        |config| Some(config.state_dir.as_deref().map_or(Tree::Null, path))
    ) is shape::absolute_path_or_null(),
        "Directory for the state that survives a restart: the active backend, the highest epoch, the last incidents.";
    "notify": custom(
        |_| "a list of [maps](#notify)".into(), "none",
        |field, config| config.notify = notify::receivers(field),
        |config| Some(config.notify.iter().map(notify::print).collect())
    ) is notify::schema(), "Who is told of what happens; see [notifications.md](notifications.md).";
    "defaults": elsewhere("[a map](#pools-and-defaults)", "see there", |_| None) is pool::schema_of_defaults(),
        "Defaults for every pool.";
    "pools": elsewhere("a list of [maps](#pools)", "required", |config| Some(config.pools.iter().map(pool::print).collect()))
        is pool::schema(),
        "The pools.";
}

table! {
    ADMIN: AdminConfig;
    "listen": elsewhere("`IP:PORT` or `unix:/PATH`, or a list of them", "127.0.0.1:8432", |admin| {
        Some(admin.listen.iter().map(|address| text(address)).collect())
    }) is shape::one_or_many(shape::address::listen(), MAX_ADMIN_ADDRESSES), "Its addresses.";
    "hosts": custom(
        |_| "a host name, or a list of them".into(), "none",
        |field, admin| admin.hosts = hosts(field),
        |admin| some_of(&admin.hosts)
    ) is shape::one_or_many(shape::address::host(), MAX_ADMIN_HOSTS),
        "Host names by which it may be asked, besides IP addresses and localhost.";
    "write": custom(
        |_| "`false` or `{token_file: PATH}`".into(), "",
        |field, admin| admin.write = operators::write(field),
        |admin| Some(operators::print_write(admin.write.as_ref()))
    ) is operators::schema_of_write(),
        "Orders over TCP: from nobody, or from who has the token in this file, which is read anew for each order.";
    "operators": custom(
        |_| "a user, `@` and a group, or a list of them".into(), "none",
        |field, admin| admin.operators = operators::operators(field),
        |admin| some_of(&admin.operators)
    ) is operators::schema(), "Who may order over the unix socket, besides root and mainstay's own user.";
}

table! {
    LOG: LogConfig;
    "level": word(level), "The lowest level that is written.";
    "format": word(format), "How lines look; `auto` is text on a terminal and JSON otherwise.";
}

table! {
    METRICS: MetricsConfig;
    "detail": word(detail), "`full` also shows what no alert, panel or runbook needs; see [metrics.md](metrics.md).";
}

table! {
    RELOAD: ReloadConfig;
    "watch": duration_or_off(watch, Duration::from_millis(100)..=HOUR),
        "How often the file is read to see whether its content has changed; what has changed is loaded.";
}

table! {
    SHUTDOWN: Deadlines;
    "delay": duration(delay, Duration::ZERO..=DAY), "New clients are accepted for this long after SIGTERM or SIGINT.";
    "timeout": duration(timeout, Duration::ZERO..=DAY), "Sessions may go on for this long after that.";
}

/// `admin`. Its addresses must not be used elsewhere.
pub(super) fn admin(file: Section<'_>, claims: &mut Claims, config: &mut AdminConfig) {
    let wanted = "an address such as 127.0.0.1:8432 or unix:/run/mainstay/admin.sock, or a list of them";
    let Some(section) = file.get("admin").and_then(|field| field.map(ADMIN.keys())) else { return };
    if let Some(field) = section.get("listen") {
        let fields = field.one_or_many(wanted, MAX_ADMIN_ADDRESSES).unwrap_or_default();
        config.listen = fields.into_iter().filter_map(|field| admin_address(field, claims)).collect();
    }
    ADMIN.read(section, config);
    operators::warn(
        section.get("write").filter(|_| config.write.is_some()),
        section.get("operators").filter(|_| !config.operators.is_empty()),
        || config.listen.iter().any(|endpoint| !endpoint.is_local()),
        || config.listen.iter().any(|endpoint| endpoint.tcp().is_none()),
    );
}

fn hosts(field: Field<'_>) -> Vec<Arc<str>> {
    let names = "a host name such as mainstay.example, or a list of them";
    field.one_or_many(names, MAX_ADMIN_HOSTS).unwrap_or_default().into_iter().filter_map(host).collect()
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
            "it shows the addresses of your databases; keep it on 127.0.0.1, or protect it with a firewall",
        );
    }
}

fn state_dir(field: Field<'_>) -> Option<PathBuf> {
    const WANTED: &str = "the absolute path of a directory";
    if matches!(field.value(), Value::Null) {
        return None;
    }
    let path = PathBuf::from(field.text(WANTED)?);
    if !path.is_absolute() {
        return field.wrong(WANTED, None);
    }
    warn_if_writable(field, &path);
    Some(path)
}
