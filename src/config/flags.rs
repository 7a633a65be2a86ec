//! Configuration from flags, without a file. Flags become the same tree, so they pass the same checks, and errors name the flag.

use std::rc::Rc;

use super::{
    check::CheckKind,
    diagnostic::{Errors, Location},
    findings::Findings,
    load::{self, Loaded},
    raw::node::{Key, Node, Path, Scalar, Source, Style, Value},
    resolve,
};

/// The name of the pool that flags make.
pub const POOL_NAME: &str = "main";

/// The flags of `mainstay run`, as typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--listen`, each.
    pub listen: Vec<String>,
    /// `--backend`, each, in order of preference.
    pub backends: Vec<String>,
    /// `--check`.
    pub check: Option<String>,
    /// `--check-user`.
    pub check_user: Option<String>,
    /// `--check-password-file`.
    pub check_password_file: Option<String>,
    /// `--check-database`.
    pub check_database: Option<String>,
    /// `--check-tls`.
    pub check_tls: Option<String>,
    /// `--check-tls-ca-file`.
    pub check_tls_ca_file: Option<String>,
    /// `--admin`, each.
    pub admin: Vec<String>,
    /// `--log-level`.
    pub log_level: Option<String>,
    /// `--log-format`.
    pub log_format: Option<String>,
    /// `--state-dir`.
    pub state_dir: Option<String>,
}

/// The configuration that flags make.
///
/// # Errors
/// All errors, each with the name of its flag.
pub fn from_flags(flags: &Flags) -> Result<Loaded, Errors> {
    let findings = Findings::new("the command line");
    for (flag, values, example) in [("--listen", &flags.listen, "127.0.0.1:5432"), ("--backend", &flags.backends, "db-a:5432")] {
        if values.is_empty() {
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
    let pool = map(
        "--backend",
        [
            ("name", one("--listen", Some(&POOL_NAME.to_owned()))),
            // Missing flags were reported; readers skip them.
            ("listen", many("--listen", &flags.listen).or_else(|| Some(node("--listen", Value::Invalid)))),
            ("backends", many("--backend", &flags.backends).or_else(|| Some(node("--backend", Value::Invalid)))),
            ("check", check(flags, findings)),
        ],
    );
    let pools = pool.map(|pool| node("--backend", Value::List(vec![pool])));
    let admin = map("--admin", [("listen", many("--admin", &flags.admin))]);
    let file = [("admin", admin), ("log", log), ("state_dir", one("--state-dir", flags.state_dir.as_ref())), ("pools", pools)];
    map("--listen", file).unwrap_or_else(|| node("--listen", Value::Null))
}

fn check(flags: &Flags, findings: &Findings) -> Option<Node> {
    let login = [
        ("user", one("--check-user", flags.check_user.as_ref())),
        ("password_file", one("--check-password-file", flags.check_password_file.as_ref())),
        ("database", one("--check-database", flags.check_database.as_ref())),
        ("tls", one("--check-tls", flags.check_tls.as_ref())),
        ("tls_ca_file", one("--check-tls-ca-file", flags.check_tls_ca_file.as_ref())),
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

fn scalar(flag: &'static str, text: &str) -> Node {
    node(flag, Value::Scalar(Scalar { text: text.to_owned(), style: Style::Quoted, source: Source::Literal }))
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
    use crate::config::tls::TlsMode;

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
