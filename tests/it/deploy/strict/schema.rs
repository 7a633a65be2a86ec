//! Resources against the schemas of Kubernetes and of the Prometheus operator, as they are and with a wrong field at every place.

use serde_json::{Value, json};

use super::tools::{kubernetes_validate, operator};
use crate::{deploy::word, support::scratch::Scratch};

/// Versions that have native sidecars.
pub(super) const NATIVE: [&str; 9] = ["1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"];
/// Those before, as far as the schemas are there.
pub(super) const CLASSIC: [&str; 4] = ["1.25", "1.26", "1.27", "1.28"];

const WRONG: &str = "wrongField";

fn is_of_operator(resource: &Value) -> bool {
    resource["apiVersion"] == "monitoring.coreos.com/v1"
}

/// All are valid in each of these versions, and each was looked at.
pub(super) fn are_valid(resources: &[Value], versions: &[&str]) {
    let own = Scratch::new();
    let (operators, kubernetes): (Vec<_>, Vec<_>) = resources.iter().cloned().partition(is_of_operator);
    let file = |(number, resource): (usize, &Value)| own.file(&format!("{number}.json"), resource.to_string(), 0o644);
    let files: Vec<_> = kubernetes.iter().enumerate().map(file).collect();
    for version in versions {
        let (is_valid, said) = kubernetes_validate(version, &files);
        assert!(is_valid, "Kubernetes {version}: {said}");
        let passed = said.lines().filter(|line| line.contains(" passed for resource ")).count();
        assert_eq!((passed, said.contains("WARN")), (files.len(), false), "Kubernetes {version}: {said}");
    }
    if !operators.is_empty() {
        assert_eq!(operator(&operators), [""; 0]);
    }
}

/// Maps whose keys are the user's.
const FREE: [&str; 9] =
    ["labels", "annotations", "matchLabels", "nodeSelector", "data", "limits", "requests", "selector", "emptyDir"];

/// The pointers (RFC 6901) to every map that has a schema.
fn maps(value: &Value, at: &str, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(entries) => {
            let is_of_service = key == "selector" && entries.values().all(Value::is_string);
            if !FREE.contains(&key) || (key == "selector" && !is_of_service) || key == "emptyDir" {
                found.push(at.to_owned());
            }
            for (inner, value) in entries {
                maps(value, &format!("{at}/{}", inner.replace('~', "~0").replace('/', "~1")), inner, found);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                maps(item, &format!("{at}/{number}"), key, found);
            }
        }
        _ => {}
    }
}

/// A wrong field is found in every map of every resource: how many there were.
pub(super) fn a_wrong_field_is_found_everywhere(resources: &[Value], version: &str) -> usize {
    let own = Scratch::new();
    let (mut files, mut places) = (Vec::new(), Vec::new());
    for resource in resources.iter().filter(|resource| !is_of_operator(resource)) {
        let mut found = Vec::new();
        maps(resource, "", "", &mut found);
        for pointer in found {
            let mut broken = resource.clone();
            broken.pointer_mut(&pointer).unwrap()[WRONG] = json!("x");
            files.push(own.file(&format!("{}.json", files.len()), broken.to_string(), 0o644));
            places.push(format!("{} {pointer}", resource["kind"]));
        }
    }
    // A few at a time, so that no look takes long.
    let said: String = files.chunks(25).map(|files| kubernetes_validate(version, files).1).collect();
    for (file, place) in files.iter().zip(&places) {
        let refused =
            said.lines().any(|line| line.starts_with("ERROR") && line.contains(file.to_str().unwrap()) && line.contains(WRONG));
        assert!(refused, "Kubernetes {version} takes a wrong field in {place}");
    }
    places.len()
}

/// The same for the operator's resources. One of each kind of map is enough: every look takes a second.
pub(super) fn a_wrong_field_is_found_in_resources_of_the_operator(resources: &[Value]) {
    let places = [
        ("PodMonitor", "", "a"),
        ("PodMonitor", "/metadata", "b"),
        ("PodMonitor", "/spec", "c"),
        ("PodMonitor", "/spec/selector", "d"),
        ("PodMonitor", "/spec/podMetricsEndpoints/0", "e"),
        ("PrometheusRule", "/spec", "f"),
        ("PrometheusRule", "/spec/groups/0", "g"),
        ("PrometheusRule", "/spec/groups/0/rules/0", "h"),
    ];
    let broken: Vec<_> = places
        .iter()
        .map(|(kind, pointer, name)| {
            let mut broken = resources.iter().find(|resource| word(&resource["kind"]) == *kind).unwrap().clone();
            broken["metadata"]["name"] = json!(name);
            broken.pointer_mut(pointer).unwrap()[WRONG] = json!("x");
            broken
        })
        .collect();
    let faults = operator(&broken);
    for (kind, pointer, name) in places {
        let found = faults.iter().any(|fault| fault.starts_with(&format!("{kind} {name}: ")) && fault.contains(WRONG));
        assert!(found, "a wrong field in {kind} {pointer} is not found: {faults:#?}");
    }
    // A pattern, and what is required.
    let mut monitor = broken[0].clone();
    monitor.as_object_mut().unwrap().remove(WRONG);
    assert_eq!(operator(std::slice::from_ref(&monitor)), [""; 0]);
    monitor["spec"]["podMetricsEndpoints"][0]["interval"] = json!("5 seconds");
    assert!(operator(std::slice::from_ref(&monitor))[0].contains("interval must match pattern"));
    monitor["spec"].as_object_mut().unwrap().remove("selector");
    assert!(operator(&[monitor]).iter().any(|fault| fault.contains("required property selector")));
}
