//! The check `postgres`.

use std::path::PathBuf;

use serde_json::Value as Json;

use super::kind::{Kind, KindKeys};
use crate::{
    config::{
        findings::nearest,
        raw::reader::{Field, Section, one_of},
        resolve::{secrets, tls},
        secret::Secret,
        shape::{self, rule::Rule},
        table::{Table, table},
        tls::{TlsIdentity, TlsMode},
        tree::{from_file, from_variable, word},
    },
    failover::{MaxLag, label::Label},
    wire::Protocol,
};

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

table! {
    /// `postgres` of a check.
    POSTGRES: PostgresCheck, rules &[
        Rule::AtMostOne(&["password", "password_file"]),
        Rule::Needs("tls_cert_file", &["tls_key_file"]),
        Rule::Needs("tls_key_file", &["tls_cert_file"]),
        Rule::WordNeeds("tls", "verify-full", "tls_ca_file"),
    ];
    "user": text(user, "the name of a database role"), "The role to log in as; any that may log in.";
    "password": elsewhere("`${VARIABLE}`", "none", |check| from_variable(check.password.as_ref())) is shape::secret(), "Its password.";
    "password_file": elsewhere("the path of a file", "none", |check| from_file(check.password.as_ref())) is shape::text(),
        "The file that holds its password and nothing else.";
    "database": text(database, "the name of a database"), "The database to log in to.";
    "require_auth": custom(
        |_| methods_wanted(), "any",
        |field, check| check.require_auth = methods(field),
        |check| check.require_auth.as_ref().map(|methods| methods.iter().copied().map(word).collect())
    ) is methods_shape(), "How the server may ask for the password; see [postgres.md](postgres.md).";
    "allow_cleartext_password": flag(allow_cleartext_password) if |check| check.allow_cleartext_password,
        "Give the password in clear text even to a server that is not verified.";
    "tls": word(tls), "Transport security, in libpq's words.";
    "tls_ca_file": ca_file(), "The authority to trust; `verify-full` needs it.";
    "tls_cert_file": cert_file(), "A certificate to show to a server that asks for one.";
    "tls_key_file": key_file(), "Its key.";
    "max_lag": bytes(max_lag), "A standby further behind is not ready to take over, and is not read.";
}

impl KindKeys for PostgresCheck {
    const KEYS: Table<Self> = POSTGRES;

    fn complete(&mut self, section: Section<'_>) {
        self.password = secrets::password(section);
        (self.tls_ca_file, self.tls_identity) = tls::files(section, self.tls);
    }
}

impl Kind for PostgresCheck {
    fn max_lag(&self) -> Option<MaxLag> {
        self.max_lag.map(MaxLag::Bytes)
    }

    /// Timelines count promotions.
    fn max_epoch_step(&self) -> Option<u64> {
        Some(1000)
    }

    fn protocol(&self) -> Protocol {
        Protocol::Postgres
    }

    fn exposed_password(&self, backend: &str) -> Option<(String, &'static str)> {
        // With SCRAM alone a server has to prove itself, too.
        let proves_itself = self.require_auth.as_deref() == Some(&[AuthMethod::ScramSha256]);
        let is_exposed = self.password.is_some() && self.tls == TlsMode::Prefer && !proves_itself;
        is_exposed.then(|| {
            (
                format!("with `tls: prefer` a machine that answers in place of {backend} can ask for a proof of the password"),
                "write `require_auth: scram-sha-256`, or `tls: verify-full` with `tls_ca_file`",
            )
        })
    }
}

fn methods_shape() -> Json {
    let named = shape::words_in::<AuthMethod>();
    let denied: Vec<String> = named.iter().map(|word| format!("!{word}")).collect();
    let denied: Vec<&str> = denied.iter().map(String::as_str).collect();
    shape::any_of([named, denied].map(|words| shape::one_or_many(shape::words(&words), AuthMethod::ALL.len())))
}

fn methods_wanted() -> String {
    let words: Vec<&str> = AuthMethod::ALL.iter().map(|method| method.as_str()).collect();
    format!("{}, or a list of them, each with a `!` in front or none", one_of(&words))
}

/// `require_auth` as libpq has it: the methods that a server may ask for, or, each behind a `!`, those that it may not.
fn methods(field: Field<'_>) -> Option<Vec<AuthMethod>> {
    let wanted = methods_wanted();
    let (mut named, mut denied) = (Vec::new(), 0);
    let fields = field.one_or_many(&wanted, AuthMethod::ALL.len())?;
    for field in &fields {
        let word = field.scalar(&wanted)?.text.as_str();
        let bare = word.strip_prefix('!');
        denied += usize::from(bare.is_some());
        let word = bare.unwrap_or(word);
        let Some(method) = AuthMethod::ALL.iter().find(|method| method.as_str() == word) else {
            let meant = nearest(word, AuthMethod::ALL.iter().map(|method| method.as_str()));
            return field.wrong(&wanted, meant.map(|word| format!("did you mean `{word}`?")));
        };
        named.push(*method);
    }
    if denied > 0 && denied < named.len() {
        field.error(
            "`require_auth` names both what the server may ask for and what it may not",
            "as in libpq: either each word has a `!` in front, or none has",
        );
        return None;
    }
    Some(AuthMethod::ALL.iter().copied().filter(|method| named.contains(method) == (denied == 0)).collect())
}
