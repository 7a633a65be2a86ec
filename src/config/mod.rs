//! Configuration: what the user wrote becomes [`Config`], which holds only legal run-time values. Nothing after it validates
//! again.
//!
//! | file | what it holds |
//! |---|---|
//! | [`source`] | the bytes of the file |
//! | [`raw`] | the file as it was written, with the place of every value |
//! | [`resolve`] | from there to [`Config`], collecting *all* errors |
//! | [`findings`] | the collection |
//! | [`check`] | how backends are checked |
//! | [`diagnostic`] | one error: place, path, what is wrong, what would be right |
//! | [`flags`] | the same without a file |
//! | [`doors`] | what a listener may ask of clients and say of them |
//! | [`http_check`] | how the HTTP check asks |
//! | [`exec`], [`exchange`] | what a check of the user's own says and does |
//! | [`mod@print`] | from [`Config`] back to the words of the file |
//! | [`secret`] | what must never be printed |
//! | [`file`] | reads a file that the configuration names |

mod check;
pub mod diagnostic;
mod doors;
pub mod exchange;
pub mod exec;
pub mod file;
mod findings;
pub mod flags;
pub mod http_check;
mod print;
mod raw;
mod resolve;
mod secret;
mod source;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use check::{AuthMethod, CheckConfig, CheckKind, MysqlCheck, PostgresCheck, RedisCheck, Sentinels, TlsMode, WritableReplica};
pub use diagnostic::{Diagnostic, Errors};
pub use doors::{ProxyProtocolConfig, ProxySend};
pub use exchange::ExchangeCheck;
pub use exec::{ExecCheck, Word};
pub use flags::{Flags, from_flags};
pub use http_check::{HttpCheck, HttpLogin, TlsIdentity};
pub use secret::{Secret, SecretSource};

use diagnostic::Place;
use findings::Findings;
use raw::expand::Expander;

use crate::{
    failover::Policy,
    lifecycle::Deadlines,
    net::{addr::BackendAddr, cidr::Cidr, endpoint::Endpoint, socket::Keepalive},
};

/// A configuration that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What somebody should look at.
    pub warnings: Vec<Diagnostic>,
}

/// Reads a file. `env` answers for the environment variables that it names.
///
/// # Errors
/// Everything that is wrong with the file, in one go.
pub fn load(path: &Path, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Errors> {
    let origin = path.display().to_string();
    let findings = Findings::new(&origin);
    match source::read(path) {
        Ok(bytes) => parse_bytes(&bytes, findings, env),
        Err((message, help)) => {
            findings.error(Place::File, &"", message, help);
            finish(None, findings, "")
        }
    }
}

/// Reads a text, which errors call `origin`.
///
/// # Errors
/// Everything that is wrong with the text, in one go.
pub fn parse(text: &str, origin: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Errors> {
    parse_bytes(text.as_bytes(), Findings::new(origin), env)
}

/// As [`parse`], from bytes that may be no text.
pub(crate) fn parse_any(bytes: &[u8], env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Errors> {
    parse_bytes(bytes, Findings::new("bytes"), env)
}

fn parse_bytes(bytes: &[u8], findings: Findings, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Errors> {
    let Some(text) = source::decode(bytes, &findings) else { return finish(None, findings, "") };
    let config = source::check_characters(&text, &findings)
        .then(|| raw::parse::parse(&text, Expander::new(env), &findings))
        .flatten()
        .and_then(|root| resolve::resolve(&root, &findings));
    finish(config, findings, &text)
}

fn finish(config: Option<Config>, findings: Findings, text: &str) -> Result<Loaded, Errors> {
    let Some(config) = config else { return Err(findings.into_errors(text)) };
    findings.finish(text).map(|warnings| Loaded { config, warnings })
}

/// The effective configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The admin endpoint.
    pub admin: AdminConfig,
    /// The log.
    pub log: LogConfig,
    /// How a shutdown proceeds.
    pub shutdown: Deadlines,
    /// Number of data-plane threads; `None` is one a usable core.
    pub workers: Option<usize>,
    /// How long a worker stays awake after its sessions moved bytes; `None` not at all.
    pub busy_poll: Option<Duration>,
    /// Where state that outlives the process is kept.
    pub state_dir: Option<PathBuf>,
    /// The pools, in file order.
    pub pools: Vec<PoolConfig>,
}

/// Where the admin endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminConfig {
    /// TCP addresses and unix sockets.
    pub listen: Vec<Endpoint>,
    /// Names by which it may be asked, besides addresses and localhost.
    pub hosts: Vec<Arc<str>>,
}

/// The log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The lowest level that is written.
    pub level: LogLevel,
    /// How lines look.
    pub format: LogFormat,
}

crate::labels! {
    /// Level of a log line.
    pub enum LogLevel {
        /// Only what needs a person.
        Error = "error",
        /// Also what may.
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
    /// Look of a log line.
    pub enum LogFormat {
        /// Text on a terminal, JSON otherwise.
        Auto = "auto",
        /// For people.
        Text = "text",
        /// For programs.
        Json = "json",
    }
}

/// One pool: the backends that hold one database.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolConfig {
    /// Its name.
    pub name: Arc<str>,
    /// How its backends are checked.
    pub check: CheckConfig,
    /// Deadline of a dial to a backend.
    pub connect_timeout: Duration,
    /// How new clients wait while nobody may serve.
    pub hold: HoldConfig,
    /// What becomes of the sessions of a backend that goes down.
    pub on_down: OnDown,
    /// The rules of the decision.
    pub policy: Policy,
    /// Where clients connect.
    pub listeners: Vec<ListenerConfig>,
    /// The backends, in order of preference.
    pub backends: Vec<BackendConfig>,
}

/// How new clients wait while nobody may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldConfig {
    /// For how long at most.
    pub timeout: Duration,
    /// How many at most; 0 refuses at once.
    pub max: usize,
    /// How many of one client address at most, from when half of the places are taken.
    pub max_per_ip: usize,
}

crate::labels! {
    /// What becomes of the sessions of a backend that goes down.
    pub enum OnDown {
        /// Aborted at once.
        Close = "close",
        /// Left alone until the next activation.
        Keep = "keep",
    }
}

crate::labels! {
    /// How the bytes of a session move.
    pub enum RelayMode {
        /// Little at a time is copied, a stream is spliced.
        Auto = "auto",
        /// Through mainstay's memory.
        Copy = "copy",
        /// Inside the kernel, splice(2).
        Splice = "splice",
    }
}

crate::labels! {
    /// Where the clients of a listener are led.
    pub enum ListenerRoute {
        /// To the active backend, which takes writes.
        Primary = "primary",
        /// To a backend that is not the active one, to read.
        Replica = "replica",
        /// To any backend that may be read, the active one among them.
        Any = "any",
    }
}

crate::labels! {
    /// Which of several readers a client gets.
    pub enum Balance {
        /// The one with the fewest sessions.
        LeastConnections = "least_connections",
        /// One after the other.
        RoundRobin = "round_robin",
        /// The same one for each client address.
        Source = "source",
    }
}

crate::labels! {
    /// Where the clients of a replica are led while there is none.
    pub enum Fallback {
        /// To the active backend.
        Primary = "primary",
        /// Nowhere: they wait.
        None = "none",
    }
}

crate::labels! {
    /// What a client is told when nobody may serve it.
    pub enum Refusal {
        /// Every backend by its name, and why it may not.
        Detailed = "detailed",
        /// That nobody may.
        Short = "short",
    }
}

/// Where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Its name.
    pub name: Arc<str>,
    /// Its addresses.
    pub listen: Vec<Endpoint>,
    /// Also on addresses that the machine does not have yet.
    pub freebind: bool,
    /// Where its clients are led.
    pub route: ListenerRoute,
    /// Which reader they get; of no effect for the primary.
    pub balance: Balance,
    /// What becomes of them while there is no replica; of no effect for other routes.
    pub fallback: Fallback,
    /// What they are told when nobody may serve them.
    pub refusal: Refusal,
    /// Connections at most; `None` leaves it to the process's limit.
    pub max_connections: Option<usize>,
    /// Connections of one client address at most.
    pub max_connections_per_ip: Option<usize>,
    /// Only clients in these networks get in; empty is everybody.
    pub allow: Vec<Cidr>,
    /// Clients in these networks do not get in, whatever `allow` says.
    pub deny: Vec<Cidr>,
    /// The header that names a client.
    pub proxy_protocol: ProxyProtocolConfig,
    /// For the first exchange between a client and its backend; `None` has no end.
    pub client_login_timeout: Option<Duration>,
    /// Close sessions without traffic after this long; `None` never.
    pub idle_timeout: Option<Duration>,
    /// Close half-closed sessions without traffic after this long.
    pub half_close_timeout: Duration,
    /// Keepalive on both legs.
    pub keepalive: Keepalive,
    /// `TCP_USER_TIMEOUT` on both legs; `None` is the kernel's default. Kills a live peer that merely does not read.
    pub tcp_user_timeout: Option<Duration>,
    /// How the bytes of its sessions move.
    pub relay: RelayMode,
}

/// One backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendConfig {
    /// Its name; the address without its port-less default when not given.
    pub name: Arc<str>,
    /// Its address.
    pub address: BackendAddr,
}
