//! The configuration as `check --print` shows it, before it becomes YAML or JSON.

use std::{
    fmt::{Display, Write},
    path::Path,
    time::Duration,
};

use serde_json::Value as Json;

use super::{
    raw::quantity::{format_duration, format_size},
    secret::{Secret, SecretSource},
};
use crate::failover::label::Label;

/// A value in file order.
#[derive(PartialEq, Eq)]
pub(super) enum Tree {
    Null,
    Flag(bool),
    Number(u64),
    Text(String),
    /// A text that programs see as `***`; in YAML it refers to the source of the secret.
    Secret(String),
    List(Vec<Self>),
    Map(Vec<(&'static str, Self)>),
    /// A map whose keys are the user's.
    Named(Vec<(String, Self)>),
}

impl FromIterator<Self> for Tree {
    fn from_iter<I: IntoIterator<Item = Self>>(items: I) -> Self {
        Self::List(items.into_iter().collect())
    }
}

pub(super) fn text(value: &dyn Display) -> Tree {
    Tree::Text(value.to_string())
}

pub(super) fn word<L: Label>(label: L) -> Tree {
    text(&label.as_str())
}

pub(super) fn path(path: &Path) -> Tree {
    text(&path.display())
}

pub(super) fn duration(duration: Duration) -> Tree {
    Tree::Text(format_duration(duration))
}

pub(super) fn size(bytes: u64) -> Tree {
    Tree::Text(format_size(bytes))
}

pub(super) fn or_off(limit: Option<Duration>) -> Tree {
    limit.map_or_else(|| text(&"off"), duration)
}

pub(super) fn number(value: usize) -> Tree {
    Tree::Number(value as u64)
}

pub(super) fn count(value: u32) -> Tree {
    Tree::Number(value.into())
}

/// `None` for an empty list, which would be an error.
pub(super) fn some_of<T: Display>(items: &[T]) -> Option<Tree> {
    (!items.is_empty()).then(|| items.iter().map(|item| text(item)).collect())
}

/// A secret that is not in a file.
pub(super) fn from_variable(secret: Option<&Secret>) -> Option<Tree> {
    match secret?.source() {
        SecretSource::File(_) => None,
        SecretSource::Variable(name) => Some(Tree::Secret(format!("${{{name}}}"))),
        SecretSource::Program => Some(Tree::Secret("***".into())),
    }
}

/// The file that a secret is in.
pub(super) fn from_file(secret: Option<&Secret>) -> Option<Tree> {
    if let SecretSource::File(file) = secret?.source() { Some(path(file)) } else { None }
}

/// A secret that is part of a text: in YAML the variable that is all of it, or nothing that could be used again.
pub(super) fn hidden(source: &SecretSource) -> Tree {
    match source {
        SecretSource::Variable(name) => Tree::Secret(format!("${{{name}}}")),
        SecretSource::File(_) | SecretSource::Program => Tree::Secret("\"***\"".into()),
    }
}

impl Tree {
    /// For programs, secrets as `***`.
    pub(super) fn to_json(&self) -> Json {
        json(self)
    }

    /// As written in YAML, unless it contains others.
    pub(super) fn scalar(&self) -> Option<String> {
        match self {
            Self::List(_) | Self::Map(_) | Self::Named(_) => None,
            Self::Text(text) => Some(text.clone()),
            other => Some(other.to_yaml().trim_end().to_owned()),
        }
    }

    /// For people, and for reading again.
    pub(super) fn to_yaml(&self) -> String {
        let mut out = String::new();
        yaml(self, 0, &mut out);
        out
    }
}

fn json(tree: &Tree) -> Json {
    match tree {
        Tree::Null => Json::Null,
        Tree::Flag(flag) => (*flag).into(),
        Tree::Number(number) => (*number).into(),
        Tree::Text(text) => text.as_str().into(),
        Tree::Secret(_) => "***".into(),
        Tree::List(items) => items.iter().map(json).collect(),
        Tree::Map(entries) => entries.iter().map(|(key, value)| ((*key).to_owned(), json(value))).collect(),
        Tree::Named(entries) => entries.iter().map(|(key, value)| (key.clone(), json(value))).collect(),
    }
}

/// Writes a value behind what the line already has: `key:` or `-`, or nothing at the start.
fn yaml(tree: &Tree, indent: usize, out: &mut String) {
    let pad = "  ".repeat(indent);
    match tree {
        Tree::Map(entries) if !entries.is_empty() => {
            yaml_map(entries.iter().map(|(key, value)| (*key, value)), indent, out);
        }
        Tree::Named(entries) if !entries.is_empty() => {
            yaml_map(entries.iter().map(|(key, value)| (key.as_str(), value)), indent, out);
        }
        Tree::List(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&pad);
                out.push_str("- ");
                yaml(item, indent + 1, out);
            }
        }
        scalar => {
            yaml_scalar(scalar, out);
            out.push('\n');
        }
    }
}

fn yaml_map<'a>(entries: impl Iterator<Item = (&'a str, &'a Tree)>, indent: usize, out: &mut String) {
    let pad = "  ".repeat(indent);
    for (position, (key, value)) in entries.enumerate() {
        // The first key of a map in a list is on the line of the dash.
        if position > 0 || !out.ends_with("- ") {
            out.push_str(&pad);
        }
        out.push_str(key);
        out.push(':');
        yaml_value(value, indent + 1, out);
    }
}

fn yaml_value(value: &Tree, indent: usize, out: &mut String) {
    let nested = match value {
        Tree::Map(entries) => !entries.is_empty(),
        Tree::Named(entries) => !entries.is_empty(),
        Tree::List(items) => !items.is_empty(),
        _ => false,
    };
    out.push(if nested { '\n' } else { ' ' });
    yaml(value, indent, out);
}

fn yaml_scalar(tree: &Tree, out: &mut String) {
    match tree {
        Tree::Null => out.push_str("null"),
        Tree::Flag(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Tree::Number(number) => out.push_str(&number.to_string()),
        Tree::Secret(reference) => out.push_str(reference),
        Tree::List(_) => out.push_str("[]"),
        Tree::Map(_) | Tree::Named(_) => out.push_str("{}"),
        Tree::Text(text) => {
            let plain =
                text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            let plain = plain && !["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(&text.as_str());
            if plain {
                return out.push_str(text);
            }
            out.push('"');
            for c in text.chars() {
                match c {
                    '"' | '\\' => out.extend(['\\', c]),
                    '$' => out.push_str("$$"),
                    c if c.is_control() || !c.is_ascii() => {
                        // Writing to a String cannot fail.
                        let _ = write!(out, "\\U{:08X}", u32::from(c));
                    }
                    c => out.push(c),
                }
            }
            out.push('"');
        }
    }
}
