//! What a server is made of: its print. Control reads and compares prints, admin shows them.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{failover::Printable, labels};

labels! {
    /// What an item of a print is.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum PrintGroup {
        /// The server's version.
        Version = "version",
        /// A setting, variable or configuration parameter.
        Setting = "setting",
        /// An extension that is installed in a database, with its version.
        Extension = "extension",
        /// An extension whose files are on disk, with the default version.
        ExtensionFile = "extension_file",
        /// The version of a collation that a database records.
        CollationRecorded = "collation_recorded",
        /// The version of a collation that the operating system provides.
        CollationActual = "collation_actual",
        /// A plugin or module that is loaded.
        Plugin = "plugin",
    }
}

/// One item of a print.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrintItem {
    /// Its value, as the server shows it.
    pub value: String,
    /// The unit of the value, where the server tells it apart (`8kB`, `ms`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// A change of it takes effect at the next restart only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_restart: bool,
    /// The configuration has another value, which the next restart brings.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pending_restart: bool,
}

/// What a server is made of, without what tells it apart from its standby (addresses, paths, names) and without secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Print {
    /// By group, then by name.
    pub items: BTreeMap<PrintGroup, BTreeMap<String, PrintItem>>,
    /// Groups of which the check's role is not shown all: what to grant. What is absent there may exist.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unseen: BTreeMap<PrintGroup, String>,
    /// Which key its fingerprints were made with. Empty in one that an earlier version has kept: they were plain hashes then.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
}

impl Print {
    /// Adds an item.
    pub fn add(&mut self, group: PrintGroup, name: &str, item: PrintItem) {
        self.items.entry(group).or_default().insert(name.to_owned(), item);
    }

    /// How many items it has.
    pub fn len(&self) -> usize {
        self.items.values().map(BTreeMap::len).sum()
    }

    /// It has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A short name of what it is, without the items named in `ignored`: 12 hexadecimal digits.
    pub fn digest(&self, ignored: &[String]) -> String {
        let mut hash = Sha256::new();
        for (group, name, item) in self.items(ignored) {
            let pending = if item.pending_restart { "pending" } else { "" };
            for part in [group.to_string().as_str(), name, &item.value, item.unit.as_deref().unwrap_or_default(), pending] {
                hash.update(part.len().to_be_bytes());
                hash.update(part);
            }
        }
        short(&hash.finalize())
    }

    /// Whether it has what the second one of a difference has.
    pub fn has(&self, difference: &Difference) -> bool {
        let item = self.items.get(&difference.group).and_then(|items| items.get(&*difference.name));
        item.map(|item| Printable::from(item.shown())) == difference.second
    }

    /// What is different in `other`, in order of group and name. What one of them was not shown is no difference, and neither are
    /// fingerprints of two keys.
    pub fn differences(&self, other: &Self, ignored: &[String]) -> Vec<Difference> {
        if std::ptr::eq(self, other) {
            return Vec::new();
        }
        let content = if self.key == other.key { PrintItem::content } else { PrintItem::without_fingerprint };
        let mut differences = BTreeMap::new();
        for (print, is_other) in [(self, false), (other, true)] {
            for (group, name, item) in print.items(ignored) {
                let pair: &mut [Option<&PrintItem>; 2] = differences.entry((group, name)).or_default();
                pair[usize::from(is_other)] = Some(item);
            }
        }
        let is_unseen = |group, here: Option<_>, there: Option<_>| {
            (here.is_none() && self.unseen.contains_key(&group)) || (there.is_none() && other.unseen.contains_key(&group))
        };
        let differences = differences
            .into_iter()
            .filter(|((group, _), [here, there])| here.map(content) != there.map(content) && !is_unseen(*group, *here, *there));
        differences.map(|((group, name), [here, there])| Difference::new(group, name, here, there)).collect()
    }

    fn items<'a>(&'a self, ignored: &'a [String]) -> impl Iterator<Item = (PrintGroup, &'a str, &'a PrintItem)> {
        let all = self.items.iter().flat_map(|(group, items)| items.iter().map(|(name, item)| (*group, name.as_str(), item)));
        all.filter(|(_, name, _)| !ignored.iter().any(|ignored| ignored == name))
    }
}

/// The length of a fingerprint.
const SHORT: usize = 12;

/// The beginning of a hash: 12 hexadecimal digits.
pub fn short(hash: &[u8]) -> String {
    let beginning = hash.iter().take(SHORT / 2).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{beginning:0SHORT$x}")
}

/// An item that two prints do not have alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What it is.
    pub group: PrintGroup,
    /// Its name.
    pub name: Printable,
    /// The value of the first one; `None` where it has none.
    pub first: Option<Printable>,
    /// The value of the second one.
    pub second: Option<Printable>,
    /// A change of it takes effect at the next restart only.
    pub needs_restart: bool,
}

impl Difference {
    fn new(group: PrintGroup, name: &str, first: Option<&PrintItem>, second: Option<&PrintItem>) -> Self {
        let shown = |item: Option<&PrintItem>| item.map(|item| Printable::from(item.shown()));
        let needs_restart = [first, second].into_iter().flatten().any(|item| item.needs_restart);
        Self { group, name: Printable::word(name), first: shown(first), second: shown(second), needs_restart }
    }
}

impl PrintItem {
    fn content(&self) -> (&str, Option<&str>, bool) {
        (&self.value, self.unit.as_deref(), self.pending_restart)
    }

    /// The same, and of a value with a fingerprint only what stands before it.
    fn without_fingerprint(&self) -> (&str, Option<&str>, bool) {
        let (value, unit, is_pending) = self.content();
        let is_one = |end: &str| {
            let digits = end.strip_suffix(')');
            digits.is_some_and(|digits| digits.len() == SHORT && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        let beginning = value.rsplit_once("fingerprint ").filter(|(_, end)| is_one(end)).map(|(beginning, _)| beginning);
        (beginning.unwrap_or(value), unit, is_pending)
    }

    /// The value in the largest unit that fits, as `SHOW` of `PostgreSQL` has it: 16384 in units of `8kB` is `128MB`.
    pub fn shown(&self) -> String {
        let unit = self.unit.as_deref().unwrap_or_default();
        let value = match self.value.parse::<i128>() {
            Ok(number) if number > 0 => in_largest(number, unit).unwrap_or_else(|| format!("{number}{unit}")),
            // Off, or automatic.
            Ok(number) => number.to_string(),
            Err(_) if self.value.parse::<f64>().is_ok() => format!("{}{unit}", self.value),
            Err(_) => self.value.clone(),
        };
        if self.pending_restart { format!("{value} (another one waits for a restart)") } else { value }
    }
}

/// `number` of `unit` in the largest unit of its kind that needs no fraction.
fn in_largest(number: i128, unit: &str) -> Option<String> {
    const SIZES: &[(&str, i128)] = &[("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)];
    const TIMES: &[(&str, i128)] =
        &[("d", 86_400_000_000), ("h", 3_600_000_000), ("min", 60_000_000), ("s", 1_000_000), ("ms", 1000), ("us", 1)];
    let name = unit.trim_start_matches(|c: char| c.is_ascii_digit());
    let count = unit.strip_suffix(name).filter(|count| !count.is_empty()).map_or(Ok(1), str::parse::<i128>).ok()?;
    let kind = [SIZES, TIMES].into_iter().find(|kind| kind.iter().any(|(known, _)| *known == name))?;
    let (_, factor) = kind.iter().find(|(known, _)| *known == name)?;
    let whole = number.checked_mul(count)?.checked_mul(*factor)?;
    let (largest, factor) = kind.iter().find(|(_, factor)| whole % factor == 0)?;
    Some(format!("{}{largest}", whole / factor))
}

impl Difference {
    /// A standby gets it from its primary.
    pub fn is_replicated(&self) -> bool {
        matches!(self.group, PrintGroup::Extension | PrintGroup::CollationRecorded)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<Printable>| value.as_ref().map_or_else(|| "absent".to_owned(), |value| format!("{value:?}"));
        write!(f, "{} {}: {}, then {}", self.group, self.name, value(&self.first), value(&self.second))?;
        if self.needs_restart { f.write_str(" (a change needs a restart)") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(value: &str, unit: Option<&str>) -> PrintItem {
        PrintItem { value: value.into(), unit: unit.map(str::to_owned), ..PrintItem::default() }
    }

    fn print(items: &[(PrintGroup, &str, PrintItem)]) -> Print {
        let mut print = Print::default();
        for (group, name, item) in items {
            print.add(*group, name, item.clone());
        }
        print
    }

    #[test]
    fn values_are_shown_as_people_write_them() {
        for (value, unit, shown) in [
            ("16384", Some("8kB"), "128MB"),
            ("16385", Some("8kB"), "131080kB"),
            ("4096", Some("kB"), "4MB"),
            ("16777216", Some("B"), "16MB"),
            ("1", Some("16MB"), "16MB"),
            ("300", Some("s"), "5min"),
            ("60000", Some("ms"), "1min"),
            ("1500", Some("ms"), "1500ms"),
            ("1440", Some("min"), "1d"),
            ("0.5", Some("ms"), "0.5ms"),
            ("-1", Some("kB"), "-1"),
            ("0", Some("ms"), "0"),
            ("7", Some("bananas"), "7bananas"),
            ("7", Some("99999999999999999999999999999999999999999kB"), "799999999999999999999999999999999999999999kB"),
            ("170141183460469231731687303715884105727", Some("TB"), "170141183460469231731687303715884105727TB"),
            ("on", None, "on"),
            ("100", None, "100"),
        ] {
            assert_eq!(item(value, unit).shown(), shown);
        }
    }

    #[test]
    fn differences_are_those_of_content_and_of_what_both_were_shown() {
        use PrintGroup::{Extension, Setting};
        let pending = PrintItem { pending_restart: true, ..item("100", None) };
        let mut one = print(&[
            (Setting, "max_connections", item("100", None)),
            (Setting, "work_mem", item("4096", Some("kB"))),
            (Setting, "same", PrintItem { needs_restart: true, ..item("1", None) }),
            (Extension, "pg_trgm", item("1.6", None)),
        ]);
        let other = print(&[
            (Setting, "max_connections", pending),
            (Setting, "work_mem", item("4096", Some("kB"))),
            (Setting, "same", item("1", None)),
            (Setting, "shared_preload_libraries", item("pg_stat_statements", None)),
        ]);
        let names = |one: &Print, ignored: &[String]| {
            one.differences(&other, ignored).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let waits = r#"setting max_connections: "100", then "100 (another one waits for a restart)""#;
        let preloaded = r#"setting shared_preload_libraries: absent, then "pg_stat_statements""#;
        let extension = r#"extension pg_trgm: "1.6", then absent"#;
        assert_eq!(names(&one, &[]), [waits, preloaded, extension]);
        assert_eq!(names(&one, &["max_connections".into()]), [preloaded, extension]);
        one.unseen.insert(Setting, "GRANT pg_monitor".into());
        assert_eq!(names(&one, &[]), [waits, extension]);
        assert_ne!(one.digest(&[]), other.digest(&[]));
        let again: Print = serde_json::from_str(&serde_json::to_string(&one).unwrap()).unwrap();
        assert_eq!((again.digest(&[]), &again), (one.digest(&[]), &one));
    }

    #[test]
    fn fingerprints_of_two_keys_tell_nothing() {
        let of = |key: &str, values: [&str; 2]| {
            let named = ["app.pin", "long"].into_iter().zip(values);
            let items: Vec<_> = named.map(|(name, value)| (PrintGroup::Setting, name, item(value, None))).collect();
            Print { key: key.into(), ..print(&items) }
        };
        let old = of("", ["(fingerprint 0123456789ab)", "abc… (900 characters, fingerprint 0123456789ab)"]);
        let new = of("k", ["(fingerprint ba9876543210)", "abc… (900 characters, fingerprint ba9876543210)"]);
        assert!(old.differences(&new, &[]).is_empty());
        for other in [
            of("k", ["(fingerprint ba987654321f)", "abc… (900 characters, fingerprint ba9876543210)"]),
            of("k", ["(fingerprint ba9876543210)", "abc… (900 characters, fingerprint ba987654321f)"]),
        ] {
            assert_eq!(new.differences(&other, &[]).len(), 1, "the same key");
            assert!(old.differences(&other, &[]).is_empty(), "another key");
        }
        for other in [
            of("k", ["(fingerprint no hash)", "abc… (900 characters, fingerprint ba9876543210)"]),
            of("k", ["", "abc… (900 characters, fingerprint ba9876543210)"]),
            of("k", ["(fingerprint ba9876543210)", "abd… (900 characters, fingerprint ba9876543210)"]),
            of("k", ["(fingerprint ba9876543210)", "abc… (901 characters, fingerprint ba9876543210)"]),
        ] {
            assert_eq!(old.differences(&other, &[]).len(), 1, "{other:?}");
        }
    }
}
