//! The check `redis`.

use std::{path::PathBuf, sync::Arc};

use super::kind::{Kind, KindKeys};
use crate::{
    config::{
        raw::reader::Section,
        resolve::{endpoint::backend_address, secrets, tls},
        secret::Secret,
        shape::{self, rule::Rule},
        table::{Table, table},
        tls::{TlsIdentity, TlsMode},
        tree::{from_file, from_variable, some_of, text},
    },
    failover::MaxLag,
    net::addr::BackendAddr,
    wire::Protocol,
};

/// More than any primary has.
const MAX_SENTINELS: usize = 16;

/// How the Redis check logs in.
#[derive(Clone, Debug, Default, PartialEq)]
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

table! {
    /// `redis` of a check.
    REDIS: RedisCheck, rules &[
        Rule::AtMostOne(&["password", "password_file"]),
        Rule::Needs("tls_cert_file", &["tls_key_file"]),
        Rule::Needs("tls_key_file", &["tls_cert_file"]),
        Rule::WordNeeds("tls", "verify-full", "tls_ca_file"),
        Rule::Needs("user", &["password", "password_file"]),
        Rule::AtMostOne(&["sentinel_password", "sentinel_password_file"]),
        Rule::Needs("sentinels", &["sentinel_name"]),
        Rule::Needs("sentinel_name", &["sentinels"]),
        Rule::Needs("sentinel_user", &["sentinels"]),
        Rule::Needs("sentinel_user", &["sentinel_password", "sentinel_password_file"]),
        Rule::Needs("sentinel_password", &["sentinels"]),
        Rule::Needs("sentinel_password_file", &["sentinels"]),
    ];
    "user": optional_text(user, "the name of an ACL user", "the default user"), "The ACL user to log in as; see [redis.md](redis.md).";
    "password": elsewhere("`${VARIABLE}`", "none", |check| from_variable(check.password.as_ref())) is shape::secret(), "Its password.";
    "password_file": elsewhere("the path of a file", "none", |check| from_file(check.password.as_ref())) is shape::text(),
        "The file that holds its password and nothing else.";
    "tls": encryption(tls, "`prefer` is not possible with Redis: a port either uses TLS or does not"), "Transport security.";
    "tls_ca_file": ca_file(), "The authority to trust; `verify-full` needs it.";
    "tls_cert_file": cert_file(), "A certificate to show to a server that asks for one.";
    "tls_key_file": key_file(), "Its key.";
    "max_lag": bytes(max_lag), "A replica further behind is not ready to take over, and is not read.";
    "sentinels": elsewhere("a list of `HOST:PORT`", "none", |check| some_of(&check.sentinels.as_ref()?.addresses))
        is shape::list(shape::address::server(), MAX_SENTINELS),
        "The Sentinels to ask who is primary.";
    "sentinel_name": elsewhere("a name", "required with `sentinels`", |check| Some(text(&check.sentinels.as_ref()?.name))) is shape::text(),
        "What they call the primary.";
    "sentinel_user": elsewhere("the name of an ACL user", "the default user", |check| {
        Some(text(check.sentinels.as_ref()?.user.as_ref()?))
    }) is shape::text(), "The ACL user to log in to them as.";
    "sentinel_password": elsewhere("`${VARIABLE}`", "none", |check| from_variable(check.sentinels.as_ref()?.password.as_ref()))
        is shape::secret(),
        "Its password.";
    "sentinel_password_file": elsewhere("the path of a file", "none", |check| {
        from_file(check.sentinels.as_ref()?.password.as_ref())
    }) is shape::text(), "The file that holds it.";
}

impl KindKeys for RedisCheck {
    const KEYS: Table<Self> = REDIS;

    fn complete(&mut self, section: Section<'_>) {
        self.password = secrets::password(section);
        if let Some(field) = section.get("user").filter(|_| self.user.is_some() && self.password.is_none()) {
            let help = "add `password_file: /path`, or remove `user`";
            field.error("`user` needs a password: Redis has no login without one", help);
        }
        (self.tls_ca_file, self.tls_identity) = tls::files(section, self.tls);
        self.sentinels = sentinels(section);
    }
}

impl Kind for RedisCheck {
    fn max_lag(&self) -> Option<MaxLag> {
        self.max_lag.map(MaxLag::Bytes)
    }

    fn protocol(&self) -> Protocol {
        // Inside TLS there is nothing to be said.
        if self.tls == TlsMode::Off { Protocol::Redis } else { Protocol::Unknown }
    }

    fn needs_address(&self) -> Option<(&'static str, &'static str)> {
        self.sentinels.as_ref().map(|_| {
            (
                "Sentinels name a server by its address and port, and a unix socket has neither",
                "give the backends by host:port, or remove `sentinels`",
            )
        })
    }

    fn exposed_password(&self, backend: &str) -> Option<(String, &'static str)> {
        (self.password.is_some() && self.tls == TlsMode::Off).then(|| {
            (
                format!("the password of this check goes to {backend} in clear text"),
                "write `tls: verify-full` with `tls_ca_file`, where the server has a port for it (tls-port)",
            )
        })
    }
}

fn sentinels(section: Section<'_>) -> Option<Sentinels> {
    let name = section.get("sentinel_name").and_then(|field| field.text("the name that the Sentinels have for the primary"));
    let Some(field) = section.get("sentinels") else {
        for key in ["sentinel_name", "sentinel_user", "sentinel_password", "sentinel_password_file"] {
            if let Some(field) = section.get(key) {
                let message = format!("`{key}` has no effect without `sentinels`");
                field.error(message, "add `sentinels: [sentinel-a:26379]`, or remove the key");
            }
        }
        return None;
    };
    let user = section.get("sentinel_user").and_then(|field| field.text("the name of an ACL user"));
    let password = secrets::password_as(section, "sentinel_password", "sentinel_password_file");
    if let Some(field) = section.get("sentinel_user").filter(|_| user.is_some() && password.is_none()) {
        field.error(
            "`sentinel_user` needs a password: Redis has no login without one",
            "add `sentinel_password_file: /path`, or remove `sentinel_user`",
        );
    }
    let addresses = field.list("a list of addresses", MAX_SENTINELS)?.into_iter().filter_map(backend_address);
    let addresses: Vec<_> = addresses.collect();
    let Some(name) = name else {
        field.error(
            "`sentinels` needs the name of the primary",
            "add `sentinel_name: NAME`, as in sentinel.conf (`sentinel monitor NAME …`)",
        );
        return None;
    };
    let user = user.map(str::to_owned);
    (!addresses.is_empty()).then(|| Sentinels { addresses, name: name.into(), user, password })
}
