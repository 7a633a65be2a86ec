//! The check `mysql`.

use std::path::PathBuf;

use super::kind::{Kind, KindKeys};
use crate::{
    config::{
        raw::reader::Section,
        resolve::{secrets, tls},
        secret::Secret,
        shape::{self, rule::Rule},
        table::{Table, table},
        tls::{TlsIdentity, TlsMode},
        tree::{duration, from_file, from_variable, path, size},
    },
    failover::MaxLag,
    wire::Protocol,
};

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
    /// What a server is that follows another although its `read_only` is off.
    pub enum WritableReplica {
        /// A standby whose `read_only` was forgotten.
        Standby = "standby",
        /// The primary of two that follow each other, told apart by `read_only` alone.
        Primary = "primary",
    }
}

table! {
    /// `mysql` of a check.
    MYSQL: MysqlCheck, rules &[
        Rule::AtMostOne(&["password", "password_file"]),
        Rule::Needs("tls_cert_file", &["tls_key_file"]),
        Rule::Needs("tls_key_file", &["tls_cert_file"]),
        Rule::WordNeeds("tls", "verify-full", "tls_ca_file"),
    ];
    "user": text(user, "the name of an account"), "The account to log in as; see [mysql.md](mysql.md).";
    "password": elsewhere("`${VARIABLE}`", "none", |check| from_variable(check.password.as_ref())) is shape::secret(), "Its password.";
    "password_file": elsewhere("the path of a file", "none", |check| from_file(check.password.as_ref())) is shape::text(),
        "The file that holds its password and nothing else.";
    "allow_cleartext_password": flag(allow_cleartext_password) if |check| check.allow_cleartext_password,
        "Give the password in clear text, or sealed with any key that is shown, even to a server that is not verified.";
    "server_public_key_file": custom(
        |_| "the path of a PEM file".into(), "none",
        |field, check| check.server_public_key_file = tls::pem(field, "PUBLIC KEY"),
        |check| check.server_public_key_file.as_deref().map(path)
    ) is shape::text(), "The server's key, which seals the password where nothing is encrypted.";
    "tls": word(tls), "Transport security, in libpq's words.";
    "tls_ca_file": ca_file(), "The authority to trust; `verify-full` needs it.";
    "tls_cert_file": cert_file(), "A certificate to show to a server that asks for one.";
    "tls_key_file": key_file(), "Its key.";
    "max_lag": custom(
        |_| "a size such as 16MiB, or a duration such as 10s".into(), "no limit",
        |field, check| check.max_lag = field.lag(),
        |check| check.max_lag.map(|max| match max {
            MaxLag::Bytes(bytes) => size(bytes),
            MaxLag::Time(time) => duration(time),
        })
    ) is shape::number::size_or_duration(), "A replica further behind is not ready to take over, and is not read.";
    "writable_replica": word(writable_replica), "What a server is that follows another although its `read_only` is off.";
}

impl KindKeys for MysqlCheck {
    const KEYS: Table<Self> = MYSQL;

    fn complete(&mut self, section: Section<'_>) {
        self.password = secrets::password(section);
        (self.tls_ca_file, self.tls_identity) = tls::files(section, self.tls);
    }
}

impl Kind for MysqlCheck {
    fn max_lag(&self) -> Option<MaxLag> {
        self.max_lag
    }

    fn protocol(&self) -> Protocol {
        Protocol::Mysql
    }

    fn exposed_password(&self, backend: &str) -> Option<(String, &'static str)> {
        (self.password.is_some() && self.tls == TlsMode::Prefer).then(|| {
            (
                format!("with `tls: prefer` a machine that answers in place of {backend} can ask for a proof of the password"),
                "write `tls: verify-full` with `tls_ca_file`, or another `tls` to say that this network is trusted",
            )
        })
    }
}
