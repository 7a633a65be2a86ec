//! What tells people of trouble: the alert rules, the runbook, the dashboard. They name only what exists, and each alert fires in its case
//! and in no other.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::support::repository::{path, text, yaml};

mod dashboard;
mod exposed;
mod live;
mod prometheus;
mod promql;
mod rules;
mod runbook;
mod shop;

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
