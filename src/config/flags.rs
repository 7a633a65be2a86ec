//! Configuration from flags, without a file. Flags become the same tree, so they pass the same checks, and errors name the flag.

use std::rc::Rc;

use super::{
    check::CheckKind,
    diagnostic::{Errors, Location},
    findings::Findings,
    load::{self, Loaded},
    raw::node::{Key, Node, Path, Scalar, Source, Style, Value},
    resolve,
    secret::Secret,
};

/// The name of the pool that flags make, unless they name it.
pub const POOL_NAME: &str = "main";

/// The variable with the check's password itself. There is no flag for it: every user of the machine can see arguments.
pub const PASSWORD_VARIABLE: &str = "MAINSTAY_CHECK_PASSWORD";

/// The flags of `mainstay run`, as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--pool`.
    pub pool: Option<String>,
    /// `--listen`, each.
    pub listen: Vec<String>,
    /// `--listen-replica`, each.
    pub listen_replica: Vec<String>,
    /// `--backend`, each, in order of preference.
    pub backends: Vec<String>,
    /// `--check`.
    pub check: Option<String>,
    /// `--check-user`.
    pub check_user: Option<String>,
    /// The value of [`PASSWORD_VARIABLE`].
    pub check_password: Option<Secret>,
    /// `--check-password-file`.
    pub check_password_file: Option<String>,
    /// `--check-database`.
    pub check_database: Option<String>,
    /// `--check-port`.
    pub check_port: Option<String>,
    /// `--check-tls`.
    pub check_tls: Option<String>,
    /// `--check-tls-ca-file`.
    pub check_tls_ca_file: Option<String>,
    /// `--check-tls-cert-file`.
    pub check_tls_cert_file: Option<String>,
    /// `--check-tls-key-file`.
    pub check_tls_key_file: Option<String>,
    /// `--admin`, each.
    pub admin: Vec<String>,
    /// `--admin-token-file`.
    pub admin_token_file: Option<String>,
    /// `--log-level`.
    pub log_level: Option<String>,
    /// `--log-format`.
    pub log_format: Option<String>,
    /// `--shutdown-delay`.
    pub shutdown_delay: Option<String>,
    /// `--shutdown-timeout`.
    pub shutdown_timeout: Option<String>,
    /// `--state-dir`.
    pub state_dir: Option<String>,
}

/// The configuration that flags make.
///
/// # Errors
/// All errors, each with the name of its flag.
pub fn from_flags(flags: &Flags) -> Result<Loaded, Errors> {
    let findings = Findings::new("the command line");
    let listens = !flags.listen.is_empty() || !flags.listen_replica.is_empty();
    let needed = [("--listen", listens, "127.0.0.1:5432"), ("--backend", !flags.backends.is_empty(), "db-a:5432")];
    for (flag, is_given, example) in needed {
        if !is_given {
            findings.error(
                Location::Flag(flag),
                &"",
                format!("`{flag}` is missing"),
                Some(format!("add {flag} {example}, or give a file with -c FILE")),
            );
        }
    }
    let config = resolve::resolve(&tree(flags, &findings), &findings);
    load::finish(config, findings, "")
}

fn tree(flags: &Flags, findings: &Findings) -> Node {
    let log = map(
        "--log-level",
        [("level", one("--log-level", flags.log_level.as_ref())), ("format", one("--log-format", flags.log_format.as_ref()))],
    );
    let (listen, listeners) = listeners(flags);
    let pool = map(
        "--backend",
        [
            ("name", Some(scalar("--pool", flags.pool.as_deref().unwrap_or(POOL_NAME)))),
            ("listen", listen),
            ("listeners", listeners),
            // A missing flag was reported; readers skip it.
            ("backends", many("--backend", &flags.backends).or_else(|| Some(node("--backend", Value::Invalid)))),
            ("check", check(flags, findings)),
        ],
    );
    let pools = pool.map(|pool| node("--backend", Value::List(vec![pool])));
    let token = map("--admin-token-file", [("token_file", one("--admin-token-file", flags.admin_token_file.as_ref()))]);
    let admin = map("--admin", [("listen", many("--admin", &flags.admin)), ("write", token)]);
    let shutdown = map(
        "--shutdown-timeout",
        [
            ("delay", one("--shutdown-delay", flags.shutdown_delay.as_ref())),
            ("timeout", one("--shutdown-timeout", flags.shutdown_timeout.as_ref())),
        ],
    );
    let state_dir = one("--state-dir", flags.state_dir.as_ref());
    let file = [("admin", admin), ("log", log), ("shutdown", shutdown), ("state_dir", state_dir), ("pools", pools)];
    map("--listen", file).unwrap_or_else(|| node("--listen", Value::Null))
}

/// `listen` or `listeners` of the pool.
fn listeners(flags: &Flags) -> (Option<Node>, Option<Node>) {
    let Some(replica) = many("--listen-replica", &flags.listen_replica) else {
        // A missing flag was reported; readers skip it.
        return (many("--listen", &flags.listen).or_else(|| Some(node("--listen", Value::Invalid))), None);
    };
    let listener = |flag, name: &str, listen, route: &str| {
        map(flag, [("name", Some(scalar(flag, name))), ("listen", Some(listen)), ("route", Some(scalar(flag, route)))])
    };
    let primary = many("--listen", &flags.listen).and_then(|listen| listener("--listen", "rw", listen, "primary"));
    let replica = listener("--listen-replica", "ro", replica, "replica");
    (None, Some(node("--listen", Value::List(primary.into_iter().chain(replica).collect()))))
}

fn check(flags: &Flags, findings: &Findings) -> Option<Node> {
    let login = [
        ("user", one("--check-user", flags.check_user.as_ref())),
        ("password", flags.check_password.as_ref().map(password)),
        ("password_file", one("--check-password-file", flags.check_password_file.as_ref())),
        ("database", one("--check-database", flags.check_database.as_ref())),
        ("port", flags.check_port.as_ref().map(|port| number("--check-port", port))),
        ("tls", one("--check-tls", flags.check_tls.as_ref())),
        ("tls_ca_file", one("--check-tls-ca-file", flags.check_tls_ca_file.as_ref())),
        ("tls_cert_file", one("--check-tls-cert-file", flags.check_tls_cert_file.as_ref())),
        ("tls_key_file", one("--check-tls-key-file", flags.check_tls_key_file.as_ref())),
    ];
    if let Some(kind) = CheckKind::with_login().find(|kind| flags.check.as_deref() == Some(kind)) {
        let login = map("--check", login).unwrap_or_else(|| node("--check", Value::Null));
        return map("--check", [(kind, Some(login))]);
    }
    for node in login.into_iter().filter_map(|(_, node)| node) {
        let message = format!("`{}` needs a check that logs in", node.path.leaf());
        findings.error(node.place, &"", message, Some("add --check postgres, mysql, redis or http, or remove the flag".into()));
    }
    one("--check", flags.check.as_ref())
}

fn node(flag: &'static str, value: Value) -> Node {
    Node { place: Location::Flag(flag), path: Path::default().key(&Rc::from(flag)), value }
}

fn password(secret: &Secret) -> Node {
    let source = Source::Variable(PASSWORD_VARIABLE.to_owned());
    node(PASSWORD_VARIABLE, Value::Scalar(Scalar { text: secret.expose().to_owned(), style: Style::Quoted, source }))
}

fn scalar(flag: &'static str, text: &str) -> Node {
    node(flag, Value::Scalar(Scalar { text: text.to_owned(), style: Style::Quoted, source: Source::Literal }))
}

fn number(flag: &'static str, text: &str) -> Node {
    node(flag, Value::Scalar(Scalar { text: text.to_owned(), style: Style::Plain, source: Source::Literal }))
}

fn one(flag: &'static str, text: Option<&String>) -> Option<Node> {
    text.map(|text| scalar(flag, text))
}

fn many(flag: &'static str, texts: &[String]) -> Option<Node> {
    let items: Vec<Node> = texts.iter().map(|text| scalar(flag, text)).collect();
    (!items.is_empty()).then(|| node(flag, Value::List(items)))
}

/// A map of the given values; `None` without any.
fn map<const N: usize>(flag: &'static str, entries: [(&'static str, Option<Node>); N]) -> Option<Node> {
    let key = |name: &'static str| Key { name: name.into(), place: Location::Flag(flag) };
    let entries: Vec<_> = entries.into_iter().filter_map(|(name, node)| node.map(|node| (key(name), node))).collect();
    (!entries.is_empty()).then(|| node(flag, Value::Map(entries)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{listener::ListenerRoute, tls::TlsMode};

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn the_simplest_use() {
        let flags = Flags {
            listen: strings(&["127.0.0.1:5432"]),
            backends: strings(&["db-a:5432", "db-b:5432"]),
            check: Some("postgres".into()),
            check_user: Some("on".into()),
            check_tls: Some("off".into()),
            ..Flags::default()
        };
        let loaded = from_flags(&flags).unwrap();
        let pool = &loaded.config.pools[0];
        assert_eq!((&*pool.name, &*pool.listeners[0].name, &*pool.backends[1].name), ("main", "rw", "db-b"));
        let CheckKind::Postgres(check) = &pool.check.kind else { panic!("{pool:?}") };
        assert_eq!((check.user.as_str(), check.tls), ("on", TlsMode::Off));
        assert_eq!(loaded.warnings, []);
    }

    #[test]
    fn a_sidecar() {
        let flags = Flags {
            pool: Some("orders".into()),
            listen: strings(&["127.0.0.1:5432"]),
            listen_replica: strings(&["127.0.0.1:5433"]),
            backends: strings(&["db-a:5432", "db-b:5432"]),
            check: Some("http".into()),
            check_user: Some("probe".into()),
            check_password: Some(Secret::from_variable("S3cr3t".into(), PASSWORD_VARIABLE)),
            check_port: Some("8008".into()),
            shutdown_delay: Some("5s".into()),
            shutdown_timeout: Some("45s".into()),
            ..Flags::default()
        };
        assert!(!format!("{flags:?}").contains("S3cr3t"));
        let Loaded { config, warnings } = from_flags(&flags).unwrap();
        assert_eq!(warnings, []);
        let pool = &config.pools[0];
        let listeners: Vec<_> = pool.listeners.iter().map(|listener| (&*listener.name, listener.route)).collect();
        assert_eq!((&*pool.name, listeners), ("orders", vec![("rw", ListenerRoute::Primary), ("ro", ListenerRoute::Replica)]));
        let CheckKind::Http(check) = &pool.check.kind else { panic!("{pool:?}") };
        let login = check.login.as_ref().unwrap();
        assert_eq!((check.port, &*login.user, login.password.expose()), (Some(8008), "probe", "S3cr3t"));
        assert_eq!((config.shutdown.delay.as_secs(), config.shutdown.timeout.as_secs()), (5, 45));
        assert!(!config.to_yaml().contains("S3cr3t"));

        // Readers alone.
        let loaded = from_flags(&Flags { listen: Vec::new(), ..flags.clone() }).unwrap();
        assert_eq!(loaded.config.pools[0].listeners.len(), 1);
        let both = Flags { check_password_file: Some("/run/secrets/pg".into()), ..flags.clone() };
        let text = from_flags(&both).unwrap_err().to_string();
        assert!(text.contains("cannot stand together") && !text.contains("S3cr3t"), "{text}");
        let tcp = Flags { check: None, check_user: None, check_port: None, ..flags };
        let text = from_flags(&tcp).unwrap_err().to_string();
        assert!(text.contains("`MAINSTAY_CHECK_PASSWORD` needs a check that logs in") && !text.contains("S3cr3t"), "{text}");
    }

    #[test]
    fn errors_name_the_flag() {
        let flags = Flags {
            listen: strings(&["localhost:5432"]),
            backends: strings(&["db-a", "db-b:5432", "db-b:5432"]),
            check: Some("postgresql".into()),
            check_user: Some("u".into()),
            log_level: Some("loud".into()),
            state_dir: Some("relative".into()),
            ..Flags::default()
        };
        let errors = from_flags(&flags).unwrap_err();
        let text = errors.to_string();
        for part in [
            "`--listen` must be",
            "`--backend` must be",
            "has the address",
            "`--check-user` needs",
            "`--check` must be",
            "`--log-level`",
            "`--state-dir`",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert_eq!(errors.errors().count(), 7, "{text}");
        assert!(!text.contains("line"), "{text}");
    }

    #[test]
    fn nothing_given() {
        let text = from_flags(&Flags::default()).unwrap_err().to_string();
        assert!(text.contains("`--listen` is missing") && text.contains("`--backend` is missing"), "{text}");
        assert!(text.contains("2 errors"), "{text}");
    }
}
