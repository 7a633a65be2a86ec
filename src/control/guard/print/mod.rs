//! Reads the print of a server: one login with the role of the check, a few questions, a clean logout.
//!
//! | file | what it asks |
//! |---|---|
//! | `postgres` | `pg_settings`, `pg_extension`, `pg_available_extensions`, `pg_collation` |
//! | `mysql` | the global variables, the plugins |
//! | `redis` | `INFO`, `CONFIG GET` |
//! | `fingerprint` | what is kept of a value that may be a secret |
//!
//! Left out is what tells a primary apart from a standby that is configured alike: addresses, paths, names, positions; and every
//! setting whose name or value looks like a secret. All texts are a stranger's: bounded and printable.

mod fingerprint;
mod mysql;
mod postgres;
mod redis;

use tokio::time::timeout_at;

pub use self::fingerprint::Fingerprints;
pub(in crate::control) use self::fingerprint::KeptKey;

use super::subject::Subject;
use crate::{
    config::CheckKind,
    control::{
        probe::{Deadline, finding::Refusal},
        resolver,
    },
    failover::Printable,
    route::{Print, PrintGroup, PrintItem},
};

/// An answer to a question may have so many bytes. The variables of `MariaDB` have 20 KiB.
const ANSWER_BYTES: usize = 256 * 1024;
/// Most items of a print. `MySQL` has about 700 variables.
const ITEMS: usize = 4000;
/// Most characters of a value that is kept whole.
const LONGEST: usize = 400;

/// A name with one of these is that of a secret. The servers are not even asked for it, where the question can say so.
const SECRET: &[&str] =
    &["pass", "pwd", "secret", "credential", "conninfo", "salt", "jwt", "private_key", "access_key", "api_key", "filekey"];
/// So is one that ends so.
const SECRET_ENDS: &[&str] = &["_key", "auth", "token"];
/// Names that only look so.
const NOT_SECRET: &[&str] = &[
    "innodb_force_primary_key",
    "max_seeks_for_key",
    "password_encryption",
    "secure_auth",
    "sql_generate_invisible_primary_key",
    "sql_require_primary_key",
];

/// What the server is made of; `Ok(None)` for a check that cannot ask.
///
/// # Errors
/// Why it could not be asked.
pub async fn read(subject: &Subject, fingerprints: &Fingerprints, deadline: Deadline) -> Result<Option<Print>, Printable> {
    let deadline = deadline.with_header(subject.check.proxy_header);
    let address = &subject.address;
    let addresses = if subject.addresses.is_empty() {
        match timeout_at(deadline.at(), resolver::lookup(address)).await {
            Ok(found) => found?,
            Err(_) => return Err(resolver::unresolved(address, deadline.timeout()).evidence),
        }
    } else {
        subject.addresses.clone()
    };
    let mut draft = Draft { print: fingerprints.print(), fingerprints };
    let read = match &subject.check.kind {
        CheckKind::Postgres(check) => postgres::read(check, (address, &addresses), &mut draft, deadline).await,
        CheckKind::Mysql(check) => mysql::read(check, (address, &addresses), &mut draft, deadline).await,
        CheckKind::Redis(check) => redis::read(check, (address, &addresses), &mut draft, deadline).await,
        CheckKind::Tcp(_) | CheckKind::Http(_) | CheckKind::Exec(_) | CheckKind::Exchange(_) => return Ok(None),
    };
    read.map_err(|refusal| refusal.why)?;
    let print = draft.print;
    match print.len() {
        0 => Err("the server told nothing of what it is made of".into()),
        ITEMS.. => Err(format!("the server told more than {ITEMS} things of what it is made of").into()),
        _ => Ok(Some(print)),
    }
}

/// Nothing, or why there is no print.
type Answer = Result<(), Refusal>;

/// A print that is being made.
struct Draft<'a> {
    print: Print,
    fingerprints: &'a Fingerprints,
}

impl Draft<'_> {
    /// Adds an item, unless it may be a secret. Nothing but a setting can be one.
    fn add(&mut self, group: PrintGroup, name: &str, item: PrintItem) {
        if group != PrintGroup::Setting || !is_secret(name) {
            let value = self.kept(name, &item.value);
            let unit = item.unit.map(|unit| Printable::word(&unit).to_string());
            self.print.add(group, &Printable::word(name), PrintItem { value, unit, ..item });
        }
    }

    /// Of a value that may be anything: enough to tell it from another one.
    fn hidden(&self, name: &str, value: &str) -> String {
        if value.is_empty() { String::new() } else { format!("(fingerprint {})", self.fingerprints.of(name, value)) }
    }

    /// A value as it is kept. Of a long one the beginning, and a fingerprint of the whole.
    fn kept(&self, name: &str, value: &str) -> String {
        let small = value.to_ascii_lowercase();
        let has_password = ["password=", "passwd=", "pwd=", "secret="].iter().any(|word| small.contains(word));
        let has_user = small.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
        if has_password || has_user {
            return "(not shown: it may hold a secret)".to_owned();
        }
        let length = value.chars().count();
        if length <= LONGEST {
            return crate::failover::escaped(value);
        }
        let beginning: String = value.chars().take(LONGEST / 2).collect();
        let fingerprint = self.fingerprints.of(name, value);
        format!("{}… ({length} characters, fingerprint {fingerprint})", crate::failover::escaped(&beginning))
    }
}

/// An item that is no more than its value.
fn plain(value: &str) -> PrintItem {
    PrintItem { value: value.to_owned(), ..PrintItem::default() }
}

/// A number of bytes, if its name says so and it is a round one. These servers do not tell units.
fn sized(name: &str, value: &str) -> PrintItem {
    const ROUND: u64 = 64 * 1024;
    let is_size = ["size", "bytes", "memory", "packet", "len"].iter().any(|end| name.ends_with(end));
    let is_round = value.parse::<u64>().is_ok_and(|bytes| bytes >= ROUND && bytes.is_multiple_of(1024));
    PrintItem { unit: (is_size && is_round).then(|| "B".to_owned()), ..plain(value) }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let sounds = SECRET.iter().any(|word| name.contains(word)) || SECRET_ENDS.iter().any(|end| name.ends_with(end));
    sounds && !NOT_SECRET.contains(&name.as_str())
}

/// The same, for a server that is asked in SQL: `compare` takes a name and a pattern, and is true if they do not fit.
fn not_secret(name: &str, compare: &str) -> String {
    let exceptions: Vec<_> = NOT_SECRET.iter().map(|name| format!("'{name}'")).collect();
    format!("({name} {compare} '{}' OR {name} IN ({}))", pattern(), exceptions.join(", "))
}

fn pattern() -> String {
    format!("{}|({})$", SECRET.join("|"), SECRET_ENDS.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sounds_or_looks_like_a_secret_is_never_kept() {
        for name in
            ["requirepass", "tls-key-file-pass", "ssl_passphrase_command", "primary_conninfo", "report_password", "vault.token"]
        {
            assert!(is_secret(name), "{name}");
        }
        for name in ["app.db_pwd", "App.JWT", "app.jwt_audience", "app.encryption_key", "x.auth", "wsrep_sst_auth", "session-key"]
        {
            assert!(is_secret(name), "{name}");
        }
        for name in ["work_mem", "password_encryption", "ngram_token_size", "tls-auth-clients", "max_index_keys", "keysize"] {
            assert!(!is_secret(name), "{name}");
        }
        let fingerprints = Fingerprints::random();
        let mut draft = Draft { print: Print::default(), fingerprints: &fingerprints };
        draft.add(PrintGroup::Extension, "pgjwt", plain("0.2"));
        assert_eq!(std::mem::take(&mut draft.print).len(), 1, "an extension is a name and a version");
        draft.add(PrintGroup::Setting, "masterauth_secret", plain("hunter22"));
        draft.add(PrintGroup::Setting, "a", plain("host=x PASSWORD=hunter22"));
        draft.add(PrintGroup::Setting, "b", plain("http://mainstay:hunter22@proxy:80/"));
        let print = draft.print;
        assert!(print.len() == 2 && !format!("{print:?}").contains("hunter22"), "{print:?}");
    }

    /// What a server is not asked for in SQL is what is dropped here, too.
    #[test]
    fn the_pattern_agrees_with_the_list() {
        let pattern = pattern();
        let (words, ends) = pattern.strip_suffix(")$").unwrap().split_once("|(").unwrap();
        let (words, ends): (Vec<_>, Vec<_>) = (words.split('|').collect(), ends.split('|').collect());
        assert_eq!((&words[..], &ends[..]), (SECRET, SECRET_ENDS));
        for word in words {
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{word} means something else in SQL");
            assert!(is_secret(&format!("a.{word}x")), "{word}");
        }
        for end in ends {
            assert!(is_secret(&format!("a.x{end}")) && !is_secret(&format!("a.x{end}_b")), "{end}");
        }
        assert!(NOT_SECRET.iter().all(|name| !is_secret(name)));
        let sql = not_secret("name", "!~*");
        assert!(sql.contains(&format!("name !~* '{pattern}' OR")) && sql.contains("'password_encryption'"), "{sql}");
    }

    #[test]
    fn texts_are_bounded_printable_and_told_apart() {
        let (one, other) = (format!("{}a", "x".repeat(10_000)), format!("{}b", "x".repeat(10_000)));
        let fingerprints = Fingerprints::random();
        let mut draft = Draft { print: Print::default(), fingerprints: &fingerprints };
        let kept = |value: &str| draft.kept("a", value);
        assert_ne!(kept(&one), kept(&other));
        assert!(kept(&one).chars().count() < 2 * LONGEST, "{}", kept(&one));
        assert_eq!(kept("a\n\x1b[31m"), r"a\u{a}\u{1b}[31m");
        let (hidden, other) = (draft.hidden("app.x", "hunter22"), draft.hidden("app.x", "hunter23"));
        assert!(hidden != other && !hidden.contains("hunter") && draft.hidden("app.x", "").is_empty(), "{hidden} {other}");
        draft.add(PrintGroup::Setting, &"\u{202e}".repeat(1000), PrintItem { unit: Some("\n".repeat(99)), ..plain("1") });
        let (name, item) = draft.print.items[&PrintGroup::Setting].iter().next().unwrap();
        assert!(name.len() < 600 && !name.contains('\u{202e}') && item.unit.as_ref().unwrap().len() < 600);
    }

    #[test]
    fn round_numbers_of_bytes_are_told_from_counts() {
        let unit = |name, value| sized(name, value).unit;
        assert_eq!(unit("innodb_buffer_pool_size", "134217728").as_deref(), Some("B"));
        assert_eq!(unit("maxmemory", "104857600").as_deref(), Some("B"));
        assert_eq!((unit("thread_cache_size", "256"), unit("max_connections", "131072")), (None, None));
    }
}
