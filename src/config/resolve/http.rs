//! The `http` of a check, alone or beside another kind.

use super::{
    exec::hidden,
    secrets,
    tls::{authorities, identity},
};
use crate::config::{
    exec::Word,
    http_check::{HttpCheck, HttpLogin},
    raw::reader::{Field, Keys, Section},
    tls::TlsMode,
};

const HTTP_KEYS: Keys = Keys {
    known: &[
        "port",
        "path",
        "expect",
        "host",
        "user",
        "password",
        "password_file",
        "tls",
        "tls_ca_file",
        "tls_cert_file",
        "tls_key_file",
        "max_lag",
    ],
    planned: &[],
};

const LONGEST_PATH: usize = 1024;
const MAX_STATUSES: usize = 16;

pub(super) fn http(field: Option<Field<'_>>) -> HttpCheck {
    let plain = HttpCheck::default();
    let Some(section) = field.and_then(Field::or_beneath).and_then(|field| field.map(HTTP_KEYS)) else { return plain };
    let tls = encryption(section, plain.tls);
    HttpCheck {
        port: section.get("port").and_then(|field| field.count(1..=65535)).and_then(|port| u16::try_from(port).ok()),
        path: section.get("path").and_then(path).unwrap_or(plain.path),
        expect: section.get("expect").and_then(statuses).unwrap_or(plain.expect),
        host: section.get("host").and_then(host),
        tls,
        tls_ca_file: authorities(section, tls),
        tls_identity: identity(section, tls),
        login: credentials(section),
        max_lag: section.get("max_lag").and_then(Field::size),
    }
}

/// What may stand in a request as it is (RFC 3986, `path-absolute` and `query`).
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

fn encryption(section: Section<'_>, plain: TlsMode) -> TlsMode {
    let tls = section.word("tls", plain);
    let Some(field) = section.get("tls").filter(|_| tls == TlsMode::Prefer) else { return tls };
    field.error("an HTTP port encrypts or does not; it cannot be asked", "write `off`, `require` or `verify-full`");
    plain
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
