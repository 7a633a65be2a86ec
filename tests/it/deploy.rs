//! What is under `deploy/` for Kubernetes, Helm and Compose: it is valid, mainstay takes every configuration in it, and its ports, paths
//! and times agree with each other. `make deploy-check` also renders it, and has it read by the validators of these worlds (`strict`).

use std::fs;

use serde_json::Value;

use crate::support::{
    netns::run,
    repository::{path, text, yaml},
};

mod accepted;
mod chart;
mod compose;
mod life;
mod manifests;
mod pod;
mod room;
mod strict;

/// A file that is one YAML document.
fn document(name: &str) -> Value {
    yaml(&text(name))
}

/// The documents of what a tool has rendered.
fn documents(rendered: &str) -> Vec<Value> {
    let all = rendered.split("\n---\n").map(|text| text.trim_start_matches("---\n"));
    all.map(yaml::<Value>).filter(|document| !document.is_null()).collect()
}

/// What has this kind; there is one.
#[track_caller]
fn only<'a>(documents: &'a [Value], kind: &str) -> &'a Value {
    let found: Vec<_> = documents.iter().filter(|document| document["kind"] == kind).collect();
    assert_eq!(found.len(), 1, "{kind}");
    found[0]
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// Where a backend is; `check --print` shows one that is called after its host in the short form.
fn address_of(backend: &Value) -> &str {
    backend.as_str().unwrap_or_else(|| word(&backend["address"]))
}

/// Seconds of a duration of the configuration.
fn seconds(value: &Value) -> u64 {
    let text = word(value);
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap());
    number.parse::<u64>().unwrap() * if unit == "m" { 60 } else { 1 }
}

#[test]
fn every_script_is_one_for_the_shell_that_it_names() {
    run(&["sh", "-n", path("deploy/compose/postgres.sh").to_str().unwrap()]);
    run(&["bash", "-n", path("tests/validators/install").to_str().unwrap()]);
}

#[test]
fn the_image_is_that_of_this_version_everywhere() {
    let mut named = 0;
    for name in [
        "compose.yaml",
        "deploy/kubernetes/components/sidecar/sidecar.yaml",
        "deploy/kubernetes/components/deployment/deployment.yaml",
    ] {
        for at in text(name).split("image: ghcr.io/mainstay/mainstay:").skip(1) {
            assert_eq!(at.lines().next(), Some(env!("CARGO_PKG_VERSION")), "{name}");
            named += 1;
        }
    }
    assert_eq!(named, 3);
    let chart = document("deploy/helm/mainstay/Chart.yaml");
    assert_eq!([&chart["version"], &chart["appVersion"]], [env!("CARGO_PKG_VERSION"); 2]);
    assert_eq!(document("deploy/helm/mainstay/values.yaml")["image"]["repository"], "ghcr.io/mainstay/mainstay");
    let here = text("docs/kubernetes.md") + &fs::read_to_string(path("CHANGELOG.md")).unwrap();
    assert!(here.contains("deploy/kubernetes"), "the documents do not name what is here");
}
