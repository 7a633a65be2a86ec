//! How backends are checked, kind by kind.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{
    exchange::ExchangeCheck,
    exec::ExecCheck,
    http_check::HttpCheck,
    secret::Secret,
    tls::{TlsIdentity, TlsMode},
};
use crate::{
    failover::MaxLag,
    net::{addr::BackendAddr, proxy_protocol},
};

/// How backends are checked.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckConfig {
    /// In which protocol.
    pub kind: CheckKind,
    /// Asked besides a check that is not HTTP itself: who is the primary, in the words of the cluster's manager.
    pub second: Option<HttpCheck>,
    /// Between two probes.
    pub interval: Duration,
    /// Between two probes while a verdict is pending.
    pub fast_interval: Duration,
    /// Deadline of a whole probe.
    pub timeout: Duration,
    /// Between two whole new logins, besides the standing session.
    pub fresh_login: Duration,
    /// The PROXY header that the backends must get before anything else, as they do from the listeners of the pool.
    pub proxy_header: Option<proxy_protocol::Version>,
}

impl CheckConfig {
    /// A TCP check of which nothing is said.
    pub(super) const fn plain() -> Self {
        Self {
            kind: CheckKind::Tcp,
            second: None,
            interval: Duration::from_secs(1),
            fast_interval: Duration::from_millis(100),
            timeout: Duration::from_secs(1),
            fresh_login: Duration::from_secs(5),
            proxy_header: None,
        }
    }

    /// What it asks for, in the words of the configuration.
    pub fn name(&self) -> String {
        let second = self.second.as_ref().map_or("", |_| " and http");
        format!("{}{second}", self.kind.name())
    }

    /// It asks for the role, so the one that says it is primary serves.
    pub const fn knows_roles(&self) -> bool {
        self.kind.knows_roles() || self.second.is_some()
    }

    /// A standby that lags by more is not ready to take over.
    pub fn max_lag(&self) -> Option<MaxLag> {
        self.kind.max_lag().or_else(|| self.second.as_ref()?.max_lag.map(MaxLag::Bytes))
    }

    /// How far above all that a pool has shown a database epoch may be. `PostgreSQL`'s timelines count promotions; epochs made of
    /// transaction numbers, or by a command, jump.
    pub const fn max_epoch_step(&self) -> Option<u64> {
        match self.kind {
            CheckKind::Postgres(_) | CheckKind::Http(_) => Some(1000),
            CheckKind::Tcp | CheckKind::Mysql(_) | CheckKind::Redis(_) | CheckKind::Exec(_) | CheckKind::Exchange(_) => None,
        }
    }
}

/// The protocol of a check.
#[derive(Clone, Debug, PartialEq)]
pub enum CheckKind {
    /// A TCP connect.
    Tcp,
    /// A `PostgreSQL` session.
    Postgres(PostgresCheck),
    /// A session with `MySQL`, `MariaDB` or a node of a Galera cluster.
    Mysql(MysqlCheck),
    /// A session with Redis or Valkey.
    Redis(RedisCheck),
    /// A GET of a health endpoint.
    Http(HttpCheck),
    /// A command.
    Exec(ExecCheck),
    /// Bytes sent and bytes expected.
    Exchange(ExchangeCheck),
}

impl CheckKind {
    /// Its name in the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Postgres(_) => "postgres",
            Self::Mysql(_) => "mysql",
            Self::Redis(_) => "redis",
            Self::Http(_) => "http",
            Self::Exec(_) => "exec",
            Self::Exchange(_) => "exchange",
        }
    }

    /// It asks for the role, so the one that says it is primary serves.
    pub const fn knows_roles(&self) -> bool {
        match self {
            Self::Tcp => false,
            Self::Postgres(_) | Self::Mysql(_) | Self::Redis(_) | Self::Http(_) => true,
            Self::Exec(check) => check.roles,
            Self::Exchange(check) => check.roles.is_some(),
        }
    }

    /// A standby that lags by more is not ready to take over.
    pub fn max_lag(&self) -> Option<MaxLag> {
        let bytes = match self {
            Self::Tcp | Self::Exchange(_) => None,
            Self::Mysql(check) => return check.max_lag,
            Self::Postgres(check) => check.max_lag,
            Self::Redis(check) => check.max_lag,
            Self::Http(check) => check.max_lag,
            Self::Exec(check) => check.max_lag,
        };
        bytes.map(MaxLag::Bytes)
    }
}

/// How the `PostgreSQL` check logs in.
#[derive(Clone, Debug, PartialEq)]
pub struct PostgresCheck {
    /// Login role; default `postgres`.
    pub user: String,
    /// Its password, if it needs one.
    pub password: Option<Secret>,
    /// Database to log in to; default `postgres`.
    pub database: String,
    /// The ways to prove it that a server may ask for; `None` is any.
    pub require_auth: Option<Vec<AuthMethod>>,
    /// The password may be said as it is to a server that is not verified.
    pub allow_cleartext_password: bool,
    /// Transport security.
    pub tls: TlsMode,
    /// PEM file with the authorities to trust; required for `verify-full`.
    pub tls_ca_file: Option<PathBuf>,
    /// What the check shows of itself, where the server asks.
    pub tls_identity: Option<TlsIdentity>,
    /// A standby that lags by more bytes is not ready to take over (told by `failover_ready`).
    pub max_lag: Option<u64>,
}

impl Default for PostgresCheck {
    fn default() -> Self {
        Self {
            user: "postgres".into(),
            password: None,
            database: "postgres".into(),
            require_auth: None,
            allow_cleartext_password: false,
            tls: TlsMode::Prefer,
            tls_ca_file: None,
            tls_identity: None,
            max_lag: None,
        }
    }
}

/// How the `MySQL` check logs in, and what it makes of the answers.
#[derive(Clone, Debug, PartialEq)]
pub struct MysqlCheck {
    /// Account to log in as; default `mainstay`.
    pub user: String,
    /// Its password, if it needs one.
    pub password: Option<Secret>,
    /// The password may be said as it is, or sealed with whatever key is shown, to a server that is not verified.
    pub allow_cleartext_password: bool,
    /// PEM file with the key that the password is sealed with where nothing is encrypted.
    pub server_public_key_file: Option<PathBuf>,
    /// Transport security.
    pub tls: TlsMode,
    /// PEM file with the authorities to trust; required for `verify-full`.
    pub tls_ca_file: Option<PathBuf>,
    /// What the check shows of itself, where the server asks.
    pub tls_identity: Option<TlsIdentity>,
    /// A replica that has received more bytes and not applied them, or applies what was written longer ago, is not ready to take
    /// over (told by `failover_ready`).
    pub max_lag: Option<MaxLag>,
    /// What a server is that follows another although it takes writes.
    pub writable_replica: WritableReplica,
}

impl Default for MysqlCheck {
    fn default() -> Self {
        Self {
            user: "mainstay".into(),
            password: None,
            allow_cleartext_password: false,
            server_public_key_file: None,
            tls: TlsMode::Prefer,
            tls_ca_file: None,
            tls_identity: None,
            max_lag: None,
            writable_replica: WritableReplica::Standby,
        }
    }
}

crate::labels! {
    /// How a server of `PostgreSQL` may have a check prove who it is, in libpq's words.
    pub enum AuthMethod {
        /// By the password as it is.
        Password = "password",
        /// By a hash that a listener can try passwords on.
        Md5 = "md5",
        /// By SCRAM, in which the server proves itself as well.
        ScramSha256 = "scram-sha-256",
        /// Not at all.
        None = "none",
    }
}

crate::labels! {
    /// What a server is that follows another although its `read_only` is off.
    pub enum WritableReplica {
        /// A standby whose `read_only` was forgotten.
        Standby = "standby",
        /// The primary of two that follow each other, told apart by `read_only` alone.
        Primary = "primary",
    }
}

/// How the Redis check logs in.
#[derive(Clone, Debug, PartialEq)]
pub struct RedisCheck {
    /// ACL user; `None` is the default user.
    pub user: Option<String>,
    /// Its password; without one the check does not log in.
    pub password: Option<Secret>,
    /// Transport security: never `prefer`, because Redis encrypts a port or does not.
    pub tls: TlsMode,
    /// PEM file with the authorities to trust; required for `verify-full`.
    pub tls_ca_file: Option<PathBuf>,
    /// What the check shows of itself, where the server asks.
    pub tls_identity: Option<TlsIdentity>,
    /// A replica that has received so many bytes and not applied them is not ready to take over (told by `failover_ready`).
    pub max_lag: Option<u64>,
    /// Who is asked for a second opinion on who is primary.
    pub sentinels: Option<Sentinels>,
}

impl Default for RedisCheck {
    fn default() -> Self {
        Self {
            user: None,
            password: None,
            tls: TlsMode::Off,
            tls_ca_file: None,
            tls_identity: None,
            max_lag: None,
            sentinels: None,
        }
    }
}

/// The Sentinels of a Redis primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentinels {
    /// Where they are.
    pub addresses: Vec<BackendAddr>,
    /// What they call the primary.
    pub name: Arc<str>,
    /// The ACL user to log in to them as; without one, the default user.
    pub user: Option<String>,
    /// Its password; `None` where they want none.
    pub password: Option<Secret>,
}
