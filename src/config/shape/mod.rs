//! What may be written for a value, as a JSON schema (draft 7) says it. A text with a variable in it is accepted wherever a single
//! value may stand: only `check` knows what the variable holds.
//!
//! | file | what it holds |
//! |---|---|
//! | this one | texts, words, lists and maps |
//! | [`number`] | counts, durations and sizes |
//! | [`address`] | addresses, networks and host names |
//! | [`rule`] | which keys of a map go together |

pub(super) mod address;
pub(super) mod number;
pub(super) mod rule;

use std::ops::RangeInclusive;

use serde_json::{Map, Value as Json, json};

use self::rule::{ABOVE_DEFAULTS, IN_POOL, Rule, Scope};
use crate::failover::label::Label;

/// `${NAME}`, `${NAME:-default}` or `${NAME:?message}`.
const REFERENCE: &str = r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::[-?](?:[^}$]|\$(?!\{))*)?\}";

/// Any text that holds a variable.
pub(super) fn variable_pattern() -> String {
    format!(r"^(?:[^$]|\$\$)*{REFERENCE}(?:[^$]|\$\$|{REFERENCE})*$")
}

/// Such a text, as one definition for the whole schema.
pub(super) fn variable() -> Json {
    json!({"$ref": "#/definitions/variable"})
}

/// A text that matches all of this pattern.
pub(super) fn matching(pattern: &str) -> Json {
    json!({"type": "string", "pattern": format!("^(?:{pattern})$|{}", variable_pattern())})
}

/// A text that begins with one of these words, in upper or lower case, or with a bracket or a comment of SQL.
pub(super) fn beginning_with(words: &[&str]) -> Json {
    let any_case = |c: char| ['[', c, c.to_ascii_lowercase(), ']'];
    let words: Vec<String> = words.iter().map(|word| word.chars().flat_map(any_case).collect()).collect();
    let rest = r"(?:[^$]|\$\$)*";
    matching(&format!(r"(?:[^$A-Za-z0-9]|\$\$)*(?:{})(?![A-Za-z0-9]){rest}|\s*[(/-]{rest}", words.join("|")))
}

/// Any text but the empty one.
pub(super) fn text() -> Json {
    json!({"type": "string", "pattern": format!(r"^(?:[^$]|\$\$|{REFERENCE})+$")})
}

/// Any single value, passed on as it is written.
pub(super) fn scalar() -> Json {
    json!({"type": ["string", "number", "boolean"], "pattern": format!(r"^(?:[^$]|\$\$|{REFERENCE})*$")})
}

/// A secret: a variable and nothing else, without a default.
pub(super) fn secret() -> Json {
    json!({"type": "string", "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*(?::\?(?:[^}$]|\$(?!\{))*)?\}$"})
}

/// A name in metrics and logs.
pub(super) fn name() -> Json {
    matching("[A-Za-z0-9._-]{1,63}")
}

/// An absolute path.
pub(super) fn absolute_path() -> Json {
    matching(r"/(?:[^$]|\$\$)*")
}

/// The same, or nothing.
pub(super) fn absolute_path_or_null() -> Json {
    let mut path = absolute_path();
    path["type"] = json!(["string", "null"]);
    path
}

/// One of these words.
pub(super) fn words(words: &[&str]) -> Json {
    json!({"anyOf": [{"enum": words}, variable()]})
}

/// One word of this closed set.
pub(super) fn words_of<L: Label>(_: L) -> Json {
    words(&words_in::<L>())
}

/// The words of a closed set.
pub(super) fn words_in<L: Label>() -> Vec<&'static str> {
    L::ALL.iter().map(|label| label.as_str()).collect()
}

/// `true` or `false`, quoted or not.
pub(super) fn flag() -> Json {
    json!({"anyOf": [{"enum": [true, false]}, {"enum": ["true", "false"]}, variable()]})
}

/// One of these.
pub(super) fn any_of(shapes: impl IntoIterator<Item = Json>) -> Json {
    json!({"anyOf": shapes.into_iter().collect::<Vec<_>>()})
}

/// This, or one of these words.
pub(super) fn or_words(shape: Json, words: &[&str]) -> Json {
    any_of([json!({"enum": words}), shape])
}

/// A list of one to `max`.
pub(super) fn list(item: Json, max: usize) -> Json {
    let mut list = json!({"type": "array", "minItems": 1, "maxItems": max});
    list["items"] = item;
    list
}

/// One, or a list of one to `max`.
pub(super) fn one_or_many(item: Json, max: usize) -> Json {
    any_of([item.clone(), list(item, max)])
}

/// The same, or an empty list.
pub(super) fn any_number(item: Json, max: usize) -> Json {
    let mut list = json!({"type": "array", "maxItems": max});
    list["items"] = item.clone();
    any_of([item, list])
}

/// A program by its absolute path, and its arguments.
pub(super) fn program(words: RangeInclusive<usize>) -> Json {
    json!({
        "type": "array", "minItems": words.start(), "maxItems": words.end(),
        "items": [absolute_path()], "additionalItems": scalar(),
    })
}

/// A map with these keys. `required` ones may stand in `defaults` instead, where the map may.
pub(super) fn map(properties: Map<String, Json>, required: &[&str], rules: &[Rule]) -> Json {
    let part = |scope: Scope| -> Vec<Json> { rules.iter().filter(|rule| rule.scope() == scope).map(Rule::schema).collect() };
    let mut map = json!({"type": "object", "additionalProperties": false});
    map["properties"] = properties.into();
    let mut complete = part(Scope::AboveDefaults);
    if !required.is_empty() {
        complete.insert(0, json!({"required": required}));
    }
    for (key, rules) in [("allOf", part(Scope::Everywhere)), (ABOVE_DEFAULTS, complete), (IN_POOL, part(Scope::Pool))] {
        if !rules.is_empty() {
            map[key] = rules.into();
        }
    }
    map
}

/// A map with one key, which it needs.
pub(super) fn map_of(key: &str, meaning: &str, shape: Json) -> Json {
    map([(key.to_owned(), described(shape, meaning.to_owned(), None))].into_iter().collect(), &[key], &[])
}

/// The map, or nothing, as a key without a value is.
pub(super) fn or_null(map: Json) -> Json {
    or_scalar(map, &["null", "string"], &variable_pattern())
}

/// The map, or a list of this form.
pub(super) fn or_list(map: Json, list: Json) -> Json {
    let mut either = map;
    if let (Json::Object(either), Json::Object(list)) = (&mut either, list) {
        either.extend(list.into_iter().filter(|(key, _)| key != "type"));
        either.insert("type".into(), json!(["object", "array"]));
    }
    either
}

/// The map, or one of these words.
pub(super) fn map_or_words(map: Json, words: &[&str]) -> Json {
    let mut either = map;
    either["type"] = json!(["object", "string"]);
    either["anyOf"] = json!([{"enum": words}, {"type": "object"}, variable()]);
    either
}

fn or_scalar(map: Json, more: &[&str], pattern: &str) -> Json {
    let mut either = map;
    let mut types: Vec<Json> = match either["type"].take() {
        Json::Array(types) => types,
        one => vec![one],
    };
    types.extend(more.iter().map(|kind| Json::from(*kind)));
    either["type"] = types.into();
    either["pattern"] = pattern.into();
    either
}

/// Has editors say what is wanted, where they would show a pattern.
pub(super) fn with_message(mut shape: Json, wanted: &str) -> Json {
    if let Some(Json::Array(shapes)) = shape.get_mut("anyOf") {
        for shape in shapes {
            *shape = with_message(shape.take(), wanted);
        }
    }
    if shape.get("pattern").is_some() {
        shape["patternErrorMessage"] = format!("This must be {wanted}.").into();
    }
    shape
}

/// The schema of a key, with what an editor shows of it.
pub(super) fn described(mut shape: Json, text: String, default: Option<Json>) -> Json {
    if let Json::Object(shape) = &mut shape {
        shape.insert("description".into(), text.into());
        if let Some(default) = default {
            shape.insert("default".into(), default);
        }
    }
    shape
}

/// Markdown without its links, which lead nowhere from an editor.
pub(crate) fn without_links(markdown: &str) -> String {
    let mut plain = String::new();
    let mut rest = markdown;
    while let Some((before, link)) = rest.split_once('[') {
        let parts = link.split_once("](").and_then(|(shown, target)| Some((shown, target.split_once(')')?.1)));
        plain.push_str(before);
        if let Some((shown, after)) = parts {
            plain.push_str(shown);
            rest = after;
        } else {
            plain.push('[');
            rest = link;
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_has_no_links() {
        for (markdown, plain) in [
            ("Where clients connect.", "Where clients connect."),
            ("see [doors.md](doors.md).", "see doors.md."),
            ("a list of [maps](#pools), or [x]", "a list of maps, or [x]"),
        ] {
            assert_eq!(without_links(markdown), plain);
        }
    }
}
