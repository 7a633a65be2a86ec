//! The check `http`, alone or beside another kind.

use std::path::PathBuf;

use super::{
    exec::{Word, hidden, shown},
    kind::{Kind, KindKeys},
};
use crate::{
    config::{
        raw::reader::{Field, Section},
        resolve::{secrets, tls},
        secret::Secret,
        shape::{self, rule::Rule},
        table::{Table, set, table},
        tls::{TlsIdentity, TlsMode},
        tree::{Tree, from_file, from_variable, text},
    },
    failover::MaxLag,
};

const LONGEST_PATH: usize = 1024;
const MAX_STATUSES: usize = 16;

/// A GET whose answer tells the role, such as Patroni's `GET /primary`.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpCheck {
    /// The endpoint's port; `None` is the backend's own.
    pub port: Option<u16>,
    /// Path, with a query if one is needed; default `/primary`. Not shown where a variable is part of it, which may hold a token.
    pub path: Word,
    /// Any of these statuses means "this is the primary"; default 200.
    pub expect: Vec<u16>,
    /// Name for `Host` and for the certificate; `None` is the backend's host.
    pub host: Option<String>,
    /// Transport security: never `prefer`: an HTTP port either uses TLS or does not.
    pub tls: TlsMode,
    /// PEM file with the authorities to trust; required for `verify-full`.
    pub tls_ca_file: Option<PathBuf>,
    /// What the check shows of itself, where the server asks.
    pub tls_identity: Option<TlsIdentity>,
    /// User and password (RFC 7617, "Basic").
    pub login: Option<HttpLogin>,
    /// A standby that lags by more bytes is not ready to take over (told by `failover_ready`).
    pub max_lag: Option<u64>,
}

/// User and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpLogin {
    /// Has no colon.
    pub user: String,
    /// The password.
    pub password: Secret,
}

impl Default for HttpCheck {
    fn default() -> Self {
        Self {
            port: None,
            path: "/primary".into(),
            expect: vec![200],
            host: None,
            tls: TlsMode::Off,
            tls_ca_file: None,
            tls_identity: None,
            login: None,
            max_lag: None,
        }
    }
}

table! {
    /// `http` of a check.
    HTTP: HttpCheck, rules &[
        Rule::AtMostOne(&["password", "password_file"]),
        Rule::Needs("tls_cert_file", &["tls_key_file"]),
        Rule::Needs("tls_key_file", &["tls_cert_file"]),
        Rule::WordNeeds("tls", "verify-full", "tls_ca_file"),
        Rule::Needs("user", &["password", "password_file"]),
        Rule::Needs("password", &["user"]),
        Rule::Needs("password_file", &["user"]),
    ];
    "port": custom(
        |_| "1 to 65535".into(), "the backend's own",
        |field, check| check.port = field.count(1..=65535).and_then(|port| u16::try_from(port).ok()),
        |check| check.port.map(|port| Tree::Number(port.into()))
    ) is shape::number::count(&(1..=65535)), "The endpoint's port; Patroni's is 8008.";
    "path": custom(
        |_| "a path, with a query if one is needed".into(), "",
        |field, check| set(&mut check.path, path(field)),
        |check| Some(shown(&check.path))
    ) is shape::matching(r"/(?:[A-Za-z0-9._~!&'()*+,;=:@/?%-]|\$\$)*"), "What to GET; see [patroni.md](patroni.md).";
    "expect": custom(
        |_| "a status from 200 to 599, or a list of them".into(), "200",
        |field, check| set(&mut check.expect, statuses(field)),
        |check| Some(check.expect.iter().map(|status| Tree::Number((*status).into())).collect())
    ) is shape::one_or_many(shape::number::count(&(200..=599)), MAX_STATUSES), "The status of the primary.";
    "host": custom(
        |_| "a host name, without a port".into(), "the backend's host",
        |field, check| check.host = host(field),
        |check| check.host.as_ref().map(|host| text(host))
    ) is shape::address::host(), "The name for `Host` and for the certificate.";
    "user": elsewhere("the name of a user", "none", |check| Some(text(&check.login.as_ref()?.user)))
        is shape::matching(r"(?:[^$:\x00-\x1F\x7F]|\$\$)+"),
        "The user, where the endpoint wants one (RFC 7617, \"Basic\").";
    "password": elsewhere("`${VARIABLE}`", "none", |check| from_variable(check.login.as_ref().map(|login| &login.password)))
        is shape::secret(),
        "Its password.";
    "password_file": elsewhere("the path of a file", "none", |check| {
        from_file(check.login.as_ref().map(|login| &login.password))
    }) is shape::text(), "The file that holds its password and nothing else.";
    "tls": encryption(tls, "`prefer` is not possible with HTTP: a port either uses TLS or does not"), "Transport security.";
    "tls_ca_file": ca_file(), "The authority to trust; `verify-full` needs it.";
    "tls_cert_file": cert_file(), "A certificate to show to a server that asks for one.";
    "tls_key_file": key_file(), "Its key.";
    "max_lag": bytes(max_lag), "A standby further behind is not ready to take over, and is not read.";
}

impl KindKeys for HttpCheck {
    const KEYS: Table<Self> = HTTP;

    fn complete(&mut self, section: Section<'_>) {
        self.login = credentials(section);
        (self.tls_ca_file, self.tls_identity) = tls::files(section, self.tls);
    }
}

impl Kind for HttpCheck {
    fn max_lag(&self) -> Option<MaxLag> {
        self.max_lag.map(MaxLag::Bytes)
    }

    /// Patroni tells the timeline.
    fn max_epoch_step(&self) -> Option<u64> {
        Some(1000)
    }

    fn needs_address(&self) -> Option<(&'static str, &'static str)> {
        self.port.is_none().then_some((
            "the check `http` needs a port, and a unix socket has none",
            "write the port, as in `http: {port: 8008}`: it is asked at 127.0.0.1",
        ))
    }
}

/// Characters that a request may contain (RFC 3986, `path-absolute` and `query`).
fn path(field: Field<'_>) -> Option<Word> {
    const WANTED: &str = "a path such as /primary or /replica?lag=16MB";
    let scalar = field.scalar(WANTED)?;
    let text = scalar.text.as_str();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte);
    if !text.starts_with('/') {
        return field.wrong(WANTED, Some("it begins with a slash; the host is that of the backend, or `host`".into()));
    }
    if text.len() > LONGEST_PATH || !text.bytes().all(legal) {
        return field.wrong(WANTED, Some("write other characters as %XX; no space, no #fragment".into()));
    }
    Some(hidden(scalar))
}

fn statuses(field: Field<'_>) -> Option<Vec<u16>> {
    let each = field.one_or_many("a status such as 200, or a list of them", MAX_STATUSES)?;
    let each: Vec<u16> =
        each.into_iter().filter_map(|field| field.count(200..=599)).filter_map(|status| u16::try_from(status).ok()).collect();
    (!each.is_empty()).then_some(each)
}

fn host(field: Field<'_>) -> Option<String> {
    const WANTED: &str = "a host name, without a port";
    let text = field.text(WANTED)?;
    let legal = text.len() <= 253 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if legal { Some(text.to_owned()) } else { field.wrong(WANTED, None) }
}

fn credentials(section: Section<'_>) -> Option<HttpLogin> {
    let password = secrets::password(section);
    let field = section.get("user");
    let user = field.and_then(|field| field.text("the name of a user")).map(str::to_owned);
    if let Some(field) =
        field.filter(|_| user.as_deref().is_some_and(|user| user.contains(':') || user.contains(char::is_control)))
    {
        field.error("the name of an HTTP user has no colon", "remove it; the password has a key of its own");
        return None;
    }
    match (user, password) {
        (Some(user), Some(password)) => Some(HttpLogin { user, password }),
        (Some(_), None) => {
            if let Some(field) = field {
                field.error("`user` needs a password", "add `password_file: /path`, or remove `user`");
            }
            None
        }
        (None, Some(_)) if field.is_none() => {
            let alone = section.get("password_file").or_else(|| section.get("password"));
            if let Some(field) = alone {
                field.error("a password needs the name of its user", "add `user: mainstay`");
            }
            None
        }
        (None, _) => None,
    }
}
