//! What tells people of trouble: the alert rules, the runbook, the dashboard. They name only what exists, and each alert fires in its case
//! and in no other.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::{Deserialize, de::DeserializeOwned};

mod dashboard;
mod exposed;
mod live;
mod prometheus;
mod promql;
mod rules;
mod runbook;
mod shop;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A file of the repository.
fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn yaml<T: DeserializeOwned>(text: &str) -> T {
    // The series of the tests of rules are written once and named often.
    let options = serde_yaml::options! { budget: None };
    serde_yaml::from_str_with_options(text, options).unwrap_or_else(|error| panic!("{error}"))
}

/// A file of rules, as far as the tests look at it.
#[derive(Debug, Deserialize, PartialEq)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Group {
    name: String,
    interval: String,
    rules: Vec<Alert>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Alert {
    #[serde(rename = "alert")]
    name: String,
    expr: String,
    r#for: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

/// Every alert of `deploy/prometheus/rules.yaml`.
fn alerts() -> Vec<Alert> {
    let rules: Rules = yaml(&text("deploy/prometheus/rules.yaml"));
    rules.groups.into_iter().flat_map(|group| group.rules).collect()
}
