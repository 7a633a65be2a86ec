//! The chart, as it is written. What it renders is looked at by `strict::chart`.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use super::{document, text};
use crate::support::repository::path;

pub(super) const CHART: &str = "deploy/helm/mainstay";

#[test]
fn its_rules_are_those_of_prometheus() {
    let rules = text("deploy/prometheus/rules.yaml");
    let from = rules.find("groups:").unwrap();
    assert!(text(&format!("{CHART}/files/groups.yaml")) == rules[from..], "run `make alert-rules`");
}

/// The keys of a map, at every depth that has a schema of its own.
fn keys(value: &Value, below: &str, schema: &Value, found: &mut BTreeSet<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let name = format!("{below}.{key}");
        let of = &schema["properties"][key];
        assert!(of.is_object(), "the schema does not know {name}");
        keys(value, &name, if of["properties"].is_object() { of } else { &Value::Null }, found);
        found.insert(name);
    }
}

/// The schema names exactly the keys of `values.yaml`, but for those that Helm and who depends on the chart set.
#[test]
fn its_schema_and_its_values_have_the_same_keys() {
    let schema: Value = serde_json::from_str(&text(&format!("{CHART}/values.schema.json"))).unwrap();
    let values = document(&format!("{CHART}/values.yaml"));
    let mut found = BTreeSet::new();
    for (key, value) in values.as_object().unwrap() {
        let of = &schema["properties"][key];
        assert!(of.is_object(), "the schema does not know {key}");
        if of["additionalProperties"] == false {
            keys(value, key, of, &mut found);
            for inner in of["properties"].as_object().unwrap().keys() {
                let is_free = ["requests", "limits", "claims"].contains(&&**inner);
                assert!(is_free || found.contains(&format!("{key}.{inner}")), "values.yaml does not show {key}.{inner}");
            }
        }
    }
    let known: BTreeSet<_> = schema["properties"].as_object().unwrap().keys().collect();
    let shown: BTreeSet<_> = values.as_object().unwrap().keys().collect();
    let more: Vec<_> = known.difference(&shown).map(|key| key.as_str()).collect();
    assert_eq!(more, ["enabled", "global"]);
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn every_value_is_used_by_a_template() {
    let mut templates = String::new();
    for entry in fs::read_dir(path(&format!("{CHART}/templates"))).unwrap().flatten() {
        templates += &fs::read_to_string(entry.path()).unwrap();
    }
    for (key, value) in document(&format!("{CHART}/values.yaml")).as_object().unwrap() {
        let inner: Vec<_> = value.as_object().into_iter().flatten().map(|(inner, _)| format!(".Values.{key}.{inner}")).collect();
        for name in if inner.is_empty() { vec![format!(".Values.{key}")] } else { inner } {
            assert!(templates.contains(&name), "no template uses {name}");
        }
    }
}
