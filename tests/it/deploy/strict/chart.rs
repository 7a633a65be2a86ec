//! What Helm makes of the chart, and what it refuses.

use std::process::Command;

use serde_json::{Value, json};

use super::{
    manifests::written,
    schema,
    tools::{helm, succeeded},
};
use crate::{
    deploy::{
        address_of,
        chart::CHART,
        documents, list, only,
        pod::{Pod, unknown_ports},
        word,
    },
    support::{child::Bounded, repository::path, scratch::Scratch},
};

fn chart() -> String {
    path(CHART).display().to_string()
}

fn values(name: &str) -> String {
    path(&format!("{CHART}/ci/{name}.yaml")).display().to_string()
}

fn rendered(chart: &str, more: &[&str]) -> Vec<Value> {
    documents(&succeeded(&helm(&[&["template", "shop", chart, "--kube-version", "1.29"], more].concat())))
}

#[test]
fn lint_finds_nothing() {
    for name in ["deployment", "smallest", "sidecar"] {
        let said = succeeded(&helm(&["lint", "--strict", &chart(), "--values", &values(name)]));
        assert!(!said.contains("WARNING") && !said.contains("ERROR"), "{said}");
    }
}

#[test]
fn a_release_is_valid_and_agrees_with_its_configuration() {
    let own = Scratch::new();
    let documented = own.file("values.yaml", written("values.yaml"), 0o644).display().to_string();
    for (name, kinds) in [(values("deployment"), 8), (values("smallest"), 6), (documented, 6)] {
        let resources = rendered(&chart(), &["--values", &name]);
        assert_eq!(resources.len(), kinds);
        schema::are_valid(&resources, &schema::NATIVE);
        let data = &only(&resources, "ConfigMap")["data"];
        let spec = &only(&resources, "Deployment")["spec"]["template"]["spec"];
        let pod = Pod::of(spec, word(&data["mainstay.yaml"]), data);
        pod.agrees();
        let service = list(&only(&resources, "Service")["spec"]["ports"]);
        let policy = &only(&resources, "NetworkPolicy")["spec"];
        let inward = list(&policy["ingress"]).iter().flat_map(|rule| list(&rule["ports"])).map(|port| &port["port"]);
        let named: Vec<_> = inward.chain(service.iter().map(|port| &port["targetPort"])).collect();
        assert_eq!(unknown_ports(pod.container, &named), "");
        let outward: Vec<_> =
            list(&policy["egress"]).iter().flat_map(|rule| list(&rule["ports"])).map(|port| port["port"].to_string()).collect();
        for backend in list(&pod.config["pools"]).iter().flat_map(|pool| list(&pool["backends"])) {
            let (_, port) = address_of(backend).rsplit_once(':').unwrap();
            assert!(outward.iter().any(|open| open == port), "{backend}: {outward:?}");
        }
        if kinds == 8 {
            assert!(schema::a_wrong_field_is_found_everywhere(&resources, "1.37") > 40);
            schema::a_wrong_field_is_found_in_resources_of_the_operator(&resources);
            assert_eq!(outward, ["53", "53", "5432", "6379", "6380", "443"]);
            assert_eq!(service.len(), 3);
        }
    }
}

/// The chart of an application that depends on this one.
#[test]
fn a_chart_that_depends_on_it_gets_a_sidecar() {
    let own = Scratch::new();
    for directory in ["shop", "shop/templates", "shop/charts"] {
        std::fs::create_dir(own.path(directory)).unwrap();
    }
    let copied = Command::new("cp").args(["-r", &chart()]).arg(own.path("shop/charts/")).bounded_status().unwrap();
    assert!(copied.success());
    let mut its = String::new();
    for line in std::fs::read_to_string(values("sidecar")).unwrap().lines() {
        its.extend(["  ", line, "\n"]);
    }
    own.file(
        "shop/Chart.yaml",
        "apiVersion: v2\nname: shop\nversion: 1.0.0\ndependencies: [{name: mainstay, version: 0.1.0}]\n",
        0o644,
    );
    own.file("shop/values.yaml", format!("mainstay:\n{its}"), 0o644);
    // As docs/kubernetes.md has it.
    let documented = crate::support::repository::text("docs/kubernetes.md");
    let (_, template) =
        documented.split_once("<!-- the pod of a chart -->\n\n```yaml\n").expect("docs/kubernetes.md has the template");
    own.file("shop/templates/deployment.yaml", template.split_once("```").unwrap().0, 0o644);
    let resources = rendered(own.path("shop").to_str().unwrap(), &[]);
    assert_eq!(resources.len(), 4);
    schema::are_valid(&resources, &schema::NATIVE);
    let deployment = only(&resources, "Deployment");
    let data = &only(&resources, "ConfigMap")["data"];
    let pod = Pod::of(&deployment["spec"]["template"]["spec"], word(&data["mainstay.yaml"]), data);
    pod.agrees();
    assert!(pod.is_native_sidecar());
    let selector = &only(&resources, "PodMonitor")["spec"]["selector"]["matchLabels"];
    for (key, value) in selector.as_object().unwrap() {
        assert_eq!(&deployment["spec"]["template"]["metadata"]["labels"][key], value, "Prometheus would not find it");
    }
}

#[test]
fn values_that_cannot_work_are_refused_with_their_place() {
    let base: Value = crate::support::repository::yaml(&std::fs::read_to_string(values("smallest")).unwrap());
    let cases = [
        ("/pools", json!([]), "/pools'"),
        ("/pools/0/listen", json!("0.0.0.0:5432"), "/pools/0/listen'"),
        ("/pools/0/port", json!("5432"), "/pools/0/port'"),
        ("/pools/0/port", json!(70000), "/pools/0/port'"),
        ("/pools/0/port", json!(8432), "/pools/0/port'"),
        ("/pools/0/name", json!("a b"), "/pools/0/name'"),
        ("/pools/0/backends", json!([]), "/pools/0/backends'"),
        ("/pools/0/backends/0", json!("db-a"), "/pools/0/backends/0'"),
        ("/pools/0/check", json!("postgresql"), "/pools/0/check'"),
        ("/pools/0/check", json!({"postgres": {"password": "in the clear"}}), "/pools/0/check/postgres/password'"),
        ("/pools/0/listeners", json!([{"name": "ro", "port": 5433}]), "/pools/0'"),
        ("/replicas", json!(0), "/replicas'"),
        ("/replica", json!(3), "'replica'"),
        ("/mode", json!("daemonset"), "/mode'"),
        ("/config", json!({"admin": {"listen": "0.0.0.0:1"}}), "/config/admin'"),
        ("/config", json!({"pools": []}), "/config/pools'"),
        ("/secrets", json!(["Not_A_Name"]), "/secrets/0'"),
        ("/image", json!({"digest": "sha256:abc"}), "/image/digest'"),
        ("/image", json!({"tags": "1"}), "'tags'"),
        ("/reloadWatch", json!("soon"), "/reloadWatch'"),
        ("/shutdown", json!({"delaySeconds": "10s"}), "/shutdown/delaySeconds'"),
        ("/podDisruptionBudget", json!({"maxUnavailable": 0}), "/podDisruptionBudget/maxUnavailable'"),
        ("/networkPolicy", json!({"egressPorts": [0]}), "/networkPolicy/egressPorts/0'"),
        ("/listenAddress", json!("localhost"), "/listenAddress'"),
        ("/logLevel", json!("loud"), "/logLevel'"),
        ("/workers", json!(0), "/workers'"),
        ("/monitoring", json!({"interval": "often"}), "/monitoring/interval'"),
        // By a template, which sees two pools at a time.
        (
            "/pools/1",
            json!({"name": "other", "port": 5432, "backends": ["db-c:5432"]}),
            "two pools or listeners have the port 5432",
        ),
    ];
    let own = Scratch::new();
    for (pointer, value, said) in cases {
        let mut values = base.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match values.pointer_mut(parent).unwrap() {
            Value::Array(items) if key == items.len().to_string() => items.push(value.clone()),
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = value.clone(),
            place => place[key] = value.clone(),
        }
        let file = own.file("values.json", values.to_string(), 0o644);
        let output = helm(&["template", "shop", &chart(), "--values", file.to_str().unwrap()]);
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && err.contains(said), "{pointer}: {value} gives\n{err}");
        assert!(!err.contains("in the clear"), "a secret is shown: {err}");
    }
    // Without any, the first thing that is said is what to write.
    let output = helm(&["template", "shop", &chart()]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("at '/pools'"));
}

#[test]
fn whoever_installs_it_is_told_how_to_go_on() {
    for (name, told) in [("deployment", "shop-mainstay.default.svc:5433"), ("sidecar", ".Subcharts.mainstay | nindent 8 }}")] {
        let said = succeeded(&helm(&["install", "shop", &chart(), "--dry-run=client", "--values", &values(name)]));
        let notes = said.split_once("NOTES:").unwrap().1;
        assert!(notes.contains(told), "{notes}");
    }
}
