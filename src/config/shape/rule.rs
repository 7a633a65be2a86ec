//! Which keys of a map go together.

use serde_json::{Value as Json, json};

/// In a schema that is not finished: what holds of a map only together with what `defaults` have.
pub(in crate::config) const ABOVE_DEFAULTS: &str = "x-above-defaults";
/// The same, but `defaults` alone need not fulfil it.
pub(in crate::config) const IN_POOL: &str = "x-in-pool";

/// Where a rule holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Scope {
    /// In the map itself.
    Everywhere,
    /// In a pool's map on top of the one in `defaults`, and in `defaults`.
    AboveDefaults,
    /// In a pool's map on top of the one in `defaults`.
    Pool,
}

/// A rule for the keys of a map.
#[derive(Clone, Copy)]
pub(in crate::config) enum Rule {
    /// Exactly one of these keys.
    OneOf(&'static [&'static str]),
    /// At most one of these keys.
    AtMostOne(&'static [&'static str]),
    /// The key needs one of the others.
    Needs(&'static str, &'static [&'static str]),
    /// The key with this word needs the other.
    WordNeeds(&'static str, &'static str, &'static str),
    /// None of the others beside the key.
    Excludes(&'static str, &'static [&'static str]),
    /// Any other.
    Other(Scope, fn() -> Json),
}

impl Rule {
    /// Where it holds.
    pub(super) const fn scope(&self) -> Scope {
        match self {
            Self::OneOf(_) | Self::AtMostOne(_) | Self::Excludes(..) => Scope::Everywhere,
            Self::Needs(..) | Self::WordNeeds(..) => Scope::AboveDefaults,
            Self::Other(scope, _) => *scope,
        }
    }

    /// Whether it says when this key is required.
    pub(in crate::config) fn decides(&self, key: &str) -> bool {
        matches!(self, Self::OneOf(keys) if keys.contains(&key))
    }

    pub(super) fn schema(&self) -> Json {
        match self {
            Self::OneOf(keys) => of_a_map(&json!({"oneOf": each(keys)})),
            Self::AtMostOne(keys) => Self::at_most_one(keys.iter().copied()),
            Self::Needs(key, others) => json!({"dependencies": {*key: {"anyOf": each(others)}}}),
            Self::WordNeeds(key, word, other) => when(key, &json!(word), &json!({"required": [other]})),
            Self::Excludes(key, others) => Self::excludes(key, others.iter().copied()),
            Self::Other(_, schema) => schema(),
        }
    }

    /// At most one of these keys.
    pub(in crate::config) fn at_most_one(keys: impl Iterator<Item = &'static str>) -> Json {
        let keys: Vec<&str> = keys.collect();
        let none = json!({"not": {"anyOf": each(&keys)}});
        of_a_map(&json!({"oneOf": each(&keys).into_iter().chain([none]).collect::<Vec<_>>()}))
    }

    /// None of the others beside the key.
    pub(in crate::config) fn excludes(key: &str, others: impl Iterator<Item = &'static str>) -> Json {
        json!({"dependencies": {key: {"not": {"anyOf": each(&others.collect::<Vec<_>>())}}}})
    }
}

/// What is no map has no keys to count.
fn of_a_map(rule: &Json) -> Json {
    json!({"if": {"type": "object"}, "then": rule})
}

/// When the key has this value: what then holds of the map.
pub(in crate::config) fn when(key: &str, value: &Json, then: &Json) -> Json {
    json!({"if": {"properties": {key: {"const": value}}, "required": [key]}, "then": then})
}

fn each(keys: &[&str]) -> Vec<Json> {
    keys.iter().map(|key| json!({"required": [key]})).collect()
}
