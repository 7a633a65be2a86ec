//! How backends are checked.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    exchange, exec,
    http::http,
    secrets,
    tls::{authorities, identity, pem},
};
use crate::{
    config::{
        check::{AuthMethod, CheckConfig, CheckKind, MysqlCheck, PostgresCheck, RedisCheck, Sentinels},
        findings::nearest,
        http_check::HttpCheck,
        raw::{
            node::Value,
            quantity::{DAY, MILLISECOND, format_duration},
            reader::{Field, Keys, Section, one_of},
        },
        tls::TlsMode,
    },
    failover::{Policy, label::Label},
};

const KINDS: [&str; 7] = ["tcp", "postgres", "mysql", "redis", "http", "exec", "exchange"];
/// Kinds that keep no session between two probes.
const WITHOUT_LOGIN: [&str; 3] = ["tcp", "exec", "exchange"];

const CHECK_KEYS: Keys = Keys {
    known: &[
        "tcp",
        "postgres",
        "mysql",
        "redis",
        "http",
        "exec",
        "exchange",
        "interval",
        "fast_interval",
        "timeout",
        "fall",
        "rise",
        "fresh_login",
    ],
    planned: &[],
};
/// The kind that may stand beside another.
const HTTP: &str = "http";

const TCP_KEYS: Keys = Keys { known: &[], planned: &[] };
const POSTGRES_KEYS: Keys = Keys {
    known: &[
        "user",
        "password",
        "password_file",
        "database",
        "require_auth",
        "allow_cleartext_password",
        "tls",
        "tls_ca_file",
        "tls_cert_file",
        "tls_key_file",
        "max_lag",
    ],
    planned: &[],
};
const MYSQL_KEYS: Keys = Keys {
    known: &[
        "user",
        "password",
        "password_file",
        "allow_cleartext_password",
        "server_public_key_file",
        "tls",
        "tls_ca_file",
        "tls_cert_file",
        "tls_key_file",
        "max_lag",
        "writable_replica",
    ],
    planned: &[],
};
const REDIS_KEYS: Keys = Keys {
    known: &[
        "user",
        "password",
        "password_file",
        "tls",
        "tls_ca_file",
        "tls_cert_file",
        "tls_key_file",
        "max_lag",
        "sentinels",
        "sentinel_name",
        "sentinel_user",
        "sentinel_password",
        "sentinel_password_file",
    ],
    planned: &[],
};

/// More than any primary has.
const MAX_SENTINELS: usize = 16;

/// Whether a check must be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Part of `defaults`: the kind may be missing.
    Defaults,
    /// Part of a pool.
    Pool,
}

/// A check, with the two numbers that belong to the decision.
pub(super) struct Check {
    pub(super) config: CheckConfig,
    pub(super) rise: u32,
    pub(super) fall: u32,
}

/// The check of a pool.
pub(super) fn check(pool: Section<'_>, scope: Scope, streak: RangeInclusive<u32>) -> Check {
    let field = pool.get("check");
    let (kind, second, section) = match field {
        None => (CheckKind::Tcp, None, None),
        Some(field) if matches!(field.value(), Value::Map(_)) => {
            let section = field.map(CHECK_KEYS);
            let (kind, second) = section.map_or((CheckKind::Tcp, None), |section| kinds(section, scope));
            (kind, second, section)
        }
        Some(field) => {
            let (kind, section) = word(field);
            (kind, None, section)
        }
    };
    let plain = Policy::default();
    let count = |key, default| section.map_or(default, |section| section.count(key, default, streak.clone()));
    Check { rise: count("rise", plain.rise), fall: count("fall", plain.fall), config: times(kind, second, section) }
}

fn times(kind: CheckKind, second: Option<HttpCheck>, section: Option<Section<'_>>) -> CheckConfig {
    let read = |key, default| section.map_or(default, |section| section.duration(key, default, MILLISECOND..=DAY));
    let plain = CheckConfig::plain();
    let interval = read("interval", plain.interval);
    let config = CheckConfig {
        kind,
        second,
        interval,
        fast_interval: read("fast_interval", interval.min(plain.fast_interval)),
        timeout: read("timeout", plain.timeout),
        fresh_login: read("fresh_login", plain.fresh_login),
        // Follows from the listeners of the pool.
        proxy_header: None,
    };
    if let Some(section) = section {
        check_times(section, &config);
    }
    config
}

fn check_times(section: Section<'_>, config: &CheckConfig) {
    let show = format_duration;
    if let Some(field) = section.get("fast_interval").filter(|_| config.fast_interval > config.interval) {
        field.error(
            format!("`fast_interval` is longer than `interval` ({})", show(config.interval)),
            "it is the shorter pause while a verdict is pending; make it shorter, or remove it",
        );
    }
    let without = WITHOUT_LOGIN.into_iter().find(|kind| section.own(kind).is_some());
    if let Some((field, kind)) = section.own("fresh_login").zip(without) {
        let article = if kind == "tcp" { "a" } else { "an" };
        let message = format!("`fresh_login` cannot be combined with {article} {kind} check, which has no login");
        field.error(message, "remove the key, or use `postgres`");
    }
    let sluggish = config.timeout > 10 * config.interval.max(Duration::from_millis(100));
    if let Some(field) = section.get("timeout").filter(|_| sluggish) {
        field.warning(
            format!("`timeout` is more than ten times `interval` ({})", show(config.interval)),
            "a backend that hangs is noticed only after `fall` times `timeout`; a second is usual",
        );
    }
}

/// `check: postgres`; the rest may stand in `defaults`.
fn word(field: Field<'_>) -> (CheckKind, Option<Section<'_>>) {
    let section = field.beneath().filter(|under| matches!(under.value(), Value::Map(_))).and_then(|under| under.map(CHECK_KEYS));
    let Some(name) = KINDS.into_iter().find(|kind| field.is_word(kind)) else {
        let meant = field.scalar(&one_of(&KINDS)).and_then(|scalar| nearest(&scalar.text, KINDS));
        field.wrong::<()>(&one_of(&KINDS), meant.map(|kind| format!("did you mean `{kind}`?")));
        return (CheckKind::Tcp, section);
    };
    (named(name, section.and_then(|section| section.own(name)), field), section)
}

/// The kind in a map, and `http` beside it: its own, else those of `defaults`.
fn kinds(section: Section<'_>, scope: Scope) -> (CheckKind, Option<HttpCheck>) {
    let field = section.field();
    let own: Vec<&str> = KINDS.into_iter().filter(|kind| section.own(kind).is_some()).collect();
    let direct: Vec<&str> = own.iter().copied().filter(|kind| *kind != HTTP).collect();
    if let [first, second, ..] = direct[..] {
        field.error("a check can have one kind only", format!("keep one of `{first}` and `{second}`"));
    }
    if !own.is_empty() {
        return pair(section, &own, field);
    }
    let word = field.beneath().and_then(|under| KINDS.into_iter().find(|kind| under.is_word(kind)));
    if let Some(name) = word {
        return (named(name, None, field), None);
    }
    let inherited: Vec<&str> = KINDS.into_iter().filter(|kind| section.get(kind).is_some()).collect();
    if inherited.is_empty() && scope == Scope::Pool {
        field.error(
            "the check does not say which kind it is",
            "add `tcp: {}`, `postgres: {}`, `mysql: {}`, `redis: {}` or `http: {}`",
        );
    }
    pair(section, &inherited, field)
}

/// `http` is a check of its own when it stands alone, and a second opinion beside another.
fn pair(section: Section<'_>, names: &[&str], check: Field<'_>) -> (CheckKind, Option<HttpCheck>) {
    let second = names.contains(&HTTP).then(|| section.get(HTTP));
    match (names.iter().rfind(|name| **name != HTTP), second) {
        (Some(name), second) => (named(name, section.get(name), check), second.map(http)),
        (None, Some(alone)) => (CheckKind::Http(http(alone)), None),
        (None, None) => (CheckKind::Tcp, None),
    }
}

/// A kind of [`KINDS`], as its section says. What is missing altogether is an error of `check`.
fn named(name: &str, field: Option<Field<'_>>, check: Field<'_>) -> CheckKind {
    match name {
        "exec" => CheckKind::Exec(exec::exec(field.and_then(Field::or_beneath), check)),
        "exchange" => CheckKind::Exchange(exchange::exchange(field.and_then(Field::or_beneath), check)),
        "postgres" => CheckKind::Postgres(postgres(field)),
        "mysql" => CheckKind::Mysql(mysql(field)),
        "redis" => CheckKind::Redis(redis(field)),
        HTTP => CheckKind::Http(http(field)),
        _ => {
            if let Some(tcp) = field.filter(|tcp| !matches!(tcp.value(), Value::Null)) {
                tcp.map(TCP_KEYS);
            }
            CheckKind::Tcp
        }
    }
}

fn redis(field: Option<Field<'_>>) -> RedisCheck {
    let plain = RedisCheck::default();
    let Some(section) = field.and_then(Field::or_beneath).and_then(|field| field.map(REDIS_KEYS)) else { return plain };
    let mut tls = section.word("tls", plain.tls);
    if let Some(field) = section.get("tls").filter(|_| tls == TlsMode::Prefer) {
        field.error(
            "Redis cannot be asked whether it encrypts: a port of it does, or does not",
            "write `off`, `require` or `verify-full`",
        );
        tls = TlsMode::Off;
    }
    let password = secrets::password(section);
    let user = section.get("user").and_then(|field| field.text("the name of an ACL user")).map(str::to_owned);
    if let Some(field) = section.get("user").filter(|_| user.is_some() && password.is_none()) {
        field.error("`user` needs a password: Redis has no login without one", "add `password_file: /path`, or remove `user`");
    }
    RedisCheck {
        user,
        password,
        tls,
        tls_ca_file: authorities(section, tls),
        tls_identity: identity(section, tls),
        max_lag: section.get("max_lag").and_then(Field::size),
        sentinels: sentinels(section),
    }
}

fn sentinels(section: Section<'_>) -> Option<Sentinels> {
    let name = section.get("sentinel_name").and_then(|field| field.text("the name that the Sentinels have for the primary"));
    let Some(field) = section.get("sentinels") else {
        for key in ["sentinel_name", "sentinel_user", "sentinel_password", "sentinel_password_file"] {
            if let Some(field) = section.get(key) {
                let message = format!("`{key}` has nobody to be told to");
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
    let addresses = field.list("a list of addresses", MAX_SENTINELS)?.into_iter().filter_map(super::backend::plain_address);
    let addresses: Vec<_> = addresses.collect();
    let Some(name) = name else {
        field.error(
            "`sentinels` need to be told which primary is meant",
            "add `sentinel_name: NAME`, as it stands in sentinel.conf (`sentinel monitor NAME …`)",
        );
        return None;
    };
    let user = user.map(str::to_owned);
    (!addresses.is_empty()).then(|| Sentinels { addresses, name: name.into(), user, password })
}

fn postgres(field: Option<Field<'_>>) -> PostgresCheck {
    let plain = PostgresCheck::default();
    let Some(section) = field.and_then(Field::or_beneath).and_then(|field| field.map(POSTGRES_KEYS)) else { return plain };
    let text = |key, wanted, default| section.get(key).and_then(|field| field.text(wanted)).map_or(default, str::to_owned);
    let tls = section.word("tls", plain.tls);
    PostgresCheck {
        user: text("user", "the name of a database role", plain.user),
        password: secrets::password(section),
        database: text("database", "the name of a database", plain.database),
        require_auth: section.get("require_auth").and_then(methods),
        allow_cleartext_password: in_clear_text(section),
        tls,
        tls_ca_file: authorities(section, tls),
        tls_identity: identity(section, tls),
        max_lag: section.get("max_lag").and_then(Field::size),
    }
}

fn mysql(field: Option<Field<'_>>) -> MysqlCheck {
    let plain = MysqlCheck::default();
    let Some(section) = field.and_then(Field::or_beneath).and_then(|field| field.map(MYSQL_KEYS)) else { return plain };
    let tls = section.word("tls", plain.tls);
    MysqlCheck {
        user: section.get("user").and_then(|field| field.text("the name of an account")).map_or(plain.user, str::to_owned),
        password: secrets::password(section),
        allow_cleartext_password: in_clear_text(section),
        server_public_key_file: section.get("server_public_key_file").and_then(|field| pem(field, "PUBLIC KEY")),
        tls,
        tls_ca_file: authorities(section, tls),
        tls_identity: identity(section, tls),
        max_lag: section.get("max_lag").and_then(Field::lag),
        writable_replica: section.word("writable_replica", plain.writable_replica),
    }
}

fn in_clear_text(section: Section<'_>) -> bool {
    section.get("allow_cleartext_password").and_then(Field::flag).unwrap_or(false)
}

/// `require_auth` as libpq has it: the methods that a server may ask for, or, each behind a `!`, those that it may not.
fn methods(field: Field<'_>) -> Option<Vec<AuthMethod>> {
    let words: Vec<&str> = AuthMethod::ALL.iter().map(|method| method.as_str()).collect();
    let wanted = format!("{}, or a list of them, each with a `!` in front or none", one_of(&words));
    let (mut named, mut denied) = (Vec::new(), 0);
    let fields = field.one_or_many(&wanted, AuthMethod::ALL.len())?;
    for field in &fields {
        let word = field.scalar(&wanted)?.text.as_str();
        let bare = word.strip_prefix('!');
        denied += usize::from(bare.is_some());
        let word = bare.unwrap_or(word);
        let Some(method) = AuthMethod::ALL.iter().find(|method| method.as_str() == word) else {
            return field.wrong(&wanted, nearest(word, words.iter().copied()).map(|word| format!("did you mean `{word}`?")));
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
