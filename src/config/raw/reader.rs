//! Typed access to the tree. A reader that finds an error reports it and returns nothing; its caller goes on, so all errors of a
//! file are found at once.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    node::{Key, Node, Path, Scalar, Source, Style, Value, shorten},
    quantity::{format_duration, parse_count, parse_duration, parse_size},
};
use crate::{
    config::{
        diagnostic::Location,
        findings::{Findings, names_secret, nearest},
    },
    failover::{MaxLag, label::Label},
};

/// The keys of a map.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct KnownKeys {
    /// Known keys.
    pub(in crate::config) known: &'static [&'static str],
    /// Keys that are reserved for a later version.
    pub(in crate::config) planned: &'static [&'static str],
}

/// A value to be read, with the value of `defaults` for the same key.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Field<'a> {
    node: &'a Node,
    under: Option<&'a Node>,
    findings: &'a Findings,
}

impl<'a> Field<'a> {
    pub(in crate::config) const fn new(node: &'a Node, findings: &'a Findings) -> Self {
        Self { node, under: None, findings }
    }

    pub(in crate::config) const fn place(self) -> Location {
        self.node.place
    }

    pub(in crate::config) const fn node(self) -> &'a Node {
        self.node
    }

    pub(in crate::config) const fn path(self) -> &'a Path {
        &self.node.path
    }

    pub(in crate::config) const fn findings(self) -> &'a Findings {
        self.findings
    }

    pub(in crate::config) const fn value(self) -> &'a Value {
        &self.node.value
    }

    /// The value that `defaults` has for the same key.
    pub(in crate::config) fn beneath(self) -> Option<Self> {
        self.under.map(|node| Self { node, under: None, findings: self.findings })
    }

    /// The value, or that of `defaults` when it is null.
    pub(in crate::config) fn or_beneath(self) -> Option<Self> {
        if matches!(self.node.value, Value::Null) { self.beneath() } else { Some(self) }
    }

    pub(in crate::config) fn error(self, message: impl Into<String>, help: impl Into<String>) {
        self.findings.error(self.node.place, &self.node.path, message, Some(help.into()));
    }

    pub(in crate::config) fn warning(self, message: impl Into<String>, help: impl Into<String>) {
        self.findings.warning(self.node.place, &self.node.path, message, Some(help.into()));
    }

    /// Reports that the value is not `wanted`.
    pub(in crate::config) fn wrong<T>(self, wanted: &str, help: Option<String>) -> Option<T> {
        let message = match &self.node.value {
            Value::Invalid => return None,
            Value::Null => format!("`{}` has no value; it must be {wanted}", self.node.path.leaf()),
            _ => format!("`{}` must be {wanted}, not {}", self.node.path.leaf(), self.shown()),
        };
        self.findings.error(self.node.place, &self.node.path, message, help);
        None
    }

    /// The value as a message may show it.
    pub(in crate::config) fn shown(self) -> String {
        match &self.node.value {
            Value::Null | Value::Invalid => "nothing".into(),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map".into(),
            Value::Scalar(scalar) => match &scalar.source {
                Source::Variable(name) => format!("what the environment variable {name} holds"),
                Source::Expanded => "what its variables make of it".into(),
                Source::Literal if names_secret(&self.node.path.leaf()) || scalar.text.contains("://") => "this".into(),
                Source::Literal => format!("\"{}\"", shorten(&scalar.text)),
            },
        }
    }

    /// The scalar; `wanted` says what it should be.
    pub(in crate::config) fn scalar(self, wanted: &str) -> Option<&'a Scalar> {
        match &self.node.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => self.wrong(wanted, None),
        }
    }

    /// A text that no YAML reader takes for a boolean or a number.
    pub(in crate::config) fn text(self, wanted: &str) -> Option<&'a str> {
        let scalar = self.scalar(wanted)?;
        if scalar.text.is_empty() {
            return self.wrong(&format!("{wanted}, which cannot be empty"), None);
        }
        let trap = (scalar.style == Style::Plain && scalar.source == Source::Literal).then(|| other_type(&scalar.text)).flatten();
        match trap {
            Some(kind) => {
                let help = format!("YAML reads this as {kind}; put it in quotes: \"{}\"", shorten(&scalar.text));
                self.wrong(wanted, Some(help))
            }
            None => Some(&scalar.text),
        }
    }

    /// One word of a closed set.
    pub(in crate::config) fn word<L: Label>(self) -> Option<L> {
        let words = L::ALL.iter().map(|label| label.as_str()).collect::<Vec<_>>();
        let wanted = one_of(&words);
        let scalar = self.scalar(&wanted)?;
        let found = L::ALL.iter().find(|label| label.as_str() == scalar.text);
        if found.is_none() {
            let off = words.iter().find(|word| **word == "off" && ["no", "false"].contains(&scalar.text.as_str())).copied();
            let meant = off.or_else(|| nearest(&scalar.text, words));
            self.wrong::<()>(&wanted, meant.map(|word| format!("did you mean `{word}`?")));
        }
        found.copied()
    }

    /// Whether it is exactly this word.
    pub(in crate::config) fn is_word(self, word: &str) -> bool {
        matches!(&self.node.value, Value::Scalar(scalar) if scalar.text == word)
    }

    /// `true` or `false`, but no other word that some YAML readers take for one.
    pub(in crate::config) fn flag(self) -> Option<bool> {
        match self.scalar("`true` or `false`")?.text.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => self.wrong("`true` or `false`", None),
        }
    }

    pub(in crate::config) fn duration(self, range: RangeInclusive<Duration>) -> Option<Duration> {
        const WANTED: &str = "a duration such as 100ms, 2s, 10m or 1h";
        let scalar = self.scalar(WANTED)?;
        let duration = match parse_duration(&scalar.text) {
            Ok(duration) => duration,
            Err(_) if scalar.text == "off" => return self.wrong(WANTED, Some("this limit cannot be switched off".into())),
            Err(fault) => return self.wrong(WANTED, Some(unit_help(fault, scalar, "s"))),
        };
        if range.contains(&duration) {
            return Some(duration);
        }
        self.wrong(&format!("from {} to {}", format_duration(*range.start()), format_duration(*range.end())), None)
    }

    /// A duration, or `off`, which is none.
    pub(in crate::config) fn duration_or_off(self, range: RangeInclusive<Duration>) -> Option<Duration> {
        if self.is_word("off") { None } else { self.duration(range) }
    }

    /// A size in bytes.
    pub(in crate::config) fn size(self) -> Option<u64> {
        const WANTED: &str = "a size such as 64KiB, 16MiB or 1GiB";
        let scalar = self.scalar(WANTED)?;
        match parse_size(&scalar.text) {
            Ok(bytes) => Some(bytes),
            Err(fault) => self.wrong(WANTED, Some(unit_help(fault, scalar, "B"))),
        }
    }

    /// A lag, in bytes or in time.
    pub(in crate::config) fn lag(self) -> Option<MaxLag> {
        const WANTED: &str = "a size such as 16MiB, or a duration such as 10s";
        let scalar = self.scalar(WANTED)?;
        match (parse_size(&scalar.text), parse_duration(&scalar.text)) {
            (Ok(bytes), _) => Some(MaxLag::Bytes(bytes)),
            (_, Ok(time)) => Some(MaxLag::Time(time)),
            (Err(fault), _) if scalar.text.ends_with('B') => self.wrong(WANTED, Some(unit_help(fault, scalar, "B"))),
            (_, Err(fault)) => self.wrong(WANTED, Some(unit_help(fault, scalar, "s"))),
        }
    }

    pub(in crate::config) fn count(self, range: RangeInclusive<u32>) -> Option<u32> {
        let wanted = format!("a number from {} to {}", range.start(), range.end());
        let scalar = self.scalar(&wanted)?;
        if scalar.style == Style::Quoted && scalar.source == Source::Literal {
            return self.wrong(&wanted, Some("this is a text; remove the quotes".into()));
        }
        match parse_count(&scalar.text).map(u32::try_from) {
            Ok(Ok(count)) if range.contains(&count) => Some(count),
            Ok(_) => self.wrong(&wanted, None),
            Err(fault) => self.wrong(&wanted, Some(fault.to_owned())),
        }
    }

    /// A count of things.
    pub(in crate::config) fn size_of(self, range: RangeInclusive<u32>) -> Option<usize> {
        self.count(range).and_then(|count| usize::try_from(count).ok())
    }

    /// The items of a list of at most `max`; a single value counts as a list of one.
    pub(in crate::config) fn one_or_many(self, wanted: &str, max: usize) -> Option<Vec<Field<'a>>> {
        if matches!(self.node.value, Value::Scalar(_)) { Some(vec![self]) } else { self.list(wanted, max) }
    }

    /// The items of a list that has from one to `max`.
    pub(in crate::config) fn list(self, wanted: &str, max: usize) -> Option<Vec<Field<'a>>> {
        let Value::List(items) = &self.node.value else { return self.wrong(wanted, None) };
        if items.is_empty() {
            let message = format!("`{}` is an empty list", self.node.path.leaf());
            self.findings.error(self.node.place, &self.node.path, message, Some(format!("it must be {wanted}, at least one")));
            return None;
        }
        if items.len() > max {
            let message = format!("`{}` has {} entries; {max} are possible", self.node.path.leaf(), items.len());
            self.findings.error(self.node.place, &self.node.path, message, None);
            return None;
        }
        Some(items.iter().map(|node| Self::new(node, self.findings)).collect())
    }

    /// The value as a map with these keys, on top of the map in `defaults`.
    pub(in crate::config) fn map(self, keys: KnownKeys) -> Option<Section<'a>> {
        let Value::Map(entries) = &self.node.value else { return self.wrong("a map (key: value)", None) };
        let section = Section { field: self, keys };
        for (key, node) in entries {
            section.check_key(key, node);
        }
        Some(section)
    }
}

/// A map to be read key by key.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct Section<'a> {
    field: Field<'a>,
    keys: KnownKeys,
}

impl<'a> Section<'a> {
    /// The map itself.
    pub(in crate::config) const fn field(self) -> Field<'a> {
        self.field
    }

    /// The value of a key, here or in `defaults`; `None` if absent.
    pub(in crate::config) fn get(self, key: &str) -> Option<Field<'a>> {
        debug_assert!(self.keys.known.contains(&key), "{key} is read but not known");
        let under = self.field.under.and_then(|node| entry(node, key));
        let node = entry(self.field.node, key);
        let findings = self.field.findings;
        node.map(|node| Field { node, under, findings }).or_else(|| under.map(|node| Field::new(node, findings)))
    }

    /// The value of a key in this map itself.
    pub(in crate::config) fn own(self, key: &str) -> Option<Field<'a>> {
        entry(self.field.node, key).map(|node| Field::new(node, self.field.findings))
    }

    /// The value of a key, unless it is absent or `null`.
    pub(in crate::config) fn get_or_null(self, key: &str) -> Option<Field<'a>> {
        self.get(key).filter(|field| !matches!(field.node.value, Value::Null))
    }

    /// The value of a key that must be there.
    pub(in crate::config) fn require(self, key: &str, example: &str) -> Option<Field<'a>> {
        let found = self.get(key);
        if found.is_none() {
            self.field.error(format!("`{key}` is missing"), format!("add `{key}: {example}`"));
        }
        found
    }

    /// The same map on top of one in `defaults`.
    pub(in crate::config) fn over(self, under: Option<&'a Node>) -> Self {
        Self { field: Field { under, ..self.field }, ..self }
    }

    pub(in crate::config) fn word<L: Label>(self, key: &str, default: L) -> L {
        self.get(key).and_then(Field::word).unwrap_or(default)
    }

    fn check_key(self, key: &Key, node: &Node) {
        let (name, place, path) = (&*key.name, key.place, &node.path);
        if self.keys.known.contains(&name) {
            return;
        }
        let (first, last) = (place.line().unwrap_or(0), node.place.line().unwrap_or(0));
        self.field.findings.narrow(first..=last);
        if self.keys.planned.contains(&name) {
            let help = "remove the key; mainstay does nothing with it yet".to_owned();
            let message = format!("`{name}` is not available in this version yet");
            return self.field.findings.error(place, path, message, Some(help));
        }
        let help = if name == "<<" {
            "merge keys are not supported: put what all pools share under `defaults:`".to_owned()
        } else if let Some(meant) = nearest(name, self.keys.known.iter().chain(self.keys.planned).copied()) {
            format!("did you mean `{meant}`?")
        } else if self.keys.known.is_empty() {
            "no key is known here".to_owned()
        } else {
            format!("known here: {}", self.keys.known.join(", "))
        };
        self.field.findings.error(place, path, format!("`{}` is not a known key", shorten(name)), Some(help));
    }
}

fn entry<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(found, _)| &*found.name == key).map(|(_, node)| node)
}

/// "`a`, `b` or `c`".
pub(in crate::config) fn one_of(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => format!("`{word}`"),
        [first @ .., last] => format!("`{}` or `{last}`", first.join("`, `")),
    }
}

fn unit_help(fault: &str, scalar: &Scalar, unit: &str) -> String {
    match fault {
        "the unit is missing" if scalar.source == Source::Literal => {
            format!("{fault}; write {}{unit} if that is meant", shorten(&scalar.text))
        }
        "it has a fraction" => format!("{fault}; write it in the next smaller unit"),
        _ => fault.to_owned(),
    }
}

/// What a YAML 1.1 or 1.2 reader would take a plain text for, if not for text.
fn other_type(text: &str) -> Option<&'static str> {
    const BOOLEANS: [&str; 8] = ["true", "false", "yes", "no", "on", "off", "y", "n"];
    if BOOLEANS.contains(&text.to_ascii_lowercase().as_str()) {
        return Some("yes or no");
    }
    let digits = text.trim_start_matches(['+', '-']).replace('_', "");
    let based = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0o"));
    let sexagesimal =
        digits.contains(':') && digits.split(':').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && digits.parse::<f64>().is_ok();
    let special = [".inf", ".nan"].contains(&digits.to_ascii_lowercase().as_str());
    (number || special || sexagesimal || based.is_some_and(|hex| u64::from_str_radix(hex, 16).is_ok())).then_some("a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_other_readers_make_of_plain_text() {
        for text in ["on", "No", "yes", "1", "022", "0x1f", "1e3", ".5", "12:30:45", "1_000", "-7", ".inf"] {
            assert!(other_type(text).is_some(), "{text}");
        }
        for text in ["orders", "db-1", "1a", "none", "e3", "v1.2.3", "127.0.0.1"] {
            assert_eq!(other_type(text), None, "{text}");
        }
    }

    #[test]
    fn lists_words() {
        assert_eq!(one_of(&["a"]), "`a`");
        assert_eq!(one_of(&["a", "b", "c"]), "`a`, `b` or `c`");
    }
}
