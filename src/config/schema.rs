//! The JSON schema of the file (draft 7, which editors know best). It is made of the tables of keys, so it cannot differ from them.

use serde_json::{Map, Value as Json, json};

use super::{
    pool::SHARED,
    process::{Config, FILE},
    shape::{
        self,
        rule::{ABOVE_DEFAULTS, IN_POOL},
    },
};

/// Where a map stands: whether it must be complete by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// On top of a map in `defaults`.
    AboveDefaults,
    /// Nothing is beneath it.
    Alone,
}

/// The schema. What `check` accepts, it accepts; what it cannot say (names and addresses that are taken, files that are missing, what
/// variables hold), only `check` finds.
pub fn schema() -> Json {
    let mut file = FILE.schema(&Config::plain());
    let shared: Vec<&str> = SHARED.rows().iter().map(|row| row.name).collect();
    let mut definitions = Map::new();
    let (pools, defaults) = (file["properties"]["pools"].take(), file["properties"]["defaults"].take());
    let (mut pools, mut defaults) = (pools, defaults);
    let pool = &mut pools["items"];
    // What a pool must have of a key, unless `defaults` have it as well; and what `defaults` must have by themselves.
    let of_pools: Vec<Json> = parts(pool, &shared, &[ABOVE_DEFAULTS, IN_POOL]).into_iter().map(unless_in_defaults).collect();
    let of_defaults = parts(&defaults, &shared, &[ABOVE_DEFAULTS]);
    for key in &shared {
        let reference = json!({"$ref": format!("#/definitions/{key}")});
        let property = std::mem::replace(&mut pool["properties"][*key], reference.clone());
        definitions.insert((*key).into(), finished(property, Place::AboveDefaults));
        defaults["properties"][*key] = reference;
    }
    definitions.insert("variable".into(), json!({"type": "string", "pattern": shape::variable_pattern()}));
    file["properties"]["pools"] = finished(pools, Place::Alone);
    defaults["allOf"] = json!([{"properties": of_defaults}]);
    file["properties"]["defaults"] = finished(defaults, Place::Alone);
    let mut file = finished(file, Place::Alone);
    file["allOf"] = of_pools.into();
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "The configuration of mainstay",
        "definitions": definitions,
    });
    if let (Json::Object(schema), Json::Object(file)) = (&mut schema, file) {
        schema.extend(file);
    }
    schema
}

/// The rule of every pool for this key, in a file whose `defaults` have no such key.
fn unless_in_defaults((key, rule): (String, Json)) -> Json {
    json!({
        "if": {"properties": {"defaults": {"type": "object", "required": [key.as_str()]}}, "required": ["defaults"]},
        "else": {"properties": {"pools": {"items": {"properties": {key: rule}}}}},
    })
}

/// A map without the marks of this program; its rules hold where nothing is beneath it.
fn finished(mut json: Json, place: Place) -> Json {
    match &mut json {
        Json::Array(items) => items.iter_mut().for_each(|item| *item = finished(item.take(), place)),
        Json::Object(map) => {
            let rules: Vec<Json> =
                [ABOVE_DEFAULTS, IN_POOL].iter().filter_map(|mark| map.remove(*mark)).flat_map(listed).collect();
            for rule in rules.into_iter().filter(|_| place == Place::Alone) {
                // Editors offer required keys only where they stand in the map itself.
                match (rule.get("required").cloned(), map.entry("allOf").or_insert_with(|| json!([]))) {
                    (Some(required), _) => drop(map.insert("required".into(), required)),
                    (None, Json::Array(all)) => all.push(rule),
                    (None, _) => {}
                }
            }
            if map.get("allOf") == Some(&json!([])) {
                map.remove("allOf");
            }
            for (key, value) in map.iter_mut() {
                // A list replaces the one beneath it as a whole.
                let place = if ["items", "additionalItems"].contains(&key.as_str()) { Place::Alone } else { place };
                *value = finished(value.take(), place);
            }
        }
        _ => {}
    }
    json
}

/// What these marks say of the values of these keys, and of what is in them.
fn parts(map: &Json, keys: &[&str], marks: &[&str]) -> Map<String, Json> {
    let of = |key: &&str| Some(((*key).to_owned(), part(map["properties"].get(*key)?, marks)?));
    keys.iter().filter_map(of).collect()
}

fn part(value: &Json, marks: &[&str]) -> Option<Json> {
    let rules: Vec<Json> = marks.iter().filter_map(|mark| value.get(*mark).cloned()).flat_map(listed).collect();
    let keys: Vec<&str> = value.get("properties")?.as_object()?.keys().map(String::as_str).collect();
    let beneath = parts(value, &keys, marks);
    let mut part = Map::new();
    if !rules.is_empty() {
        part.insert("allOf".into(), rules.into());
    }
    if !beneath.is_empty() {
        part.insert("properties".into(), beneath.into());
    }
    (!part.is_empty()).then(|| part.into())
}

fn listed(rules: Json) -> Vec<Json> {
    if let Json::Array(rules) = rules { rules } else { vec![rules] }
}
