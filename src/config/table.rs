//! A section of the file as a table with a row for each key. The reader, the list of known keys, `check --print`, the tables of
//! docs/configuration.md and the schema come from it.

use std::{ops::RangeInclusive, time::Duration};

use serde_json::{Map, Value as Json};

use super::{
    raw::{
        quantity::format_duration,
        reader::{Field, KnownKeys, Section, one_of},
    },
    shape::{self, rule::Rule},
    tree::Tree,
};
use crate::failover::label::Label;

/// A key of a section that is read into `T`.
pub(super) struct KeySpec<T> {
    pub(super) name: &'static str,
    /// Its meaning, in a sentence.
    pub(super) meaning: &'static str,
    /// Whether it has an effect; otherwise it is not printed.
    pub(super) counts: fn(&T) -> bool,
    pub(super) kind: Kind<T>,
    /// What the schema says of its value.
    pub(super) shape: fn(&T) -> Json,
}

/// What may be written for a key, and how it is read and printed.
pub(super) struct Kind<T> {
    /// Allowed values, in words.
    pub(super) values: fn(&T) -> String,
    /// The default, if printing it would not show it.
    pub(super) default: &'static str,
    /// Called when the key is present.
    pub(super) read: fn(Field<'_>, &mut T),
    /// `None` when only leaving out the key says so.
    pub(super) print: fn(&T) -> Option<Tree>,
}

/// A section.
pub(super) struct Table<T: 'static> {
    rows: &'static [KeySpec<T>],
    keys: KnownKeys,
    /// Which keys go together, for the schema.
    rules: &'static [Rule],
}

/// A row of the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key.
    pub key: &'static str,
    /// Allowed values.
    pub values: String,
    /// The default.
    pub default: String,
    /// Its meaning.
    pub meaning: &'static str,
}

/// A section. A row is `"key": kind(field, …), "meaning";`, with an optional `if` and the condition under which the key has an
/// effect. A row of a kind that does not tell its shape has it after `is`: `elsewhere(…) is shape::text()`.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident: $into:ty $(, rules $rules:expr)? $(, planned $planned:literal)*;
     $($key:literal: $kind:ident($($of:tt)*) $(is $($shape:ident)::+($($part:tt)*))? $(if $counts:expr)?, $meaning:literal;)+) => {
        $(#[$doc])*
        pub(super) const $name: $crate::config::table::Table<$into> = {
            use $crate::config::table::{KeySpec, Table, counts, kind, names, rules, shape_of};
            const ROWS: &[KeySpec<$into>] = &[$(KeySpec {
                name: $key,
                meaning: $meaning,
                counts: counts!($($counts)?),
                kind: kind!($key $kind($($of)*)),
                shape: shape_of!($(is $($shape)::+($($part)*))? $kind($($of)*)),
            }),+];
            Table::new(ROWS, &names::<_, { ROWS.len() }>(&[ROWS]), &[$($planned),*], rules!($($rules)?))
        };
    };
}

macro_rules! counts {
    () => {
        |_| true
    };
    ($counts:expr) => {
        $counts
    };
}

macro_rules! rules {
    () => {
        &[]
    };
    ($rules:expr) => {
        $rules
    };
}

/// What the schema says of the value of a row.
macro_rules! shape_of {
    (is $($shape:ident)::+($($part:tt)*) $kind:ident($($of:tt)*)) => { |_| $($shape)::+($($part)*) };
    (word($($at:ident).+)) => { |from| $crate::config::shape::words_of(from.$($at).+) };
    (flag($($of:tt)*)) => { |_| $crate::config::shape::flag() };
    (duration($($at:ident).+, $range:expr)) => { |_| $crate::config::shape::number::duration(&$range) };
    (duration_or_off($($at:ident).+, $range:expr)) => { |_| $crate::config::shape::number::duration_or_off(&$range) };
    (count($($at:ident).+, $range:expr)) => { |_| $crate::config::shape::number::count(&$range) };
    (limit($($at:ident).+, $range:expr, $default:literal)) => { |_| $crate::config::shape::number::count(&$range) };
    (section($($at:ident).+, $table:expr)) => { |from| $table.schema(&from.$($at).+) };
    (text($($of:tt)*)) => { |_| $crate::config::shape::text() };
    (optional_text($($of:tt)*)) => { |_| $crate::config::shape::text() };
    (bytes($($of:tt)*)) => { |_| $crate::config::shape::number::size() };
    (encryption($($of:tt)*)) => { |_| $crate::config::shape::words(&["off", "require", "verify-full"]) };
    (ca_file()) => { |_| $crate::config::shape::text() };
    (cert_file()) => { |_| $crate::config::shape::text() };
    (key_file()) => { |_| $crate::config::shape::text() };
    ($kind:ident($($of:tt)*)) => {
        compile_error!(concat!("a row `", stringify!($kind), "(…)` needs `is …`: what the schema says of its value"))
    };
}

macro_rules! kind {
    // One word of a closed set.
    ($key:literal word($($at:ident).+)) => {
        kind!($key custom(
            |from| $crate::config::table::words_of(from.$($at).+), "",
            |field, into| $crate::config::table::set(&mut into.$($at).+, field.word()),
            |from| Some($crate::config::tree::word(from.$($at).+))
        ))
    };
    ($key:literal flag($($at:ident).+)) => {
        kind!($key custom(
            |_| "`true` or `false`".into(), "",
            |field, into| $crate::config::table::set(&mut into.$($at).+, field.flag()),
            |from| Some($crate::config::tree::Tree::Flag(from.$($at).+))
        ))
    };
    ($key:literal duration($($at:ident).+, $range:expr)) => {
        kind!($key custom(
            |_| $crate::config::table::durations(&$range), "",
            |field, into| $crate::config::table::set(&mut into.$($at).+, field.duration($range)),
            |from| Some($crate::config::tree::duration(from.$($at).+))
        ))
    };
    // A duration, or `off`, which is none.
    ($key:literal duration_or_off($($at:ident).+, $range:expr)) => {
        kind!($key custom(
            |_| format!("{}, or `off`", $crate::config::table::durations(&$range)), "",
            |field, into| into.$($at).+ = field.duration_or_off($range),
            |from| Some($crate::config::tree::or_off(from.$($at).+))
        ))
    };
    ($key:literal count($($at:ident).+, $range:expr)) => {
        kind!($key custom(
            |_| $crate::config::table::counts_from(&$range), "",
            |field, into| $crate::config::table::set(&mut into.$($at).+, field.count($range)),
            |from| Some($crate::config::tree::count(from.$($at).+))
        ))
    };
    // A count, or none without the key.
    ($key:literal limit($($at:ident).+, $range:expr, $default:literal)) => {
        kind!($key custom(
            |_| $crate::config::table::counts_from(&$range), $default,
            |field, into| into.$($at).+ = field.size_of($range),
            |from| from.$($at).+.map($crate::config::tree::number)
        ))
    };
    ($key:literal section($($at:ident).+, $table:expr)) => {
        kind!($key custom(
            |_| concat!("[a map](#", $key, ")").into(), "see there",
            |field, into| $table.read_field(field, &mut into.$($at).+),
            |from| Some($table.print(&from.$($at).+))
        ))
    };
    // A text, as `$wanted` says.
    ($key:literal text($at:ident, $wanted:literal)) => {
        kind!($key custom(
            |_| $wanted.into(), "",
            |field, into| $crate::config::table::set(&mut into.$at, field.text($wanted).map(str::to_owned)),
            |from| Some($crate::config::tree::text(&from.$at))
        ))
    };
    ($key:literal optional_text($at:ident, $wanted:literal, $default:literal)) => {
        kind!($key custom(
            |_| $wanted.into(), $default,
            |field, into| into.$at = field.text($wanted).map(str::to_owned),
            |from| from.$at.as_ref().map(|text| $crate::config::tree::text(text))
        ))
    };
    // A size, or no limit without the key.
    ($key:literal bytes($at:ident)) => {
        kind!($key custom(
            |_| "a size such as 16MiB".into(), "no limit",
            |field, into| into.$at = field.size(),
            |from| from.$at.map($crate::config::tree::size)
        ))
    };
    // `tls` where a server cannot be asked whether it encrypts.
    ($key:literal encryption($at:ident, $why:literal)) => {
        kind!($key custom(
            |_| "`off`, `require` or `verify-full`".into(), "",
            |field, into| $crate::config::table::set(&mut into.$at, $crate::config::resolve::tls::encryption(field, $why)),
            |from| Some($crate::config::tree::word(from.$at))
        ))
    };
    ($key:literal ca_file()) => {
        kind!($key elsewhere("the path of a PEM file", "none", |from| from.tls_ca_file.as_deref().map($crate::config::tree::path)))
    };
    ($key:literal cert_file()) => {
        kind!($key elsewhere("the path of a PEM file", "none", |from| {
            from.tls_identity.as_ref().map(|identity| $crate::config::tree::path(&identity.cert_file))
        }))
    };
    ($key:literal key_file()) => {
        kind!($key elsewhere("the path of a PEM file", "none", |from| {
            from.tls_identity.as_ref().map(|identity| $crate::config::tree::path(&identity.key_file))
        }))
    };
    // Its reader needs more than its value, and is not here.
    ($key:literal elsewhere($values:expr, $default:literal, $print:expr)) => {
        kind!($key custom(|_| $values.into(), $default, |_, _| {}, $print))
    };
    ($key:literal custom($values:expr, $default:literal, $read:expr, $print:expr)) => {
        $crate::config::table::Kind { values: $values, default: $default, read: $read, print: $print }
    };
}
pub(super) use {counts, kind, rules, shape_of, table};

/// The names of these `N` rows.
pub(super) const fn names<T, const N: usize>(parts: &[&[KeySpec<T>]]) -> [&'static str; N] {
    let mut names = [""; N];
    let (mut part, mut row, mut at) = (0, 0, 0);
    while at < N {
        if row < parts[part].len() {
            names[at] = parts[part][row].name;
            (row, at) = (row + 1, at + 1);
        } else {
            (part, row) = (part + 1, 0);
        }
    }
    names
}

impl<T> Table<T> {
    pub(super) const fn new(
        rows: &'static [KeySpec<T>],
        known: &'static [&'static str],
        planned: &'static [&'static str],
        rules: &'static [Rule],
    ) -> Self {
        Self { rows, keys: KnownKeys { known, planned }, rules }
    }

    pub(super) const fn rows(&self) -> &'static [KeySpec<T>] {
        self.rows
    }

    pub(super) const fn keys(&self) -> KnownKeys {
        self.keys
    }

    /// Reads every key in `section`; the others stay as they are.
    pub(super) fn read(&self, section: Section<'_>, into: &mut T) {
        for row in self.rows {
            if let Some(field) = section.get(row.name) {
                (row.kind.read)(field, into);
            }
        }
    }

    /// The same from a field that holds the section.
    pub(super) fn read_field(&self, field: Field<'_>, into: &mut T) {
        if let Some(section) = field.map(self.keys) {
            self.read(section, into);
        }
    }

    /// Every key that has a value to show.
    pub(super) fn print(&self, from: &T) -> Tree {
        Tree::Map(self.entries(from).collect())
    }

    /// The same, one by one.
    pub(super) fn entries<'a>(&self, from: &'a T) -> impl Iterator<Item = (&'static str, Tree)> + use<'a, T> {
        let shown = self.rows.iter().filter(|row| (row.counts)(from));
        shown.filter_map(|row| Some((row.name, (row.kind.print)(from)?)))
    }

    /// The keys that differ.
    pub(super) fn differing(&self, one: &T, other: &T) -> impl Iterator<Item = &'static str> {
        self.rows.iter().filter(|row| (row.kind.print)(one) != (row.kind.print)(other)).map(|row| row.name)
    }

    /// The reference for each key; `plain` has the defaults.
    pub(super) fn reference(&self, plain: &T) -> Vec<Row> {
        let row = |row: &KeySpec<T>| {
            let printed = (row.kind.print)(plain).and_then(|tree| tree.scalar()).filter(|_| row.kind.default.is_empty());
            let default = printed.unwrap_or_else(|| row.kind.default.to_owned());
            Row { key: row.name, values: (row.kind.values)(plain), default, meaning: row.meaning }
        };
        self.rows.iter().map(row).collect()
    }

    /// The section as a map of the schema; `plain` has the defaults.
    pub(super) fn schema(&self, plain: &T) -> Json {
        shape::map(self.properties(plain), &self.required(), self.rules)
    }

    /// Its keys in the schema.
    pub(super) fn properties(&self, plain: &T) -> Map<String, Json> {
        self.rows.iter().map(|row| (row.name.to_owned(), row.property(plain))).collect()
    }

    /// The keys that must be there.
    pub(super) fn required(&self) -> Vec<&'static str> {
        let required = self.rows.iter().filter(|row| row.kind.default == "required").map(|row| row.name);
        required.filter(|key| !self.rules.iter().any(|rule| rule.decides(key))).collect()
    }

    pub(super) const fn rules(&self) -> &'static [Rule] {
        self.rules
    }
}

/// The schema of a section, for a row that is not read as one.
pub(super) fn schema_of<T>(table: &Table<T>, plain: &T) -> Json {
    table.schema(plain)
}

impl<T> KeySpec<T> {
    /// Its schema, with what an editor shows: meaning, values and default.
    fn property(&self, plain: &T) -> Json {
        let printed = (self.kind.print)(plain).filter(|_| self.kind.default.is_empty());
        let default = match &printed {
            Some(tree) => tree.scalar().map(|default| format!(" Default: {default}.")),
            None if ["", "see there"].contains(&self.kind.default) => None,
            None if self.kind.default == "required" => Some(" Required.".to_owned()),
            None => Some(format!(" Default: {}.", self.kind.default)),
        };
        let values = (self.kind.values)(plain);
        let text = format!("{}\n\nValues: {values}.{}", self.meaning, default.unwrap_or_default());
        let default = printed.filter(|tree| tree.scalar().is_some()).map(|tree| tree.to_json());
        let shape = shape::with_message((self.shape)(plain), &shape::without_links(&values));
        shape::described(shape, shape::without_links(&text), default)
    }
}

/// Sets what was read; errors were reported.
pub(super) fn set<V>(place: &mut V, read: Option<V>) {
    if let Some(read) = read {
        *place = read;
    }
}

/// All words of this closed set.
pub(super) fn words_of<L: Label>(_: L) -> String {
    one_of(&L::ALL.iter().map(|label| label.as_str()).collect::<Vec<_>>())
}

pub(super) fn durations(range: &RangeInclusive<Duration>) -> String {
    format!("{} to {}", format_duration(*range.start()), format_duration(*range.end()))
}

pub(super) fn counts_from(range: &RangeInclusive<u32>) -> String {
    format!("{} to {}", range.start(), range.end())
}
